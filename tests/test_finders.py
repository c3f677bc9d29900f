"""Searches before a run: what they suggest, and that they leave nothing behind."""

import copy
import math

import pytest
import torch

from lmexp import finders
from lmexp.finders import (
    BatchTrial,
    RateTrial,
    find_batch,
    find_lr,
    suggested_batch,
    suggested_lr,
)
from lmexp.recipe import compose

GRU = ["model=gru", "model.d_model=16", "model.num_layers=1", "model.dropout=0.0"]
DATA = ["data=text", "tokenizer=byte", "data.max_length=16", "data.batch_size=8"]
RUN = ["trainer.accelerator=cpu", "trainer.precision=32-true"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A recipe on ten kilobytes of text, with overrides."""
    (tmp_path / "a.txt").write_text("the cat sat on the mat, the dog lay on the log\n" * 220)
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    files = f"data.files={tmp_path / 'a.txt'}"
    return lambda *overrides: compose([*GRU, *DATA, *RUN, files, *overrides])


def test_the_range_test_suggests_a_rate_near_a_good_one(tiny):
    rate = suggested_lr(find_lr(tiny("optimizer.lr=1.0e-3")))

    assert 1e-2 / 30 < rate < 1e-2 * 30  # 1e-2 learns this text in a hundred steps


def test_the_rates_rise_by_equal_factors_around_the_recipes_own(tiny):
    trials = find_lr(tiny("optimizer=sgd", "optimizer.lr=0.01"), steps=15)
    rates = [trial.learning_rate for trial in trials]

    assert rates[0] == pytest.approx(1e-6)
    assert rates[1] / rates[0] == pytest.approx(10 ** (7 / 14))
    assert rates[14] == pytest.approx(10.0)


def test_the_searches_change_no_recipe_and_leave_no_file(tiny, tmp_path):
    recipe = tiny()
    before = copy.deepcopy(recipe)

    find_lr(recipe, steps=3)
    find_batch(recipe)

    assert recipe == before
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_the_weights_have_the_dtype_of_the_run(tiny, precision):
    trial = finders._Trial(tiny(f"trainer.precision={precision}"), ())

    dtypes = {parameter.dtype for parameter in trial.task.network.parameters()}
    assert dtypes == {torch.bfloat16 if precision == "bf16-true" else torch.float32}


def test_the_first_loss_is_that_of_the_untrained_network(tiny):
    (first,) = find_lr(tiny(), steps=1)

    assert first.loss == pytest.approx(math.log(7 + 256), rel=0.05)


def test_the_gradient_is_clipped_as_in_the_run(tiny):
    free = finders._Trial(tiny("task.clip_norm=null"), ())
    held = finders._Trial(tiny("task.clip_norm=0.01"), ())

    (norm, clipped) = (trial.gradient(next(trial.steps(1))).gradient_norm for trial in (free, held))

    assert norm == pytest.approx(clipped)  # both are that before clipping
    for trial, expected in ((free, norm), (held, 0.01)):
        gradients = [parameter.grad for parameter in trial.task.network.parameters()]
        assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(expected)


def test_micro_batches_double_and_change_neither_loss_nor_gradient(tiny):
    trials = find_batch(tiny())

    assert [trial.micro_batches for trial in trials] == [1, 2, 4, 8]
    assert [trial.rows for trial in trials] == [8, 4, 2, 1]
    assert all(trial.fits and trial.seconds > 0 for trial in trials)
    assert [trial.loss for trial in trials] == pytest.approx([trials[0].loss] * 4, rel=1e-5)
    norms = [trial.gradient_norm for trial in trials]
    assert norms == pytest.approx([norms[0]] * 4, rel=1e-4)


def test_a_size_that_does_not_fit_is_told_from_one_that_does(tiny, monkeypatch):
    def timed(recipe, allow_targets):
        if recipe["trainer"]["micro_batches"] < 4:
            raise torch.OutOfMemoryError
        return 1.0, finders.StepFigures(2.0, 3.0)

    monkeypatch.setattr(finders, "_timed", timed)

    assert [trial.fits for trial in find_batch(tiny())] == [False, False, True, True]


def falling(rates):
    """Trials whose loss falls by one nat between 1e-3 and 1e-2 and not elsewhere."""
    return [RateTrial(rate, 5.0 - min(1.0, max(0.0, math.log10(rate) + 3))) for rate in rates]


def test_the_suggested_rate_lies_where_the_loss_falls():
    rates = [10 ** (-6 + n / 16) for n in range(97)]

    assert 1e-3 <= suggested_lr(falling(rates)) <= 1e-2


def test_a_loss_that_never_falls_suggests_nothing():
    with pytest.raises(ValueError, match="fell at no rate"):
        suggested_lr([RateTrial(10.0**-n, 3.0) for n in range(20, 0, -1)])


def test_too_few_finite_losses_suggest_nothing():
    with pytest.raises(ValueError, match="finite for 9 steps only"):
        suggested_lr([RateTrial(1e-3, 3.0)] * 9)


def batch_trial(micro_batches, seconds):
    return BatchTrial(micro_batches, 1, seconds, math.isfinite(seconds), 1.0, 1.0)


def test_the_fastest_cut_that_fits_is_suggested():
    trials = [batch_trial(1, math.inf), batch_trial(2, 3.0), batch_trial(4, 2.0)]

    assert suggested_batch(trials).micro_batches == 4


def test_where_nothing_fits_that_is_said():
    with pytest.raises(ValueError, match="not even micro-batches of one row"):
        suggested_batch([batch_trial(1, math.inf)])
