"""A run on Weights & Biases over its sessions: whose account, under which id, what a kill left."""

import os
import shutil
import sys
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlparse

Mode = Literal["online", "offline", "disabled"]
HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # of W&B's own server, by its age


def forget_killed_session(folder: Path, known: Mapping[str, Any]) -> int:
    """Removes the offline folder of a session that never finished; the last step kept, or -1."""
    session = folder / known.get("session", "")
    is_uploaded = any(session.glob("*.synced"))  # W&B's mark: the server has it
    if not session.name.startswith("offline-run-") or is_uploaded:
        return int(known.get("last_step", -1))
    shutil.rmtree(session, ignore_errors=True)
    return int(known["session_after"])


def account_mode() -> Mode:
    """WANDB_MODE if it is set, else online with an account and offline without one."""
    chosen = os.environ.get("WANDB_MODE")
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if mode == chosen:
            return mode
    if has_account():
        return "online"
    login = f"WANDB_API_KEY, or {' or '.join(account_hosts())} in ~/.netrc; `wandb login` makes one"
    say_of_wandb(f"no account found ({login})")
    return "offline"


def has_account() -> bool:
    """Whether there is a key for the server; whether it is a good one, the server knows."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        known = netrc(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):  # no such file, or not readable: no account
        return False
    return any(known.authenticators(host) is not None for host in account_hosts())


def account_hosts() -> tuple[str, ...]:
    """Names under which the key of the server may stand in ~/.netrc."""
    chosen = os.environ.get("WANDB_BASE_URL")
    return HOSTS if chosen is None else (urlparse(chosen).netloc.rpartition("@")[2],)


def id_of_agent() -> str | None:
    """The id that the agent of a W&B sweep has given to this run."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def say_of_wandb(what: str) -> None:
    """A remark about the mirror, for people."""
    print(f"W&B: {what}", file=sys.stderr, flush=True)


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots: what W&B can filter and group by."""
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
