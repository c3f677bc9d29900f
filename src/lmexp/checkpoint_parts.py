"""A checkpoint as a folder: each rank writes its parts of the tensors, nobody gathers them.

last.ckpt/__0_0.distcp, …   a file a rank, by torch.distributed.checkpoint
last.ckpt/.metadata         what is where in them, by the same
last.ckpt/rest.ckpt         all that is in no parts, an ordinary checkpoint file
last.ckpt/manifest.json     SHA-256 of each of these, written last

It is written beside, and gets its name when all of it is on the disk. Reading it gives what reading
the ordinary file of the same run would, on any number of ranks, or without any.
"""

import errno
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from lmexp import checkpoint as checkpoints
from lmexp.atomic import sync, write_atomically
from lmexp.checkpoint_files import MANIFEST, empty_beside, replace
from lmexp.errors import one_line
from lmexp.ranks import Ranks

REST = "rest.ckpt"
KEYS = "in_parts"  # of the rest: where each tensor of the files belongs
# All that torch's metadata are made of: they are a pickle, and a checkpoint may come from anywhere.
_OF_METADATA = {
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            *("Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata"),
            *("MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING"),
        )
    ),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath",)),
}


def write(checkpoint: dict[str, Any], path: Path, ranks: Ranks) -> None:
    """Write a checkpoint whose large tensors are DTensors; every rank has to come here.

    Raises:
        OSError: a rank's disk is full or the folder cannot be written; an older one is untouched.
    """
    keys: dict[tuple[Any, ...], str] = {}
    parts: dict[str, DTensor] = {}
    rest = _without_parts(checkpoint, (), keys, parts)
    rest[KEYS] = [[list(key), name] for key, name in keys.items()]
    unfinished = path.with_name(f".{path.name}.tmp")
    if ranks.is_first:
        empty_beside(path)
    ranks.gathered(None)  # the folder is there
    _write_parts(parts, unfinished)
    if ranks.is_first:
        checkpoints.save(rest, unfinished / REST)
    own = [unfinished / REST, unfinished / ".metadata"] if ranks.is_first else []
    own += unfinished.glob(f"__{ranks.number}_*.distcp")
    sums = ranks.gathered({file.name: checkpoints.sha256(file) for file in own})
    if ranks.is_first:
        whole = {name: digest for of_rank in sums for name, digest in sorted(of_rank.items())}
        write_atomically(unfinished / MANIFEST, json.dumps(whole, indent=1) + "\n")
        sync(unfinished)
        replace(unfinished, path)
        sync(path.parent)


def _write_parts(parts: dict[str, DTensor], folder: Path) -> None:
    try:
        save(parts, storage_writer=FileSystemWriter(folder))  # which fsyncs its files
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            # torch's writer of files hides the operating system's error behind one of its own
            if isinstance(cause, OSError) or "inline_container" in str(cause):
                number = cause.errno if isinstance(cause, OSError) else errno.EIO
                raise OSError(
                    number,
                    f"{folder} could not be written ({one_line(cause)}): older checkpoints are "
                    "untouched; is the disk full? Free some space and go on by resume=",
                ) from None
        raise


def verify(path: Path) -> None:
    """Check every file against the manifest.

    Raises:
        ValueError: one is missing or altered.
    """
    if not (path / MANIFEST).is_file():
        raise ValueError(
            f"{path} is a folder without {MANIFEST}: no whole checkpoint; use an older one"
        )
    try:
        expected: Any = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path / MANIFEST} is damaged ({error}): use an older one") from None
    if not isinstance(expected, dict) or not expected.keys() >= {REST, ".metadata"}:
        raise ValueError(
            f"{path / MANIFEST} is damaged (it lacks {REST} or .metadata): use an older one"
        )
    for name, digest in expected.items():
        file = path / name
        if not file.is_file():
            raise ValueError(
                f"{file} is missing, and {MANIFEST} lists it with SHA-256 {digest[:12]}…: use an "
                "older checkpoint of the run"
            )
        found = checkpoints.sha256(file)
        if found != digest:
            raise ValueError(
                f"{file} is damaged: its content has SHA-256 {found[:12]}…, it was written with "
                f"{digest[:12]}…; use an older checkpoint of the run"
            )


def read(path: Path) -> dict[str, Any]:
    """The checkpoint with whole tensors, on the CPU; verified before."""
    rest = checkpoints.read(path / REST)
    reader = _Reader(path)
    described = reader.read_metadata().state_dict_metadata
    whole: dict[str, Any] = {
        name: torch.empty(about.size, dtype=about.properties.dtype)  # type: ignore[union-attr]
        for name, about in described.items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as no_dist says
        load(whole, storage_reader=reader, no_dist=True)
    for key, name in rest.pop(KEYS):
        _put(rest, key, whole[name])
    return rest


class _Reader(FileSystemReader):
    """torch's, whose metadata build nothing but metadata."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata: Metadata = _OnlyMetadata(file).load()
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _OnlyMetadata(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in _OF_METADATA:
            raise ValueError(
                f".metadata of a checkpoint names {module}.{name}, which torch's metadata do not: "
                "it may do harm and is not read; use a checkpoint that lmexp has written"
            )
        return super().find_class(module, name)


def _without_parts(
    value: Any, key: tuple[Any, ...], keys: dict[tuple[Any, ...], str], parts: dict[str, DTensor]
) -> Any:
    """A copy of nested dicts and lists without the dicts' DTensors.

    Args:
        value: what is left of it is returned.
        key: where it stands.
        keys: gets, for each place where a DTensor stood, its name.
        parts: gets each DTensor object once, by its name.
    """
    assert not isinstance(value, DTensor)  # in a list: _put could not bring it back
    if isinstance(value, dict):
        kept = {}
        for name, inner in value.items():
            if isinstance(inner, DTensor):
                keys[*key, name] = _named(inner, "/".join(map(str, (*key, name))), parts)
            else:
                kept[name] = _without_parts(inner, (*key, name), keys, parts)
        return kept
    if isinstance(value, list):
        return [_without_parts(inner, (*key, n), keys, parts) for n, inner in enumerate(value)]
    return value


def _named(tensor: DTensor, name: str, parts: dict[str, DTensor]) -> str:
    for known, other in parts.items():
        if other is tensor:
            return known
    parts[name] = tensor
    return name


def _put(into: Any, key: list[Any], value: Tensor) -> None:
    *path, last = key
    for part in path:
        into = into[part]
    into[last] = value
