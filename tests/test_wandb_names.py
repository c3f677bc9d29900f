"""Names that W&B refuses are refused before anything is prepared."""

import re

import pytest
import wandb

from lmexp.check import check
from lmexp.recipe import composition
from lmexp.wandb_names import FORBIDDEN, is_project, wrong_tags

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
