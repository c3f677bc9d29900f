"""What a run ran on: versions, code, machine. No environment variable and no secret is written."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lmexp.atomic import write_atomically
from lmexp.secret_values import hidden, is_secret_name

PATCH_BYTES = 1_000_000  # of a diff, at most; more than that is data, not code


def environment(
    *, seed: int | None = None, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The environment of this process as plain JSON values.

    Args:
        seed: of the run.
        data: facts of the data module: source, hashes, counts.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_without_secret(argument) for argument in sys.argv],
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
        },
        "memory_bytes": _memory_bytes(),
        **_torch_facts(),
        "packages": _packages(),
        "git": _repositories(),
        "seed": seed,
        "data": dict(data or {}),
    }


def write_environment(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Writes environment.json, and each diff as a patch file beside it.

    A resumed run may run on other code or another machine: the first session's file stays, the
    next ones are environment-2.json, environment-3.json…

    Returns:
        The file written.
    """
    session, suffix = 1, ""
    while (folder / f"environment{suffix}.json").exists():
        session += 1
        suffix = f"-{session}"
    repositories = []
    for index, repository in enumerate(facts.get("git", [])):
        entry = dict(repository)
        if diff := entry.pop("diff", ""):
            entry["patch"] = f"git{suffix}.patch" if index == 0 else f"git{suffix}-{index}.patch"
            write_atomically(folder / entry["patch"], diff)
        repositories.append(entry)
    path = folder / f"environment{suffix}.json"
    text = json.dumps({**facts, "git": repositories}, indent=2, ensure_ascii=False)
    write_atomically(path, text + "\n")
    return path


def _without_secret(argument: str) -> str:
    """The argument, blanked where its name or its value says that it is a secret."""
    name, sign, value = argument.partition("=")
    return f"{name}=***" if sign and value and is_secret_name(name) else hidden(argument)


def _packages() -> dict[str, str]:
    """Versions of Python, lmexp and what it declares to need."""
    versions = {"python": platform.python_version()}
    try:
        needs = metadata.requires("lmexp") or []
        versions["lmexp"] = metadata.version("lmexp")
    except metadata.PackageNotFoundError:  # run from the source without an installation
        return versions
    for need in needs:
        match = re.match(r"[A-Za-z0-9._-]+", need)
        if match is None or "extra ==" in need:
            continue
        try:
            versions[match[0]] = metadata.version(match[0])
        except metadata.PackageNotFoundError:
            versions[match[0]] = "not installed"
    return versions


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(errors="replace"))
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on; a container often allows fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _torch_facts() -> dict[str, Any]:
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "devices": devices or ["cpu"],
        "cuda": torch.version.cuda,
        "threads": {
            "intra_op": torch.get_num_threads(),
            "inter_op": torch.get_num_interop_threads(),
        },
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says about a folder; None without git, outside a repository or after 10 s."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-C", str(folder), *arguments],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _repositories() -> list[dict[str, Any]]:
    """Commit and diff of the repositories that hold lmexp's source and the current folder."""
    roots = dict.fromkeys(
        root.strip()
        for folder in (Path(__file__).parent, Path.cwd())
        if (root := _git(folder, "rev-parse", "--show-toplevel")) is not None
    )
    return [_repository(Path(root)) for root in roots]


def _repository(root: Path) -> dict[str, Any]:
    commit = _git(root, "rev-parse", "--verify", "HEAD")  # fails before the first commit
    diff = (_git(root, "diff", "--no-ext-diff", "--no-color", "HEAD") or "") if commit else ""
    untracked = (_git(root, "ls-files", "--others", "--exclude-standard") or "").splitlines()
    if len(diff) > PATCH_BYTES:
        diff = diff[:PATCH_BYTES] + f"\n[cut: the diff has {len(diff):,} characters]\n"
    return {
        "root": str(root),
        "commit": commit.strip() if commit else None,
        "is_dirty": bool(diff or untracked),
        "untracked": untracked[:100],
        "diff": hidden(diff),
    }
