"""Checkpoints are averaged exactly, in any order, and read like any other afterwards."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import write_checkpoint

import lmexp
from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.average import average
from lmexp.tokenizers import Bytes, Chars

EXACT = {"rtol": 0, "atol": 0}
TABLE = "network.embed.weight"


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A checkpoint as training writes it; the run around it is removed."""
    run, _ = write_checkpoint(tmp_path / "bigram", "abc\n")
    content = checkpoints.read(run / "checkpoints" / "best.ckpt")
    shutil.rmtree(run)
    return content


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder without checkpoints."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("seed: 0\n")
    return folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "bigram").mkdir()


def at(content: dict[str, Any], step: int, weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A checkpoint of another step with other weights."""
    training = {"steps_done": step, "average": None, "carried": [], **more}
    return {**content, "state_dict": weights, "training": training, "optimizer_states": []}


def mean(*named: dict[str, Any]) -> dict[str, Any]:
    return average((Path(f"{number}.ckpt"), one) for number, one in enumerate(named))


def fill(run: Path, content: dict[str, Any], *steps: int) -> None:
    """Checkpoints of these steps, each filled with its own number."""
    for step in steps:
        weights = {name: torch.full_like(w, step) for name, w in content["state_dict"].items()}
        file = run / "checkpoints" / checkpoints.step_name(step)
        checkpoints.save(at(content, step, weights), file)


def test_the_weights_are_the_mean(content):
    found = mean(*(at(content, n, {"w": torch.tensor([n, n * n, 0.5])}) for n in range(1, 6)))

    assert found["state_dict"]["w"].tolist() == [3.0, 11.0, 0.5]
    assert found["averaged"] == [1, 2, 3, 4, 5]
    assert found["training"] == {"steps_done": 5, "average": None}
    assert "optimizer_states" not in found


def test_the_mean_has_the_weights_own_dtype_and_more_digits_on_the_way(content):
    values = (256.0, 1.0, 1.0)  # bfloat16 has 8 digits: 256 + 1 is 256 there
    parts = [torch.tensor([value], dtype=torch.bfloat16) for value in values]

    found = mean(*(at(content, n, {"w": part}) for n, part in enumerate(parts)))["state_dict"]["w"]

    assert sum(parts).item() == 256.0
    assert found.item() == 86.0
    assert found.dtype == torch.bfloat16


def test_what_float32_would_lose_is_kept(content):
    values = (2.0**30, 3.0, -(2.0**30))
    found = mean(*(at(content, n, {"w": torch.tensor([v])}) for n, v in enumerate(values)))

    assert sum(torch.tensor(values)) == 0.0
    assert found["state_dict"]["w"].item() == 1.0


def test_integers_are_the_newest_ones_whatever_the_order(content):
    parts = [at(content, n, {"count": torch.tensor([n * n])}) for n in (1, 3, 2)]

    for order in itertools.permutations(parts):
        assert mean(*order)["state_dict"]["count"].item() == 9


def test_a_mean_changes_none_of_its_parts(content):
    parts = [at(content, n, {"w": torch.tensor([n], dtype=torch.float64)}) for n in (1, 3)]

    assert mean(*parts)["state_dict"]["w"].item() == 2.0
    assert [part["state_dict"]["w"].item() for part in parts] == [1.0, 3.0]


def test_tied_weights_stay_tied_and_are_stored_once(content, tmp_path):
    parts = []
    for step in (1, 3):
        weight = torch.full((100, 100), float(step))
        parts.append(at(content, step, {"network.embed": weight, "network.output": weight}))

    checkpoints.save(mean(*parts), tmp_path / "mean.ckpt")

    found = checkpoints.read(tmp_path / "mean.ckpt")["state_dict"]
    assert found["network.embed"].data_ptr() == found["network.output"].data_ptr()
    assert (found["network.output"] == 2.0).all()


def test_moving_averages_are_averaged_where_they_are_what_is_evaluated(content):
    parts = []
    for step, moving in ((4, 10.0), (8, 20.0)):
        weight = torch.full((2,), float(step), dtype=torch.bfloat16)
        weights = {"network.embed": weight, "network.output": weight, "network.fixed": -weight}
        average_of_run = {"embed": torch.full((2,), moving), "": step}
        parts.append(at(content, step, weights, average=average_of_run))

    found = mean(*parts)

    assert found["training"]["average"]["embed"].tolist() == [15.0, 15.0]
    assert found["training"]["average"]["embed"].dtype == torch.float32
    assert found["training"]["average"][""] == 8
    weights = {name: value.tolist() for name, value in found["state_dict"].items()}
    assert weights == {
        "network.embed": [15.0, 15.0],
        "network.output": [15.0, 15.0],  # tied
        "network.fixed": [-6.0, -6.0],  # without a moving average
    }
    assert found["state_dict"]["network.embed"].dtype == torch.bfloat16


def test_the_same_checkpoint_thrice_computes_the_same(content, tmp_path):
    torch.manual_seed(0)
    weights = {name: torch.randn_like(value) for name, value in content["state_dict"].items()}
    checkpoints.save(at(content, 7, weights), tmp_path / "one.ckpt")
    named = [str(tmp_path / "one.ckpt")] * 3

    assert main(["average", *named, "--out", str(tmp_path / "mean.ckpt")]) == 0

    ids = torch.randint(len(weights[TABLE]), (2, 9))
    one, other = (
        lmexp.load(tmp_path / name, allow_targets=["bigram"]).network(ids)
        for name in ("one.ckpt", "mean.ckpt")
    )
    torch.testing.assert_close(one, other, **EXACT)


def test_the_order_of_names_changes_nothing(content, tmp_path):
    torch.manual_seed(0)
    names = [str(tmp_path / f"{name}.ckpt") for name in "abc"]
    for step, name in enumerate(names):
        checkpoints.save(at(content, step, {"w": torch.randn(1000) * 10.0**step}), Path(name))

    found = []
    for number, order in enumerate(itertools.permutations(names)):
        out = tmp_path / f"mean{number}.ckpt"
        assert main(["average", *order, "--out", str(out)]) == 0
        found.append(out.read_bytes())

    assert len(set(found)) == 1


def test_the_newest_of_a_run_are_averaged_and_the_next_commands_named(content, run, capsys):
    fill(run, content, 4, 8, 12, 16, 20)
    folder = run / "checkpoints"
    (folder / "last.ckpt").hardlink_to(folder / "step-20.ckpt")
    shutil.copy(folder / "step-20.ckpt", folder / "previous.ckpt")  # the same step, saved twice
    shutil.copy(folder / "step-4.ckpt", folder / "best-40.ckpt")

    assert main(["average", str(run.parent), "--last", "3"]) == 0

    out = folder / "average_last_3.ckpt"
    told = capsys.readouterr().out
    assert f"averaged steps 12, 16, 20: the newest of {run}\n{out}\n" in told
    assert f"python -m lmexp evaluate {out}\n" in told
    assert f"python -m lmexp generate {out} " in told
    loaded = lmexp.load(out, allow_targets=["bigram"])
    assert (loaded.network.embed.weight == 16.0).all()
    assert loaded.step == 20


def test_five_are_averaged_if_no_number_is_given(content, run):
    fill(run, content, *range(1, 8))

    assert main(["average", str(run)]) == 0

    found = checkpoints.read(run / "checkpoints" / "average_last_5.ckpt")
    assert found["averaged"] == [3, 4, 5, 6, 7]


def test_last_and_previous_are_two_without_any_further_setting(content, run):
    fill(run, content, 5, 6)
    for name, step in (("last", 6), ("previous", 5)):
        (run / "checkpoints" / f"step-{step}.ckpt").rename(run / "checkpoints" / f"{name}.ckpt")

    assert main(["average", str(run), "--last", "2"]) == 0


def test_a_damaged_checkpoint_is_named_and_passed_over(content, run, capsys):
    fill(run, content, 1, 2, 3)
    (run / "checkpoints" / "step-2.ckpt").write_bytes(b"half a file")

    assert main(["average", str(run), "--last", "2"]) == 0

    told = capsys.readouterr()
    assert "averaged steps 1, 3:" in told.out
    assert "step-2.ckpt is no whole lmexp checkpoint" in told.err
    assert "passed over" in told.err
    assert told.err.count("\n") == 1


def test_a_damaged_one_that_was_named_is_refused(content, run, capsys, tmp_path):
    fill(run, content, 1, 2)
    (run / "checkpoints" / "step-2.ckpt").write_bytes(b"half a file")
    named = [str(run / "checkpoints" / f"step-{step}.ckpt") for step in (1, 2)]

    assert main(["average", *named, "--out", str(tmp_path / "mean.ckpt")]) == 2

    assert "step-2.ckpt is no whole lmexp checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "mean.ckpt").exists()


def test_an_average_may_be_made_again_and_is_no_checkpoint_of_the_run(content, run):
    fill(run, content, 1, 2)
    assert main(["average", str(run), "--last", "2"]) == 0
    fill(run, content, 4)
    assert main(["average", str(run), "--last", "2"]) == 0

    found = checkpoints.read(run / "checkpoints" / "average_last_2.ckpt")
    assert found["averaged"] == [2, 4]
    assert checkpoints.newest_good(run, pytest.fail).name == "step-4.ckpt"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("RUN --last 3", "holds 2 whole checkpoints (of steps 1, 2), and --last 3 wants 3"),
        ("RUN --last 3", "write --last 2, or train with trainer.keep_last=3"),
        ("RUN", "and --last 5 wants 5"),
        ("RUN --last 1", "--last 1: one checkpoint is its own average"),
        ("RUN --last 0", "--last 0"),
        ("RUN RUN", "2 folders"),
        ("RUN ONE", "beside .ckpt files"),
        ("ONE", "step-1.ckpt is one checkpoint, its own average"),
        ("ONE TWO", "--out RUN/checkpoints/average.ckpt"),
        ("ONE TWO --last 2 --out new.ckpt", "--last 2 counts the checkpoints of a run"),
        ("ONE TWO --out ONE", "step-1.ckpt is there already"),
        ("ONE TWO --out new.pt", "--out new.pt: commands take a checkpoint by its end"),
        ("ONE TWO --out nowhere/new.ckpt", "there is no folder nowhere"),
        ("RUN/none.ckpt ONE --out new.ckpt", "none.ckpt does not exist"),
        ("nowhere", "nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(typed, told, content, run, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    fill(run, content, 1, 2)
    named = {"ONE": f"{run}/checkpoints/step-1.ckpt", "TWO": f"{run}/checkpoints/step-2.ckpt"}
    typed = typed.replace("RUN", str(run))
    for word, path in named.items():
        typed = typed.replace(word, path)

    assert main(["average", *typed.split()]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told.replace("RUN", str(run)) in error
    assert not (tmp_path / "new.ckpt").exists()


def test_a_run_without_checkpoints_says_so(run, capsys):
    assert main(["average", str(run)]) == 2
    assert "holds 0 whole checkpoints, and --last 5 wants 5: train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": {"model": {"d_model": 8}}}, "recipe.model is {'_target_'"),
        ({"data_hash": "ffff"}, "hash of the data is 0a1b in the one, ffff in the other"),
        ({"tokenizer": Bytes(extra=["<a>"]).state()}, "hash of the tokenizer is"),
        ({"state_dict": {TABLE: torch.zeros(2, 3)}}, "network.embed.weight is [263, 263] in"),
        ({"state_dict": {}}, "in the one, None in the other"),
    ],
)
def test_what_is_not_of_one_run_is_refused_with_both_values(change, told, content):
    other = {**content, **change}
    if "recipe" in change:
        other["recipe"] = {**content["recipe"], **change["recipe"]}

    with pytest.raises(ValueError, match="are of different runs and have no mean") as refused:
        mean(content, other)

    assert told in str(refused.value)
    assert "0.ckpt and 1.ckpt" in str(refused.value)


def small(folder: Path, text: Path) -> list[str]:
    """Overrides of a run of a second, whose moving average is evaluated."""
    model = ["model=gru", "model.d_model=16", "model.num_layers=1", "tokenizer=byte"]
    data = ["data=text", f"data.files={text}", "data.max_length=32", "data.batch_size=8"]
    trainer = ["trainer=debug", "trainer.max_steps=12", "trainer.validate_every_steps=4"]
    often = ["trainer.checkpoint_every_steps=2", "schedule.warmup_steps=0", "task.ema_decay=0.5"]
    quiet = ["task.sample_tokens=0", "logger=none", f"hydra.run.dir={folder}"]
    return [*model, *data, *trainer, *often, *quiet]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that keeps its newest 4 checkpoints."""
    folder = tmp_path_factory.mktemp("averaged")
    text = folder / "text.txt"
    text.write_text("".join(f"{n} times {n} is {n * n}\n" for n in range(300)))
    assert main(["train", *small(folder / "run", text), "trainer.keep_last=4"]) == 0
    return folder / "run"


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*.ckpt"))


def test_a_run_keeps_as_many_of_the_newest_as_it_was_asked_to(trained):
    assert names(trained) == ["step-10.ckpt", "step-12.ckpt", "step-6.ckpt", "step-8.ckpt"]
    for name in names(trained):
        step = checkpoints.read(trained / "checkpoints" / name)["training"]["steps_done"]
        assert name == f"step-{step}.ckpt"
    assert (trained / "checkpoints" / "last.ckpt").samefile(
        trained / "checkpoints" / "step-12.ckpt"
    )


def test_an_average_of_a_run_is_evaluated_as_the_mean_of_what_it_evaluated(trained, capsys):
    assert main(["average", str(trained), "--last", "4"]) == 0
    out = trained / "checkpoints" / "average_last_4.ckpt"
    assert main(["evaluate", str(out), "--split", "val"]) == 0
    assert "val/loss" in capsys.readouterr().out

    parts = [
        dict(lmexp.load(trained / "checkpoints" / name).network.named_parameters())
        for name in names(trained)
    ]
    for name, weight in lmexp.load(out).network.named_parameters():
        expected = torch.stack([part[name].double() for part in parts]).mean(dim=0).float()
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-7)


def test_no_training_goes_on_from_an_average(trained, tmp_path, capsys):
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    assert main(["average", str(run), "--last", "4"]) == 0
    out = run / "checkpoints" / "average_last_4.ckpt"
    capsys.readouterr()

    assert main(["train", f"resume={out}"]) == 2
    assert f"write resume={run}" in capsys.readouterr().err

    out.replace(run / "checkpoints" / "last.ckpt")
    assert main(["train", f"resume={run}", "trainer.max_steps=14"]) == 2
    error = capsys.readouterr().err
    assert "last.ckpt is an average of steps 6, 8, 10, 12, without an optimizer's state" in error
    assert error.count("\n") == 1


def test_a_resume_drops_what_comes_later_and_mends_what_is_missing(trained, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    folder = run / "checkpoints"
    (folder / "step-12.ckpt").unlink()  # a kill came between the checkpoint and its number
    shutil.copy(folder / "step-10.ckpt", folder / "step-99.ckpt")  # of a step that was undone

    assert main(["train", f"resume={run}", "trainer.max_steps=14"]) == 0
    assert names(run) == ["step-10.ckpt", "step-12.ckpt", "step-14.ckpt", "step-8.ckpt"]

    assert main(["train", f"resume={run}", "trainer.max_steps=16", "trainer.keep_last=2"]) == 0
    assert names(run) == ["step-10.ckpt", "step-12.ckpt", "step-14.ckpt", "step-8.ckpt"]
    assert main(["train", f"resume={run}", "trainer.max_steps=18", "trainer.keep_last=3"]) == 0
    assert names(run) == ["step-14.ckpt", "step-16.ckpt", "step-18.ckpt"]


def test_a_run_that_keeps_one_is_refused(tmp_path, capsys):
    assert main(["train", *small(tmp_path / "run", tmp_path), "trainer.keep_last=1"]) == 2
    assert "trainer.keep_last=1" in capsys.readouterr().err


def test_tokenizers_of_other_characters_have_other_hashes(content):
    states = []
    for text in ("ab", "ac"):
        tokenizer = Chars(vocab_size=None, min_count=1, byte_fallback=True)
        tokenizer.fit(lambda text=text: [text])
        states.append({**content, "tokenizer": tokenizer.state()})

    with pytest.raises(ValueError, match="hash of the tokenizer"):
        mean(*states)
