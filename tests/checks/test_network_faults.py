"""Each check against a network that breaks what it claims, and that alone."""

import random

import pytest
from checking import failing
from misbuilt import NETWORK_FAULTS, STEP_FAULTS

LIKE_OTHERS = ("mixes rows always", "shifts", "crosses borders", "detaches")  # run by test-all
OTHER = ("the", "a", "sees", "in", "went", "to", "and", "from", "with", "Rome", "Oslo", "Ann")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Learning by heart takes 20 of them here."""
    monkeypatch.setattr("lmexp.checks.subject.STEPS", 60)


@pytest.fixture
def text(tmp_path):
    """Documents of random words."""
    rng = random.Random(0)
    lines = ("".join(f"{word} " for word in rng.choices(OTHER, k=9)) for _ in range(150))
    (tmp_path / "text.txt").write_text("".join(f"{line}\n\n" for line in lines))
    return tmp_path / "text.txt"


def own(text, *more):
    """A run of a network of the user's own."""
    data = ["data=text", f"data.files={text}", "data.corpus.document=blank_line", "tokenizer=byte"]
    sizes = ["data.max_length=40", "data.batch_size=16", "trainer=debug", "trainer.max_steps=100"]
    return [*data, *sizes, "optimizer.lr=0.01", "schedule.warmup_steps=10", *more]


def test_a_sound_network_passes(text, tmp_path):
    assert not failing(own(text, "model=own"), tmp_path)


SAID = {  # beside the name of the check
    "has a spare layer": ("gradients", "spare.bias, spare.weight"),
    "breaks on padding": ("padding", "padding is not supported Something cannot take what it is"),
    "is drawn large": ("initial loss", "The logits are too large"),
    "mixes rows": ("batch mates", "in training mode"),
}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, marks=[pytest.mark.slow] * (f in LIKE_OTHERS)) for f in NETWORK_FAULTS],
)
def test_a_fault_fails_its_own_check_alone(fault, text, tmp_path):
    found = failing(own(text, "model=own", f"model.fault='{fault}'"), tmp_path)

    assert found.keys() == NETWORK_FAULTS[fault], found
    check, said = SAID.get(fault, (min(found), ""))
    assert said in found[check]


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_a_state_that_loses_something_fails_incremental_decoding_alone(fault, text, tmp_path):
    found = failing(own(text, "model=own", f"model.fault='{fault}'"), tmp_path)

    assert found.keys() == {"incremental decoding"}, found


def test_a_rate_that_is_far_off_learns_nothing(text, tmp_path):
    found = failing(own(text, "model=own", "optimizer.lr=1.0e-9"), tmp_path)

    assert found.keys() == {"eight examples"}


def test_weights_that_training_spoilt_are_no_fault_of_their_saving(text, tmp_path):
    found = failing(own(text, "model=own", "optimizer.lr=1.0e+30"), tmp_path)

    assert found.keys() == {"eight examples", "gradients"}  # not finite once weights are not
