"""What is said of runs: groups, tests, refusals, remarks."""

import numpy as np
import pytest
from made_runs import SIGNATURE, make_run, make_sweep, recipe, write_text_scores

from lmexp.compare.comparing import compared
from lmexp.compare.curves import curve
from lmexp.compare.runs import find_runs
from lmexp.compare.verdicts import rows

LOSSES = {"model=lstm": [4.1, 4.12, 4.08], "model=gru": [4.6, 4.62, 4.61], "model=rnn": [4.1, 4.2]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(*paths, **options):
    return compared(find_runs(paths), **options)


def remarks(found, *words):
    return [line for line in found.remarks if all(word in line for word in words)]


def test_groups_stand_to_the_baseline_as_their_seeds_say(here):
    make_sweep(here / "cells", LOSSES)

    found = result("cells")

    expected = rows(LOSSES, "model=lstm", greater_is_better=False)
    assert [group.row for group in found.groups] == expected
    assert [row.verdict for row in expected] == [None, "worse", "too few seeds"]
    assert (found.figure, found.greater_is_better, found.baseline) == (
        *("test/loss", False),
        "model=lstm",
    )
    assert found.groups[0].figures == LOSSES["model=lstm"]
    assert found.groups[0].cost.flops == 3e9
    assert remarks(found, "model=rnn: two seeds are too few for a test over seeds")


def test_another_baseline_and_another_figure_are_chosen_by_name(here):
    make_sweep(here / "cells", LOSSES, key="test/bleu")

    found = result("cells", metric="test/bleu", baseline="model=gru")

    assert found.groups[0].row.verdict == "worse"  # less BLEU
    assert found.groups[1].row.against is None


def test_the_tasks_own_figure_is_that_of_the_test_or_else_of_the_best_validation(here):
    make_sweep(here / "cells", LOSSES, key="best/loss")
    summary = {"monitor": "entity_f1", "text_kind": "tags"}
    own = recipe(task={"_target_": "lmexp.tasks.token_labels.TokenLabels"})
    make_run(here / "tags", {"test/entity_f1": 0.9}, own_recipe=own, summary=summary)

    assert result("cells").figure == "best/loss"
    assert (result("tags").figure, result("tags").greater_is_better) == ("test/entity_f1", True)


def test_over_examples_the_same_documents_are_compared_model_by_model(here):
    rng = np.random.default_rng(1)
    difficulty = rng.normal(4, 1, 80)
    means = {"model=lstm": (0.0, 0.02), "model=gru": (0.5, 0.52)}
    examples = {
        name: [difficulty + mean + rng.normal(0, 0.1, 80) for mean in own]
        for name, own in means.items()
    }
    losses = {name: [float(nats.mean()) for nats in own] for name, own in examples.items()}
    make_sweep(here / "cells", losses, examples=examples)

    found = result("cells")

    group = found.groups[1]
    expected = np.mean(losses["model=gru"]) - np.mean(losses["model=lstm"])
    assert (group.examples, group.unit) == (80, "document")
    assert group.over_examples.difference == pytest.approx(expected)
    assert group.over_examples.verdict == "worse"
    assert group.row.verdict == "too few seeds"  # the two say different things


def test_scores_of_another_test_of_other_documents_or_damaged_make_no_test(here):
    make_sweep(
        here / "cells",
        {"model=lstm": [2.0], "model=gru": [2.0], "model=rnn": [2.0]},
        examples={name: [np.full(50, 2.0)] for name in LOSSES},
    )
    write_text_scores(here / "cells/01", np.full(50, 3.0))  # not the figure of the summary
    write_text_scores(here / "cells/02", np.full(49, 2.0))

    found = result("cells")

    assert [group.over_examples for group in found.groups] == [None] * 3
    assert remarks(found, "cells/01: its test/loss is 2, and that of the examples", "3: they are")
    assert remarks(found, "model=rnn: it has 49 documents and model=lstm 50")

    (here / "cells/00/scores/test.npz").write_bytes(b"")
    assert remarks(result("cells"), "cells/00", "is damaged")


@pytest.mark.parametrize("bare", ["a", "b"])
def test_a_group_without_scores_is_named_where_others_have_some(here, bare):
    for name in ("a", "b", "c"):
        own = recipe(optimizer__lr=ord(name) / 1000)
        signature = None if name == bare else SIGNATURE
        make_run(here / name, {"test/loss": 2.0}, own_recipe=own, signature=signature)

    found = result("a", "b", "c")

    name = f"optimizer.lr={ord(bare) / 1000}"
    assert f"no test over examples of {name}: not all runs have scores" in found.remarks
    assert bool(found.groups[2].over_examples) == (bare != "a")


def test_a_pair_that_must_not_be_compared_is_marked_and_said_with_both_values(here):
    values = {"a": {}, "b": {"eval.context": 512}, "c": {"data_hash": "e" * 64}}
    for place, (name, changed) in enumerate(values.items()):
        own = recipe(optimizer__lr=0.1 * (place + 1))
        signature = SIGNATURE | changed
        make_run(here / "runs" / name, {"test/loss": 2.0}, own_recipe=own, signature=signature)

    found = result("runs")

    assert [[wrong.field for wrong in group.mismatches] for group in found.groups] == [
        *([], ["eval.context"]),
        ["data_hash"],
    ]
    assert found.groups[1].row is None
    assert found.groups[1].over_examples is None
    assert remarks(
        found, "optimizer.lr=0.2", "its eval.context is 512, and that of", "256: with more"
    )
    assert remarks(
        found, "its data_hash is eeeeeeeeeeee…, and that of", "dddddddddddd…: they are of"
    )


def test_runs_of_one_group_that_do_not_compare_make_no_mean_that_is_tested(here):
    for seed, changed in enumerate(({}, {}, {"data_hash": "e" * 64})):
        own = recipe(seed)
        signature = SIGNATURE | changed
        make_run(here / f"runs/{seed}", {"test/loss": 2}, own_recipe=own, signature=signature)
    make_run(here / "runs/other", {"test/loss": 2.0}, own_recipe=recipe(optimizer__lr=0.1))

    found = result("runs")

    assert [group.row for group in found.groups] == [None, None]
    assert remarks(found, "must not be compared with its own first run: its data_hash")


def test_tests_without_scores_have_the_signature_that_their_record_has(here):
    make_run(here / "a", {"test/loss": 2.0}, signature=SIGNATURE)
    make_run(here / "b", {"test/loss": 2.1}, own_recipe=recipe(optimizer__lr=0.1))
    make_run(here / "c", {"test/loss": 2.1}, own_recipe=recipe(eval__stride=64))

    assert [group.mismatches for group in result("a", "b").groups] == [[], []]
    [wrong] = result("a", "c").groups[1].mismatches
    assert (wrong.field, wrong.baseline, wrong.own) == ("eval.stride", 256, 64)


def of_two_tokenizers(folder, second):
    figures = {"test/loss": 2.0, "test/bits_per_byte": 1.5}
    make_run(folder / "a", figures, signature=SIGNATURE)
    own = recipe(optimizer__lr=0.1)
    signature = SIGNATURE | {"tokenizer_hash": "u" * 64}
    make_run(folder / "b", second, own_recipe=own, signature=signature)


def test_language_models_with_other_tokenizers_are_compared_by_bits_per_byte(here):
    of_two_tokenizers(here, {"test/loss": 1.0, "test/bits_per_byte": 1.7})

    found = result("a", "b")

    assert found.figure == "test/bits_per_byte"
    assert found.groups[1].row.against.difference == pytest.approx(0.2)
    assert remarks(found, "2 tokenizers", "compared by test/bits_per_byte")


def test_a_loss_that_is_asked_for_is_refused_where_tokenizers_differ(here):
    of_two_tokenizers(here, {"test/loss": 1.0, "test/bits_per_byte": 1.7})

    found = result("a", "b", metric="test/loss")

    assert [wrong.field for wrong in found.groups[1].mismatches] == ["tokenizer_hash"]


def test_without_bits_per_byte_it_says_why_there_are_none(here):
    of_two_tokenizers(here, {"test/loss": 1.0})

    found = result("a", "b")

    assert found.figure == "test/loss"
    assert remarks(found, "b has none: its tokenizer does not know all")
    assert remarks(found, "must not be compared", "tokenizer_hash")


def test_what_has_not_finished_or_has_no_finite_figure_is_left_out_in_words(here):
    make_sweep(here / "cells", LOSSES)
    make_run(here / "a", {"test/loss": "nan"}, own_recipe=recipe(7))
    make_run(here / "b", {}, own_recipe=recipe(8), summary={"status": "stopped"})
    make_run(here / "c", {"best/loss": 1.0}, own_recipe=recipe(9))

    found = result("cells", "a", "b", "c")

    assert sum(len(group.figures) for group in found.groups) == 8
    for line in (
        "a is left out: test/loss is nan",
        "b is left out: stopped",
        "c is left out: test/loss is missing",
    ):
        assert line in found.remarks
    assert {run.folder: run.left_out for run in found.runs if run.left_out} == {
        "a": "test/loss is nan",
        "b": "not finished",
        "c": "test/loss is missing",
    }


def test_mistakes_are_said_in_one_line(here):
    make_sweep(here / "cells", LOSSES)
    make_run(here / "stopped", {}, summary={"status": "stopped"})
    other = recipe(task={"_target_": "lmexp.tasks.vae_lm.VaeLM"})
    make_run(here / "vae", {"test/loss": 1.0}, own_recipe=other)
    make_run(here / "own", {"test/water": 1.0})

    for match, paths, options in (
        (r"no run has a figure test/los; did you mean test/loss\?", ["cells"], "test/los"),
        (r"There are: test/loss$", ["cells"], "x"),
        (r"none of 1 runs has finished \(stopped: stopped\)", ["stopped"], None),
        (r"runs of several tasks do not compare: lmexp.*VaeLM \(vae\)", ["cells", "vae"], None),
        ("does not know whether more of it is better: add --better", ["own"], "test/water"),
    ):
        with pytest.raises(ValueError, match=match):
            result(*paths, metric=options)
    assert result("own", metric="test/water", better="greater").greater_is_better
    with pytest.raises(ValueError, match=r"--better greater: of test/loss less is better"):
        result("cells", metric="test/loss", better="greater")


def test_a_curve_is_of_the_steps_that_all_runs_have(here):
    make_run(here / "a", {}, curve=[(10, 3.0), (20, 2.0), (30, 1.0)])
    make_run(here / "b", {}, curve=[(10, 5.0), (20, 3.0), (40, 1.0)])
    make_run(here / "c", {}, curve=[])

    assert curve(find_runs(["a", "b"]), "val/loss") == (
        *([10, 20], [4.0, 2.5]),
        *([3.0, 2.0], [5.0, 3.0]),
    )
    assert curve(find_runs(["a", "c"]), "val/loss") is None


def test_other_precision_of_the_test_is_a_remark(here):
    for name, precision in (("a", "32-true"), ("b", "bf16-mixed")):
        own = recipe(optimizer__lr=0.1 if name == "a" else 0.2)
        signature = SIGNATURE | {"precision": precision}
        make_run(here / name, {"test/loss": 2.0}, own_recipe=own, signature=signature)

    found = result("a", "b")

    assert found.groups[1].mismatches == []
    assert remarks(found, "precision 32-true and bf16-mixed: rounding differs")
