"""What W&B lets things be called, so that a wrong name is refused before training."""

from collections.abc import Sequence

FORBIDDEN = "/\\#?%:"  # in the name of a project
LONGEST_PROJECT, LONGEST_TAG = 128, 64  # characters
# What its server refuses and its client does not look at: wandb/wandb issue 6402 says it of job
# types; names and groups are reported to be as long as projects.
LONGEST_RUN, LONGEST_GROUP, LONGEST_JOB_TYPE = 128, 128, 64
OF_PROJECT = f"none of {' '.join(FORBIDDEN)} in it, and 1 to {LONGEST_PROJECT} characters"


def is_project(name: str) -> bool:
    """Whether a project may be called so."""
    return 0 < len(name) <= LONGEST_PROJECT and not set(name) & set(FORBIDDEN)


def wrong_tags(tags: Sequence[str]) -> list[str]:
    """Those that are empty or too long."""
    return [tag for tag in tags if not 0 < len(tag) <= LONGEST_TAG]


def run_name(name: str, folder: str) -> str:
    """How a run is shown: what it is called, shortened, and its folder, which no other has."""
    room = max(0, LONGEST_RUN - len(folder) - 1)
    return f"{name[:room]} {folder}".strip()[:LONGEST_RUN]
