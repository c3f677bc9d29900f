"""Labelled sets of the user's own, and files in the form of official ones, made up."""

import json

import pytest
from test_named_labels import SPLITS, load


def test_words_of_the_users_own_are_read_by_labelled_tokens(tmp_path):
    lines = "".join(f"w{number} B-X\n\n" for number in range(200))
    (tmp_path / "a.txt").write_text(lines)
    corpus = load("labelled_tokens", train=str(tmp_path / "a.txt"))

    sizes = [len(list(corpus.tagged(split))) for split in SPLITS]

    assert sum(sizes) == 200
    assert sizes == pytest.approx([160, 20, 20], abs=12)


@pytest.mark.parametrize(
    ("task", "record", "expected"),
    [
        (
            "tnews",
            {"label": "108", "label_desc": "news_edu", "sentence": "上课时", "keywords": ""},
            ("上课时", None, ("news_edu",)),
        ),
        (
            "iflytek",
            {"label": "110", "label_des": "社区超市", "sentence": "朴朴"},
            ("朴朴", None, ("社区超市",)),
        ),
        (
            "csl",
            {"id": 1, "abst": "为解决", "keyword": ["水声", "矩阵"], "label": "0"},
            ("为解决", "水声\n矩阵", ("wrong",)),
        ),
    ],
)
def test_tasks_of_clue_are_read_from_its_own_files(task, record, expected, tmp_path):
    for name in ("train.json", "dev.json"):
        (tmp_path / name).write_text(json.dumps(record, ensure_ascii=False) + "\n")

    assert list(load("clue", root=str(tmp_path), task=task).labelled("test")) == [expected]
