"""What W&B is told of a run, and how the recipe is read back."""

import json

import pytest

from lmexp.nested import flat
from lmexp.recipe import compose
from lmexp.wandb_facts import recipe_of

RECIPE = {
    "model": {"_target_": "lmexp.networks.recurrent.Recurrent", "cell": "lstm"},
    "data": {"_target_": "lmexp.data.TextDataModule", "max_length": 256},
    "task": {"_target_": "lmexp.tasks.causal_lm.CausalLM"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
    "seed": 0,
}


def without_empty(section):
    """The same without sections that have nothing in them."""
    inner = {
        key: without_empty(own) if isinstance(own, dict) else own for key, own in section.items()
    }
    return {key: own for key, own in inner.items() if own != {}}


def test_a_recipe_comes_back_as_it_was_but_for_empty_sections():
    recipe = {**RECIPE, "schedule": {"steps": [1, {"a": 2}], "end": None}, "empty": {}}
    config = {**flat(recipe), "lmexp/data_hash": "d"}

    assert recipe_of(config) == without_empty(recipe)
    assert recipe_of({"model.cell": "lstm"}) is None


@pytest.mark.parametrize(
    "typed",
    [
        ["model=lstm", "data=wikitext2"],
        ["model=transformer", "data=multi30k"],
        ["model=bert", "data=conll2003"],
    ],
)
def test_recipes_of_the_shipped_configuration_come_back(typed):
    recipe = compose([*typed, "logger=wandb"])

    told = json.loads(json.dumps(flat(recipe)))

    assert recipe_of(told) == without_empty(recipe)


def test_what_an_agent_has_set_is_read_as_typed():
    config = {**flat(RECIPE), "model": "lstm", "seed": "3", "optimizer.lr": "1e-3"}

    assert recipe_of(config, is_typed=True) == {**RECIPE, "seed": 3}
