"""What W&B lets things be called, so that a wrong name is refused before training."""

from collections.abc import Sequence

FORBIDDEN = "/\\#?%:"  # in the name of a project
LONGEST_PROJECT, LONGEST_TAG = 128, 64  # characters
LONGEST_RUN, LONGEST_GROUP, LONGEST_JOB_TYPE = 128, 128, 64  # what its server takes
OF_PROJECT = f"none of {' '.join(FORBIDDEN)} in it, and 1 to {LONGEST_PROJECT} characters"


def is_project(name: str) -> bool:
    """Whether a project may be called so."""
    return 0 < len(name) <= LONGEST_PROJECT and not set(name) & set(FORBIDDEN)


def wrong_tags(tags: Sequence[str]) -> list[str]:
    """Those that are empty or too long."""
    return [tag for tag in tags if not 0 < len(tag) <= LONGEST_TAG]
