"""The mean of checkpoints: exact, in any order, read like any other, and of one run alone."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import at, checkpoint_content

import lmexp
from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.average import average
from lmexp.tokenizers import Bytes, Chars

EXACT = {"rtol": 0, "atol": 0}
TABLE = "network.embed.weight"


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    return checkpoint_content(tmp_path)


def mean(*named: dict[str, Any]) -> dict[str, Any]:
    return average((Path(f"{number}.ckpt"), one) for number, one in enumerate(named))


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


def test_tokenizers_of_other_characters_have_other_hashes(content):
    states = []
    for text in ("ab", "ac"):
        tokenizer = Chars(vocab_size=None, min_count=1, byte_fallback=True)
        tokenizer.fit(lambda text=text: [text])
        states.append({**content, "tokenizer": tokenizer.state()})

    with pytest.raises(ValueError, match="hash of the tokenizer"):
        mean(*states)
