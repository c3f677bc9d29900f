"""Names that W&B refuses are refused before anything is prepared."""

import re

import pytest
import wandb

from lmexp.check import check
from lmexp.recipe import composition
from lmexp.wandb_names import FORBIDDEN, is_project, run_name, wrong_tags

TAGS = ["", "a", "t" * 64, "t" * 65]


@pytest.mark.parametrize("name", ["a", "a b-c_d.é", "a" * 128, "a" * 129, *FORBIDDEN, "a/b", "a:b"])
def test_projects_are_those_of_the_client(name):
    try:
        wandb.Settings(project=name)
    except wandb.errors.UsageError:
        assert not is_project(name)
    else:
        assert is_project(name)


@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_those_of_the_client(tag):
    try:
        wandb.Settings(run_tags=[tag])
    except ValueError:
        assert wrong_tags(["right", tag]) == [tag]
    else:
        assert not wrong_tags(["right", tag])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("logger.project=a/b", "command line: logger.project=a/b: a project of W&B has none of /"),
        ("logger.project=''", "command line: logger.project=: a project of W&B has none of / "),
        (f"logger.group={'g' * 129}", "has 129 characters: W&B takes 128"),
        (f"logger.job_type={'j' * 65}", "has 65 characters: W&B takes 64"),
        (f"logger.tags=[a,{TAGS[3]}]", f"logger.tags has '{TAGS[3]}' of 65 characters"),
    ],
)
def test_the_check_of_a_recipe_knows_them(override, message):
    found = composition(["logger=wandb", override], None, ())

    with pytest.raises(ValueError, match=re.escape(message)):
        check(found.recipe, (), found.origins)


def test_a_long_name_is_shortened_and_not_the_folder_that_tells_runs_apart():
    assert run_name("mine", "2026-01-02_03-04-05") == "mine 2026-01-02_03-04-05"
    assert run_name("m" * 200, "f" * 20) == "m" * 107 + " " + "f" * 20
    assert run_name("mine", "f" * 200) == "f" * 128
