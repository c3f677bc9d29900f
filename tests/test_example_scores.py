"""Scores of examples in a run's folder: written, read back, refused where they are damaged."""

import json
import re

import numpy as np
import pytest

from lmexp.example_scores import ExampleScores, read_scores, write_scores

KEYS = np.array([3, 1, 2**64 - 1], dtype=np.uint64)
NATS = np.array([1.5, 0.1, 2e30])
PARTS = np.arange(30.0).reshape(3, 10)
METRICS = {
    "loss": {"formula": "ratio", "of": ["nats", "nats"]},
    "bleu": {"formula": "bleu", "of": ["parts"]},
}


def scores(**changed):
    own = {"keys": KEYS, "statistics": {"nats": NATS, "parts": PARTS}, "metrics": METRICS}
    return ExampleScores(**{**own, "unit": "line", **changed})


@pytest.fixture
def run(tmp_path):
    """A folder with scores."""
    write_scores(tmp_path, scores(), {"split": "test", "eval.carry": False})
    return tmp_path


def test_what_is_read_is_what_was_written(run):
    found = read_scores(run)

    assert found.signature == {"split": "test", "eval.carry": False}
    assert found.scores.unit == "line"
    assert found.scores.metrics == METRICS
    np.testing.assert_array_equal(found.scores.keys, KEYS)
    assert list(found.scores.statistics) == ["nats", "parts"]
    np.testing.assert_array_equal(found.scores.statistics["nats"], NATS)
    np.testing.assert_array_equal(found.scores.statistics["parts"], PARTS)
    assert sorted(path.name for path in (run / "scores").iterdir()) == ["test.json", "test.npz"]


def test_the_same_scores_are_the_same_bytes(run, tmp_path):
    before = [(run / "scores" / name).read_bytes() for name in ("test.npz", "test.json")]
    write_scores(run, scores(), {"split": "test", "eval.carry": False})

    assert [(run / "scores" / name).read_bytes() for name in ("test.npz", "test.json")] == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"keys": KEYS.astype(np.int64)}, "keys are int64 (3,) instead of uint64 (N,)"),
        ({"statistics": {"nats": NATS[:2]}}, "statistic nats is float64 (2,) instead of float64"),
        ({"statistics": {"nats": NATS.astype(np.float32)}}, "statistic nats is float32 (3,)"),
        ({"statistics": {}}, "loss is computed of nats, nats, and the statistics are none"),
        (
            {"metrics": {"loss": {"formula": "sum", "of": ["nats"]}}},
            "metric loss has formula 'sum'; there are mean, ratio,",
        ),
        (
            {"metrics": {"bleu": {"formula": "bleu", "of": ["nats", "parts"]}}},
            "metric bleu: formula bleu takes 10 columns, and nats, parts have 11",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(changed, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        scores(**changed)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def without(name):
    def change(path):
        facts = json.loads(path.read_text())
        del facts[name]
        path.write_text(json.dumps(facts))

    return change


def with_format(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


def with_metric(path):
    metric = {"f1": {"formula": "f1", "of": ["tags"]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": metric}))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("test.npz", cut, "is damaged, or not of the same test as test.json beside it"),
        ("test.json", cut, "test.json is damaged: "),
        ("test.json", lambda path: path.write_bytes(b"\xff\xfe"), "test.json is damaged: "),
        ("test.json", lambda path: path.write_text("[]"), "it lacks everything"),
        ("test.json", without("sha256"), "test.json is damaged: it lacks sha256"),
        ("test.json", with_format, "has format 2, and this version of lmexp reads 1"),
        ("test.json", with_metric, "f1 is computed of tags, and the statistics are nats, parts"),
    ],
)
def test_damaged_files_are_refused_with_what_is_wrong(run, name, change, told):
    change(run / "scores" / name)

    with pytest.raises(ValueError, match=re.escape(told)) as error:
        read_scores(run)

    assert str(run) in str(error.value)


@pytest.mark.parametrize("name", ["test.npz", "test.json"])
def test_a_missing_file_is_named(run, name):
    (run / "scores" / name).unlink()

    with pytest.raises(FileNotFoundError, match=f"has no scores/{name}: it was not tested"):
        read_scores(run)
