"""Trains what the overrides name; `python train.py --help`."""

import sys

try:
    from lmexp.__main__ import main
    from lmexp.forwarding import deaf
except ModuleNotFoundError as missing:  # mostly another Python than the one of .venv
    raise SystemExit(
        f"train.py: {sys.executable} has no {missing.name}: `make setup` once, then "
        "`. .venv/bin/activate`, or write .venv/bin/python in place of python"
    ) from None

raise SystemExit(deaf(main(["train", *sys.argv[1:]])))
