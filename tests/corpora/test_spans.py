"""Texts with marked parts: which of overlapping ones is kept, and what is refused."""

import json

import pytest

from lmexp.corpora.cluener import Cluener
from lmexp.corpora.events import FewFCEvents
from lmexp.corpora.spans import Span, tags_of

CLUENER = {
    "train": "*",
    "val": None,
    "test": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "drop_seen": False,
    "on_invalid": "error",
}
EVENTS = {
    "part": "base",
    "train": "train_{part}.json",
    "test": "test_{part}.json",
    "val_fraction": 0.0,
    "drop_seen": False,
    "on_invalid": "error",
}
EVENT = {
    "content": "兴发质押",
    "events": [
        {
            "type": "质押",
            "mentions": [
                {"word": "兴发", "span": [0, 2], "role": "sub-org"},
                {"word": "质押", "span": [2, 4], "role": "trigger"},
            ],
        }
    ],
}


def test_spans_become_tags():
    found = tags_of(6, [Span(4, 6, "X"), Span(0, 1, "X"), Span(1, 3, "Y")])

    assert found.tags == ("B-X", "B-Y", "I-Y", "O", "B-X", "I-X")
    assert (found.overlapping, found.repeated) == (0, 0)


@pytest.mark.parametrize(
    ("spans", "kept"),
    [
        ([Span(0, 2, "X"), Span(1, 4, "Y")], "O B-Y I-Y I-Y"),  # the longer one
        ([Span(0, 3, "X"), Span(1, 2, "Y", True)], "O B-Y O O"),  # the one that goes first
        ([Span(0, 2, "X"), Span(0, 2, "Y")], "B-X I-X O O"),  # the one marked earlier
        ([Span(1, 3, "X"), Span(0, 2, "Y"), Span(2, 4, "Y")], "O B-X I-X O"),
    ],
)
def test_of_overlapping_spans_one_is_kept(spans, kept):
    found = tags_of(4, spans)

    assert found.tags == tuple(kept.split())
    assert found.overlapping == len(spans) - 1


def test_a_span_marked_twice_is_one():
    assert tags_of(2, [Span(0, 2, "X")] * 3) == (("B-X", "I-X"), 0, 2)


def write(path, *records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")


def read_cluener(root, **changes):
    return list(Cluener(**CLUENER | changes, root=str(root)).tagged("train"))


def test_entities_listed_by_type_are_read(tmp_path):
    label = {"name": {"老桂": [[1, 2]]}, "company": {"浙": [[0, 0], [3, 3]]}}
    write(tmp_path / "a.jsonl", {"text": "浙老桂浙", "label": label}, {"text": "", "label": {}})
    corpus = Cluener(**CLUENER, root=str(tmp_path))

    (found,) = corpus.tagged("train")

    assert found == (tuple("浙老桂浙"), ("B-company", "B-name", "I-name", "B-company"))
    assert corpus.joins_words
    assert corpus.counts == {"empty text": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "浙", "id": 3}, "line 1 has no 'label' but text, id: a file without labels"),
        (
            {"text": "浙老", "label": {"name": {"桂": [[1, 1]]}}},
            "line 1 marks '桂' at 1 to 2 as name, but the text of 2 characters has '老' there",
        ),
        ({"text": "浙", "label": {"name": {"浙": [[5, 5]]}}}, "marks '浙' at 5 to 6 .* has ''"),
        ({"text": "浙", "label": {"name": {"浙": [[-1, -1]]}}}, "marks '浙' at -1 to 0"),
        ({"text": "浙", "label": ["name"]}, r"line 1: 'label' is \['name'\]: write"),
        ({"text": "浙", "label": {"name": {"浙": [[1]]}}}, "line 1: 'label' is .*: write"),
        ({"label": {}}, "line 1 has no 'text' but label"),
        ({"text": 3, "label": {}}, "line 1: 'text' is int, not text"),
        ([], "line 1 is list, not an object"),
    ],
)
def test_entities_that_are_wrong_are_named(record, message, tmp_path):
    write(tmp_path / "a.jsonl", record)

    with pytest.raises(ValueError, match=message):
        read_cluener(tmp_path)


def test_triggers_have_their_events_type_and_arguments_their_role(tmp_path):
    write(tmp_path / "train_base.json", EVENT)
    write(tmp_path / "test_base.json", EVENT)
    corpus = FewFCEvents(**EVENTS, root=str(tmp_path))

    (found,) = corpus.tagged("test")

    assert found.tags == ("B-sub-org", "I-sub-org", "B-质押-trigger", "I-质押-trigger")
    assert corpus.splits == ("train", "test")


def test_a_trigger_is_kept_before_a_longer_argument(tmp_path):
    longer = {"word": "兴发质押", "span": [0, 4], "role": "obj"}
    (event,) = EVENT["events"]
    mentions = [longer, *event["mentions"]]
    record = EVENT | {"events": [event | {"mentions": mentions}]}
    write(tmp_path / "train_base.json", record)
    write(tmp_path / "test_base.json", EVENT)
    corpus = FewFCEvents(**EVENTS, root=str(tmp_path))

    (found,) = corpus.tagged("train")

    assert found.tags == ("B-sub-org", "I-sub-org", "B-质押-trigger", "I-质押-trigger")
    assert corpus.counts == {"span that overlaps another": 1}
    assert not list(FewFCEvents(**EVENTS | {"drop_seen": True}, root=str(tmp_path)).tagged("train"))


@pytest.mark.parametrize("events", [[{"type": "质押"}], [3], 3, [{"type": "a", "mentions": [{}]}]])
def test_events_of_another_form_are_refused(events, tmp_path):
    write(tmp_path / "train_base.json", EVENT | {"events": events})
    write(tmp_path / "test_base.json", EVENT)

    with pytest.raises(ValueError, match=r"train_base\.json, line 1: 'events' is not \[\{"):
        list(FewFCEvents(**EVENTS, root=str(tmp_path)).tagged("train"))
