"""Trains what the overrides name; `python train.py --help`."""

import sys

from lmexp.__main__ import main
from lmexp.forwarding import deaf

raise SystemExit(deaf(main(["train", *sys.argv[1:]])))
