"""A run on Weights & Biases over its sessions: whose account, under which id, what a kill left."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lmexp.atomic import write_atomically
from lmexp.secret_values import hidden

Mode = Literal["online", "offline", "disabled"]
MODES: Mapping[str, Mode] = {  # by W&B's words for them, of which two are old
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",
    "dryrun": "offline",
}
MIRROR = "lmexp.mirrors.WandB"  # _target_ of logger=wandb
HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # of W&B's own server, by its age
STATE = "wandb.json"  # in a run's folder: its id, the last step that W&B holds or will be sent


def forget_killed_session(folder: Path, known: Mapping[str, Any]) -> int:
    """Removes the offline folder of a session that never finished; the last step kept, or -1."""
    session = folder / known.get("session", "")
    is_uploaded = any(session.glob("*.synced"))  # W&B's mark: the server has it
    if not session.name.startswith("offline-run-") or is_uploaded:
        return int(known.get("last_step", -1))
    shutil.rmtree(session, ignore_errors=True)
    return int(known["session_after"])


def offline_sessions(folder: Path) -> list[Path]:
    """What W&B wrote offline of a run, a file a session, in the order of their beginning."""
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def uploaded_mark(file: Path) -> Path | None:
    """W&B's mark beside a session that it has uploaded."""
    mark = file.with_name(f"{file.name}.synced")
    return mark if mark.is_file() else None


def note_upload(folder: Path, file: Path, last_step: Callable[[Path], int | None]) -> None:
    """A session that was killed has been uploaded as far as it was on the disk: so says the state.

    A resume then sends what W&B still held in memory, from the record. Of a session that ended
    well the state is right as it is.
    """
    known = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if known.get("session") != file.parent.name:
        return
    step = last_step(file)
    kept = known["session_after"] if step is None else step
    write_atomically(folder / STATE, json.dumps({"id": known["id"], "last_step": kept}) + "\n")


def base_url() -> str:
    """Of the server: that of WANDB_BASE_URL, else of `wandb login --host=…`, else W&B's own."""
    chosen = os.environ.get("WANDB_BASE_URL")
    return chosen or _saved().get("base_url", f"https://{HOSTS[-1]}")


def has_account() -> bool:
    """Whether the environment or a netrc file says who we are."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        known = netrc(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):  # no such file, or not readable: no account
        return False
    return any(known.authenticators(host) is not None for host in account_hosts())


def how_to_log_in() -> str:
    """For people without an account."""
    return f"WANDB_API_KEY, or {' or '.join(account_hosts())} in ~/.netrc; `wandb login` makes one"


def chosen_mode() -> Mode | None:
    """What WANDB_MODE says; None if it is not set.

    Raises:
        ValueError: it says what is no mode, with which W&B would not begin either.
    """
    chosen = os.environ.get("WANDB_MODE")
    if chosen is None:
        return None
    if chosen not in MODES:
        raise ValueError(f"WANDB_MODE={chosen}: write online, offline or disabled")
    return MODES[chosen]


def account_mode() -> Mode:
    """WANDB_MODE, else that of `wandb offline`, else by account: online with, offline without.

    Raises:
        ValueError: WANDB_MODE says what is no mode.
    """
    chosen = chosen_mode() or MODES.get(_saved().get("mode", ""))
    if chosen is not None:
        return chosen
    if has_account():
        return "online"
    say_of_wandb(f"no account found ({how_to_log_in()})")
    return "offline"


def account_hosts() -> tuple[str, ...]:
    """Names under which the key of the server may stand in ~/.netrc."""
    host = urlparse(base_url()).netloc.rpartition("@")[2]
    return HOSTS if host == HOSTS[-1] else (host,)


def _saved() -> Mapping[str, str]:
    """What W&B's own commands have written into its settings, of this folder and of the user."""
    import wandb

    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = wandb.Settings(silent=True, settings_system=str(folder / "settings"))
    saved: dict[str, str] = settings.read_system_settings().all()
    return saved


def id_of_agent() -> str | None:
    """The id that the agent of a W&B sweep has given to this run."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def say_of_wandb(what: str) -> None:
    """A remark about the mirror, for people, without secrets: W&B's errors quote the server's."""
    print(f"W&B: {hidden(what)}", file=sys.stderr, flush=True)
