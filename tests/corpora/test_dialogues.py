import json

import pytest

from lmexp.corpora.dialogues import Dialogues

DEFAULTS = {
    "files": "*",
    "val_files": None,
    "test_files": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "turns": "turns",
    "history": 2,
    "languages": None,
    "on_invalid": "error",
}


def corpus(root, *dialogues, **changes):
    text = "\n".join(json.dumps({"turns": turns}) for turns in dialogues)
    if dialogues:
        (root / "a.jsonl").write_text(text)
    return Dialogues(**{**DEFAULTS, **changes}, root=str(root))


def read(root, *dialogues, split="train", **changes):
    return [tuple(pair) for pair in corpus(root, *dialogues, **changes).pairs(split)]


@pytest.mark.parametrize("turns", [["a", "b", "c", "d"], "a\nb\nc\nd", "a\nb\nc\nd\n"])
def test_every_turn_but_the_first_answers_those_before_it(turns, tmp_path):
    assert read(tmp_path, turns) == [("a", "b", ()), ("a\nb", "c", ()), ("b\nc", "d", ())]


@pytest.mark.parametrize(("history", "source"), [(1, "c"), (3, "a\nb\nc"), (9, "a\nb\nc")])
def test_history_is_the_number_of_turns_before_it(history, source, tmp_path):
    assert read(tmp_path, ["a", "b", "c", "d"], history=history)[-1] == (source, "d", ())


def test_a_turn_of_several_lines_in_a_list_stays_one_turn(tmp_path):
    assert read(tmp_path, ["a\nb", "c\nd"]) == [("a\nb", "c\nd", ())]


def test_dialogues_do_not_mix_and_empty_turns_stay(tmp_path):
    assert read(tmp_path, ["a", ""], ["c", "d"]) == [("a", "", ()), ("c", "d", ())]


def test_dialogues_of_one_turn_are_counted(tmp_path):
    dialogues = corpus(tmp_path, ["a"], ["b", "c"], "d", [])

    assert list(dialogues.pairs("train")) == [("b", "c", ())]
    assert dialogues.counts == {"dialogue of one turn": 3}


def test_the_pairs_of_a_dialogue_are_in_one_split_and_equal_ones_in_the_same(tmp_path):
    turns = [[f"{number % 100}", f"{number % 100}", f"{number % 100}"] for number in range(200)]
    changes = {"val_fraction": 0.3, "test_fraction": 0.3}

    parts = [
        [target for _, target, _ in read(tmp_path, *turns, split=split, **changes)]
        for split in ("train", "val", "test")
    ]

    assert sum(map(len, parts)) == 400
    assert all(part.count(target) == 4 for part in parts for target in part)
    assert min(map(len, parts)) > 40


def test_dialogues_that_only_begin_alike_may_be_in_different_splits(tmp_path):
    dialogues = [["Hello.", str(number)] for number in range(100)]

    assert 20 <= len(read(tmp_path, *dialogues, split="val", val_fraction=0.5)) <= 80


def test_the_fingerprint_is_of_content_and_settings(tmp_path):
    before = corpus(tmp_path, ["a", "b"]).fingerprint()

    assert corpus(tmp_path).fingerprint() == before
    assert corpus(tmp_path, history=3).fingerprint() != before
    assert corpus(tmp_path, ["a", "c"]).fingerprint() != before


@pytest.mark.parametrize(
    ("on_invalid", "expected", "counts"),
    [
        ("replace", [("a?", "b", ()), ("c", "d", ())], {"replaced invalid UTF-8": 1}),
        ("drop", [("c", "d", ())], {"invalid UTF-8": 1}),
    ],
)
def test_a_dialogue_that_is_not_utf8_is_replaced_or_dropped(on_invalid, expected, counts, tmp_path):
    dialogues = corpus(tmp_path, ["a\ud800", "b"], ["c", "d"], on_invalid=on_invalid)

    assert list(dialogues.pairs("train")) == expected
    assert dialogues.counts == counts
    with pytest.raises(ValueError, match=r"line 1: 'turns', turn 1: the surrogate"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (
            [{"speaker": "A", "text": "a"}],
            r"line 1: 'turns', turn 1 is dict, not text",
        ),
        (3, r"line 1: 'turns' is int, not text or a list of strings: name a field"),
        (None, r"line 1: 'turns' is null: .* name another field in data\.turns"),
    ],
)
def test_a_record_without_turns_is_refused(turns, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, turns)


def test_dialogsum_is_made_of_turns(data_folder):
    data_folder("dialogsum")
    changes = {"files": "dialogsum.dev.jsonl", "turns": "dialogue", "languages": ["en", "en"]}
    dialogues = Dialogues(**{**DEFAULTS, **changes}, folder="dialogsum")

    first = next(dialogues.pairs("train"))

    assert first.source == "#Person1#: Hello, how are you doing today?"
    assert first.target == "#Person2#: I ' Ve been having trouble breathing lately."
    assert dialogues.languages == ["en", "en"]
