"""lmexp: train, compare and ship language models, each with one command."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imports torch, which `--help` must not wait for
        from lmexp.loading import load

        return load
    raise AttributeError(f"module 'lmexp' has no attribute {name!r}")
