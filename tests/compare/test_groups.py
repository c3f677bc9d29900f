"""Groups of runs that differ in their seed alone, and their names."""

from pathlib import Path

import pytest
from made_runs import recipe

from lmexp.compare.conf_names import conf_names
from lmexp.compare.groups import chosen_baseline, grouped, other_differences
from lmexp.compare.metric import is_greater_better
from lmexp.compare.runs import Run

TRANSFORMER = {"_target_": "lmexp.networks.transformer.Transformer", "d_model": 256}


def run(seed=1, overrides=None, **values):
    own = recipe(seed, **values)
    return Run(Path(f"runs/{id(own)}"), own, overrides, "finished", None, None, {})


def names(runs):
    return [(group.name, [one.seed for one in group.runs]) for group in grouped(runs)[0]]


def test_runs_of_a_sweep_are_named_by_its_overrides_without_the_seed():
    runs = [
        run(seed, (f"model={cell}", f"seed={seed}", "+trainer.max_steps=5"), model__cell=cell)
        for cell in ("lstm", "gru")
        for seed in (2, 1)
    ]

    assert names(runs) == [
        ("model=lstm trainer.max_steps=5", [1, 2]),
        ("model=gru trainer.max_steps=5", [1, 2]),
    ]


def test_other_runs_are_named_by_the_files_of_conf_and_the_keys_in_which_they_differ():
    runs = [
        run(1),
        run(2),
        run(1, model__cell="gru"),
        run(1, model__cell="gru", optimizer__lr=0.01),
        run(1, model=TRANSFORMER),
    ]

    assert names(runs) == [
        ("model=lstm optimizer.lr=0.001", [1, 2]),
        ("model=gru optimizer.lr=0.001", [1]),
        ("model=gru optimizer.lr=0.01", [1]),
        ("model=transformer optimizer.lr=0.001", [1]),
    ]


def test_a_single_group_is_named_as_its_runs_are():
    assert names([run(1), run(2)]) == [("lstm-text", [1, 2])]


def test_sweeps_whose_overrides_say_too_little_are_named_by_their_recipes():
    runs = [
        run(1, ("model=lstm",), trainer__max_steps=5),
        run(1, ("model=lstm",), trainer__max_steps=9),
    ]

    assert names(runs) == [("trainer.max_steps=5", [1]), ("trainer.max_steps=9", [1])]


def test_what_changes_nothing_that_is_learnt_makes_no_group():
    runs = [run(1), run(2, name="other", trainer__devices=2, data__num_workers=3)]

    assert len(grouped(runs)[0]) == 1


def test_two_runs_of_one_recipe_and_seed_are_one_draw_and_the_later_one_counts():
    early, late = run(1), run(1)

    [group], repeated = grouped([early, late])

    assert (group.runs, repeated) == ((late,), [early])


def test_a_baseline_is_named_in_whole_or_by_words_that_one_group_has():
    runs = [
        run(1, (f"model={cell}", f"data={data}"), model__cell=cell, data__max_length=size)
        for cell in ("lstm", "gru")
        for data, size in (("ptb", 1), ("wikitext2", 2))
    ]
    groups, _ = grouped(runs)

    assert chosen_baseline(groups, None).name == "model=lstm data=ptb"
    assert chosen_baseline(groups, "model=gru data=ptb").name == "model=gru data=ptb"
    assert chosen_baseline(groups, "data=wikitext2 model=gru").name == "model=gru data=wikitext2"
    assert (
        chosen_baseline(groups, "model=gru").name == "model=gru data=ptb"
    )  # here; elsewhere alike
    with pytest.raises(ValueError, match="'data=ptb' may mean several groups: there are 'model=l"):
        chosen_baseline(groups, "data=ptb")
    with pytest.raises(ValueError, match="--baseline 'rnn' is no group: there are 'model=lstm d"):
        chosen_baseline(groups, "rnn")


def test_differences_that_no_name_says_are_known_but_not_those_of_a_named_section():
    runs = [
        run(1, ("model=lstm",)),
        run(1, ("model=transformer",), model=TRANSFORMER, optimizer__lr=0.01),
    ]

    assert other_differences(grouped(runs)[0]) == {"optimizer.lr": [0.001, 0.01]}


def test_a_section_has_the_name_of_the_file_that_it_is_likest_to():
    target = "lmexp.networks.recurrent.Recurrent"
    recipes = [
        {"model._target_": target, "model.cell": "gru", "model.d_model": 99},
        {"model._target_": target, "model.cell": "rnn", "model.num_layers": 2},
        {"model._target_": "lmexp.networks.bert.Bert", "model.d_model": 256},
        {"model._target_": "mine.Model"},
    ]

    assert conf_names("model", recipes) == ["gru", "rnn", "bert", None]
    assert conf_names("tokenizer", [{"tokenizer._target_": "lmexp.tokenizers.Bytes"}]) == ["byte"]


@pytest.mark.parametrize(
    ("figure", "greater"),
    [
        *(("loss", False), ("sentence_loss", False), ("pseudo_perplexity", False), ("ter", False)),
        *(("entity_f1", True), ("recall_at_10_of_all", True), ("f1_without_answer", True)),
        *(("bits_per_byte", False), ("rougeL", True), ("kl", None), ("water", None)),
    ],
)
def test_which_way_is_better_goes_by_the_name_of_a_figure(figure, greater):
    assert is_greater_better(figure) is greater
