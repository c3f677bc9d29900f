"""Checkpoints: written atomically, checked when read, made of plain tensors and plain dicts.

A checkpoint is the zip file that torch.save writes, with a SHA-256 of itself as the zip's comment:
torch.load(path, weights_only=True) reads it without lmexp. Or it is a folder, see checkpoint_parts.
"""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from lmexp.atomic import fill_atomically, sync
from lmexp.checkpoint_files import content, remove, replace

_END_RECORD = 22  # bytes of a zip's last record without comment; its last two are the length
_MARK = b"lmexp sha256 "
_COMMENT = len(_MARK) + 64


def _sha256(path: Path, length: int) -> "hashlib._Hash":
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0:
            block = file.read(min(length, 1 << 20))
            digest.update(block)
            length -= len(block)
            if not block:
                break
    return digest


def sha256(path: Path) -> str:
    """Of a whole file."""
    return _sha256(path, path.stat().st_size).hexdigest()


def _seal(path: Path) -> None:
    """Append the checksum of the file as its zip comment."""
    size = path.stat().st_size
    comment = _MARK + _sha256(path, size).hexdigest().encode()
    with path.open("r+b") as file:
        file.seek(size - 2)
        file.write(struct.pack("<H", len(comment)) + comment)


def verify(path: Path) -> None:
    """Check the file against the checksum that it carries; a folder, all files in it.

    Raises:
        ValueError: the file is cut short, altered, or no checkpoint of lmexp.
    """
    if path.is_dir():
        from lmexp import checkpoint_parts

        checkpoint_parts.verify(path)
        return
    size = path.stat().st_size - _COMMENT
    with path.open("rb") as file:
        file.seek(max(size, 0))
        comment = file.read()
    if size < _END_RECORD or not comment.startswith(_MARK):
        raise ValueError(
            f"{path} is no whole lmexp checkpoint ({size + _COMMENT:,} bytes, no checksum at its "
            "end): it was cut short or written by another program; use an older checkpoint"
        )
    digest = _sha256(path, size - 2)
    digest.update(b"\0\0")  # the comment's length, zero when the checksum was taken
    found, expected = digest.hexdigest(), comment[len(_MARK) :].decode(errors="replace")
    if found != expected:
        raise ValueError(
            f"{path} is damaged: its content has SHA-256 {found[:12]}…, it was written with "
            f"{expected[:12]}…; use an older checkpoint of the run"
        )


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written; an older file is untouched.
    """
    import torch

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides the operating system's error behind its own
                cause = error.__context__
                if isinstance(cause, OSError):
                    raise cause from None
                raise
        _seal(unfinished)

    fill_atomically(path, write)


def read(path: Path) -> dict[str, Any]:
    """Verify and load a checkpoint, its tensors on the CPU.

    Raises:
        ValueError: damaged, or no checkpoint of lmexp.
        FileNotFoundError: there is none.
    """
    import torch

    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a run's folder or one of its .ckpt")
    verify(path)
    if path.is_dir():
        from lmexp import checkpoint_parts

        return checkpoint_parts.read(path)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    needed = ("state_dict", "recipe", "tokenizer", "data_hash", "training")
    missing = [key for key in needed if key not in checkpoint]
    if missing:
        raise ValueError(
            f"{path} holds no {' and no '.join(missing)}: this version of lmexp did not write it"
        )
    return checkpoint


def rotate(folder: Path) -> None:
    """newest.ckpt becomes last.ckpt, and that previous.ckpt: the two newest are kept."""
    last = folder / "last.ckpt"
    if last.exists():
        replace(last, folder / "previous.ckpt")
    replace(folder / "newest.ckpt", last)
    sync(folder)


def step_name(step: int) -> str:
    """Of a checkpoint that is kept for its step."""
    return f"step-{step}.ckpt"


def kept_by_step(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder that bear a step_name, the newest first."""
    numbers = [path.stem.removeprefix("step-") for path in folder.glob("step-*.ckpt")]
    steps = {int(number): folder / step_name(int(number)) for number in numbers if _is_int(number)}
    return dict(sorted(steps.items(), reverse=True))


def _is_int(text: str) -> bool:
    """Whether it is how int() is written: a user's step-007.ckpt is none of ours."""
    return text.isdecimal() and text == str(int(text))


def newest_good(run_folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole; None where there is none at all.

    Args:
        run_folder: of the run.
        warn: told of each damaged file that was passed over.

    Raises:
        ValueError: there are checkpoints and all are damaged.
    """
    folder = run_folder / "checkpoints"
    # newest.ckpt is there only if a kill came before it was renamed
    candidates = [folder / name for name in ("newest.ckpt", "last.ckpt", "previous.ckpt")]
    older = [*folder.glob("best-*.ckpt"), *kept_by_step(folder).values()]
    candidates += sorted(older, key=lambda path: content(path).stat().st_mtime, reverse=True)
    present = [path for path in candidates if path.exists()]
    for path in present:
        try:
            verify(path)
        except ValueError as error:
            warn(f"{error}; falling back to the next older one")
        else:
            return path
    if present:
        raise ValueError(
            f"none of the {len(present)} checkpoints under {folder} is whole: the run cannot be "
            "resumed; start it anew without resume="
        )
    return None


class SafeCheckpointIO(CheckpointIO):
    """Lightning's way to a checkpoint file, through save and read above."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write atomically; see save."""
        if Path(path).is_dir():
            remove(Path(path))
        save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify and read; always with weights_only, whatever Lightning asks for."""
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        remove(Path(path))
