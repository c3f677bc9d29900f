"""A program for test_resume: `train` that kills or signals itself at a chosen moment.

    python killed.py MODULE:CLASS.METHOD:N SIGNAL OVERRIDE...

The N-th call (from 1) of the method raises the signal before it does anything. Nothing in lmexp
knows of it, so what is killed is what users run.
"""

import importlib
import os
import signal
import sys


def kill_at(moment: str, number: int) -> None:
    """Replace the method by one that sends this process the signal at its n-th call."""
    module_name, path, count = moment.split(":")
    class_name, method_name = path.split(".")
    owner = getattr(importlib.import_module(module_name), class_name)
    method = getattr(owner, method_name)
    calls = 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), number)
        return method(*args, **kwargs)

    setattr(owner, method_name, counted)


if __name__ == "__main__":
    kill_at(sys.argv[1], getattr(signal, sys.argv[2]))
    from lmexp.recipe import main

    sys.exit(main(sys.argv[3:]))
