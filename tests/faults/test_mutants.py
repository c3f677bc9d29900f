"""Each check of this folder turns red when the bug it guards against is put in."""

import time

import pytest
import test_endurance
import test_evaluation
import test_kill
import test_launching
import test_memory
import test_mirrors_of_kills
import test_nonfinite
import test_same_on_any_ranks
import test_saving
import test_signals
from kinds import overrides
from test_evaluation import alone  # noqa: F401

from lmexp import checkpoint, loaders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


def bug(name: str) -> list[list[str]]:
    return [["all", "mutant", name]]


@pytest.fixture(autouse=True)
def nothing_crashes(server):
    """A bug has to be found by what a check asserts, not because a run falls over it."""
    server.forget()
    yield
    assert "Traceback" not in server.said()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("draws_from_one_stream", "transformer"),
        ("repeats_a_step", "translation lstm"),
        ("repeats_a_step", "lstm"),
        ("forgets_carried_state", "lstm"),
        ("forgets_the_average", "translation transformer"),
    ],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_kills_find(name, kind, ranks, server, text, tmp_path):
    def whole(kind: str, ranks: int):
        """A run that nobody interrupts, with the same bug."""
        folder = tmp_path / "whole"
        folder.mkdir()
        rows = ["all", "write_rows", str(folder / "rows.jsonl")]
        arguments = overrides(kind, folder / "run", text, ranks=ranks)
        assert server.run(arguments, [rows, *bug(name)]).status == 0
        return folder / "run"

    moment = "the last step of an epoch"  # long after the first checkpoint
    with pytest.raises(AssertionError):
        test_kill.check(server, whole, text, tmp_path, kind, moment, ranks, bug(name))


@pytest.mark.parametrize("name", ["adds_no_gradients_up", "deals_too_little"])
@pytest.mark.parametrize("kind", ["lstm", "translation transformer"])
def test_equal_trainings_find(name, kind, server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_same_on_any_ranks.check(server, text, tmp_path, kind, bug(name))


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("pads_by_repeating", "transformer", 5),
        ("pads_by_repeating", "translation lstm", 1),
        ("gathers_in_another_order", "translation lstm", 101),
    ],
)
def test_evaluations_find(name, kind, count, server, text, alone, tmp_path):  # noqa: F811
    with pytest.raises(AssertionError):
        test_evaluation.check(server, text, alone, tmp_path, kind, count, 4, bug(name))


def test_kills_while_saving_find_what_writes_in_place(server, text, whole, tmp_path):
    found = 0
    for trial in range(12):
        try:
            (tmp_path / str(trial)).mkdir()
            test_saving.check_kill(
                server, text, whole, tmp_path / str(trial), trial, bug("writes_in_place")
            )
        except (AssertionError, ValueError):  # ValueError: the file cannot be read
            found += 1
    assert found


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_damages_find_what_believes_any_file(how, whole, monkeypatch):
    monkeypatch.setattr(checkpoint, "verify", lambda path: None)
    with pytest.raises(AssertionError):
        test_saving.check_damage(whole("lstm", 1), how, 7)


@pytest.mark.parametrize("name", ["votes_for_nothing", "leaves_the_others"])
def test_signals_find(name, server, text, whole, tmp_path):
    with pytest.raises(AssertionError):
        test_signals.check(
            server, text, whole, tmp_path, "lstm", "rank 1", "a step", "SIGTERM", bug(name)
        )


def test_a_signal_that_reaches_a_rank_twice_finds(server, text, whole, tmp_path):
    kind, who, moment = "transformer", "all three", "a step"
    with pytest.raises(AssertionError):
        test_signals.check(
            *(server, text, whole, tmp_path, kind, who, moment, "SIGTERM"),
            bug("takes_every_signal_for_another"),
        )


@pytest.mark.parametrize("name", ["looks_at_its_own_loss", "saves_what_is_not_finite"])
def test_losses_that_are_not_finite_find(name, server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_nonfinite.check_stop(server, text, tmp_path, "transformer", 3, bug(name))


def test_losses_that_leap_up_find_a_guard_that_sleeps(server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_nonfinite.check_spike(
            server, text, tmp_path, "transformer", "skip", bug("sees_no_spikes")
        )


def test_too_little_memory_finds(server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_memory.check(server, text, tmp_path, "lstm", 2, "1", bug("keeps_half_a_gradient"))


def test_fifty_launches_find_a_folder_that_is_shared(server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_launching.check_launches(server, text, tmp_path, bug("takes_a_folder_that_is_there"))


def test_three_kills_find_lines_that_stay(server, text, whole, tmp_path):
    with pytest.raises(AssertionError):
        test_mirrors_of_kills.check(
            server, text, whole, tmp_path, "csv", bug("keeps_the_lines_after_a_checkpoint")
        )


@pytest.mark.parametrize("name", ["keeps_every_loss", "opens_without_closing"])
def test_five_thousand_steps_find(name, server, text, tmp_path):
    with pytest.raises(AssertionError):
        test_endurance.check_growth(server, text, tmp_path, bug(name))


def test_the_millionth_step_finds_who_reads_all_before_it(text, monkeypatch):
    iterate = loaders.Positions.__iter__

    def from_the_start(self):
        for _ in range(self.start[0]):
            time.sleep(2e-5 * self._steps_per_epoch)
        yield from iterate(self)

    monkeypatch.setattr(loaders.Positions, "__iter__", from_the_start)
    assert test_endurance.check_seek("lstm", text) > 0.5
