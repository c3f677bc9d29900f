"""A network in parts (trainer=fsdp) learns, saves and survives as a whole one does."""

import kinds
import pytest
import test_evaluation
import test_kill
import test_nonfinite
import test_signals
import torch
from interruption import flat, lines
from kinds import KINDS, Kind, overrides
from test_evaluation import alone  # noqa: F401

from lmexp import checkpoint as checkpoints

SHARDED = {
    f"sharded {name}": Kind(kind.task, (*kind.overrides, "trainer.strategy=fsdp"))
    for name, kind in KINDS.items()
}
STEPS = 50
OF_ONE = "transformer", "translation lstm"


def quick(values, few):
    """Values for a parametrize, of which all but a few are slow: a whole network has them all."""
    return [
        value if value in few else pytest.param(value, marks=pytest.mark.slow) for value in values
    ]


@pytest.fixture(autouse=True)
def sharded_kinds(monkeypatch):
    """Known to the checks of whole networks too, whose own tests they do not multiply."""
    for name, kind in SHARDED.items():
        monkeypatch.setitem(kinds.KINDS, name, kind)


def losses(folder) -> dict[int, float]:
    return {line["step"]: line["train/loss"] for line in lines(folder) if "train/loss" in line}


def trained(
    server, text, folder, kind: str, ranks: int, *more: str, steps: int = STEPS, seconds=60.0
):
    """A run's folder."""
    arguments = [*overrides(kind, folder, text, ranks=ranks, steps=steps), *more]
    ended = server.run(arguments, seconds=seconds)
    assert ended.status == 0, ended.errors
    return folder


@pytest.mark.parametrize(
    ("kind", "ranks", "more"),
    [
        *(
            pytest.param(kind, 2, (), marks=() if kind in OF_ONE else pytest.mark.slow)
            for kind in KINDS
        ),
        pytest.param("transformer", 3, (), marks=pytest.mark.slow),
        pytest.param("translation lstm", 4, (), marks=pytest.mark.slow),
        ("transformer", 2, ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.1")),
        ("transformer", 2, ("task.clip_norm=0.3", "model.tied=false")),
    ],
)
def test_parts_learn_what_the_whole_learns(kind, ranks, more, server, text, tmp_path):
    whole = trained(server, text, tmp_path / "whole", kind, 1, *more)
    parts = trained(server, text, tmp_path / "parts", f"sharded {kind}", ranks, *more)

    assert len(losses(whole)) == STEPS
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    ours, theirs = (
        flat(checkpoints.read(folder / "checkpoints" / "last.ckpt")) for folder in (parts, whole)
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if torch.is_tensor(value):
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=name)
        elif name.startswith("/optimizer_states"):
            assert value == theirs[name], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("transformer", ()),
        ("translation transformer", ("trainer.activation_checkpointing=true",)),
        ("lstm", ()),
    ],
)
def test_compiled_parts_learn_what_the_whole_learns(kind, more, server, text, tmp_path):
    whole = trained(server, text, tmp_path / "whole", kind, 1, "model.dropout=0", steps=10)
    compiled = "model.dropout=0", "trainer.compile=true", *more

    folder = tmp_path / "parts"
    trained(server, text, folder, f"sharded {kind}", 2, *compiled, steps=10, seconds=250.0)

    assert len(losses(whole)) == 10
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize("kind", quick(OF_ONE, ["transformer"]))
@pytest.mark.parametrize(
    "name",
    quick(test_kill.MOMENTS, ["inside an accumulation window", "in a sample", "while saving"]),
)
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(
    kind, name, server, whole, text, tmp_path
):
    test_kill.check(server, whole, text, tmp_path, f"sharded {kind}", name, 2)


@pytest.mark.parametrize("kind", quick(KINDS, OF_ONE))
def test_a_run_goes_on_under_other_strategies_along_the_same_curve(kind, server, text, tmp_path):
    whole = trained(server, text, tmp_path / "whole", kind, 1, steps=30)
    moved = tmp_path / "moved"
    later = f"resume={moved}"
    sessions = (
        (overrides(f"sharded {kind}", moved, text, ranks=2), 7),
        ([later, "trainer.devices=1", "trainer.strategy=auto"], 13),
        ([later, "trainer.devices=4", "trainer.strategy=fsdp"], 20),
    )
    for arguments, last in sessions:
        ended = server.run(arguments, [["all", "stop_after", last]])
        assert ended.status == 143, ended.errors
    ended = server.run([later, "trainer.devices=2", "trainer.strategy=ddp"])
    assert ended.status == 0, ended.errors

    assert len(losses(whole)) == 30
    assert losses(moved) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize(("count", "ranks"), [(1, 2), (5, 3), (7, 2), (101, 4)])
@pytest.mark.parametrize("kind", OF_ONE)
def test_figures_are_those_of_one_process(kind, count, ranks, server, text, alone, tmp_path):  # noqa: F811
    expected = alone(kind, count)

    found = test_evaluation.scored(
        server, text, tmp_path / "parts", f"sharded {kind}", count, ranks
    )

    assert expected.keys() == found.keys()
    for name, value in expected.items():
        close = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        assert found[name] == close, name


@pytest.mark.parametrize("moment", quick(test_signals.MOMENTS, ["a step", "decoding"]))
@pytest.mark.parametrize("who", quick(["rank 1", "the launcher"], ["rank 1"]))
def test_sigterm_saves_once_ends_all_and_the_run_goes_on(
    who, moment, server, text, whole, tmp_path
):
    kind = "sharded translation transformer"
    test_signals.check(server, text, whole, tmp_path, kind, who, moment, "SIGTERM")


@pytest.mark.parametrize("trial", range(4))
def test_all_ranks_stop_where_one_has_nan(trial, server, text, tmp_path):
    test_nonfinite.check_stop(server, text, tmp_path, list(SHARDED)[trial], trial)


def test_a_step_that_is_left_out_leaves_no_gradient_behind(server, text, tmp_path):
    ended = server.run(
        [*overrides("sharded lstm", tmp_path / "run", text, ranks=2), "trainer.on_nonfinite=skip"],
        [["1", "spoil", f"{KINDS['lstm'].task}.sums:9"]],  # of its two a step: the fifth step
    )

    assert ended.status == 0, ended.errors
    assert "the loss of step 4 is not finite: left out" in ended.errors
    test_nonfinite.assert_all_finite(tmp_path / "run")


@pytest.mark.parametrize("victim", ["0", "1"])
def test_out_of_memory_ends_the_run_with_what_to_do(victim, server, text, tmp_path):
    limits = [[victim, "lack_memory", f"{KINDS['transformer'].task}.sums:7", 1]]

    ended = server.run(overrides("sharded transformer", tmp_path / "run", text, ranks=2), limits)

    assert ended.status == 2
    assert "out of memory in step 3: with trainer.strategy=fsdp" in ended.errors
    assert "Traceback" not in ended.errors


def test_a_step_that_was_cut_into_pieces_is_whole_again_in_parts(server, text, tmp_path):
    run = overrides("translation transformer", tmp_path / "run", text, steps=12)
    limits = ["launcher", "lack_memory", f"{KINDS['translation transformer'].task}.sums:7", 1]
    stopped = server.run(run, [limits, ["all", "stop_after", 6]])
    assert stopped.status == 143, stopped.errors
    whole = trained(server, text, tmp_path / "whole", "translation transformer", 1, steps=12)

    ended = server.run([f"resume={tmp_path / 'run'}", "trainer.strategy=fsdp", "trainer.devices=2"])

    assert ended.status == 0, ended.errors
    assert "are whole again: with trainer.strategy=fsdp" in ended.errors
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["training"]["pieces"] == 1
    assert losses(tmp_path / "run").keys() == losses(whole).keys()


AMID_A_FOLDER = {
    "the folder is empty": "lmexp.checkpoint_parts:_write_parts:4",
    "the rest is missing": "lmexp.checkpoint:save:4",
    "the manifest is missing": "lmexp.checkpoint_parts:write_atomically:3",
    "the name is missing": "lmexp.checkpoint_parts:replace:5",
    "last became previous": "lmexp.checkpoint:replace:6",
    "a folder is deleted": "lmexp.checkpoint_files:remove:3",
    "half a folder is linked": "lmexp.checkpoint_files:_link_file:8",
}
PARTS = "trainer.sharded_checkpoints=true"


@pytest.mark.parametrize("kind", quick(OF_ONE, ["transformer"]))
@pytest.mark.parametrize("moment", AMID_A_FOLDER)
def test_killed_amid_a_folder_and_resumed_is_bitwise_the_uninterrupted_run(
    kind, moment, server, whole, text, tmp_path, monkeypatch
):
    kind = f"sharded {kind}"
    saved = Kind(SHARDED[kind].task, (*SHARDED[kind].overrides, PARTS))
    monkeypatch.setitem(kinds.KINDS, f"{kind} in folders", saved)
    monkeypatch.setattr(test_kill, "moment", lambda *_: AMID_A_FOLDER[moment])

    test_kill.check(server, whole, text, tmp_path, f"{kind} in folders", "while saving", 2)


@pytest.mark.parametrize("kind", quick(OF_ONE, ["transformer"]))
def test_folders_and_files_take_turns_on_any_number_of_ranks(kind, server, text, tmp_path):
    whole = trained(server, text, tmp_path / "whole", kind, 1, steps=30)
    moved = tmp_path / "moved"
    later = f"resume={moved}"
    sessions = (
        ([*overrides(f"sharded {kind}", moved, text, ranks=2), PARTS], 7, True),
        ([later, "trainer.devices=4"], 13, True),
        ([later, "trainer.devices=1"], 20, False),  # nothing is sharded
    )
    last = moved / "checkpoints" / "last.ckpt"
    for arguments, step, is_folder in sessions:
        ended = server.run(arguments, [["all", "stop_after", step]])
        assert ended.status == 143, ended.errors
        assert last.is_dir() == is_folder
    ended = server.run([later, "trainer.devices=3"])
    assert ended.status == 0, ended.errors

    assert last.is_dir()
    assert losses(moved) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_full_disk_leaves_the_older_folders_whole(victim, server, text, tmp_path):
    run = overrides("sharded transformer", tmp_path / "run", text, ranks=2)
    full = [victim, "mutant", "fills_the_disk_of_a_rank"]

    ended = server.run([*run, PARTS], [full])

    assert ended.status not in (0, 143)
    assert "No space left on device" in ended.errors
    assert "Traceback" not in ended.errors
    for name in ("last.ckpt", "previous.ckpt"):
        checkpoints.verify(tmp_path / "run" / "checkpoints" / name)
    resumed = server.run([f"resume={tmp_path / 'run'}"])
    assert resumed.status == 0, resumed.errors
