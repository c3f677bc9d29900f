"""Trains what the overrides name; `python train.py --help`."""

from lmexp import recipe

raise SystemExit(recipe.main())
