"""The hub itself is out of reach here: a local folder is loaded by the same library."""

import json

import pytest

from lmexp.corpora.hub import Hub

DEFAULTS = {
    "name": None,
    "revision": None,
    "train_split": "train",
    "val_split": "validation",
    "test_split": None,
    "val_fraction": 0.0,
    "test_fraction": 0.2,
    "text_field": "text",
    "document": "row",
    "streaming": False,
    "on_invalid": "error",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, number in (("train", 200), ("validation", 3)):
        rows = [{"text": f"{name} {n}\nline", "id": n} for n in range(number)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def hub(folder, **changes):
    settings = {**DEFAULTS, **changes}
    return Hub(str(folder), **settings, root=str(folder.parent / "cache"))


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_documents(streaming, folder):
    pieces = [tuple(piece) for piece in hub(folder, streaming=streaming).pieces("val")]

    assert pieces[:4] == [("validation 0\n", 0), ("line", 0), ("validation 1\n", 1), ("line", 1)]
    assert len(pieces) == 6


def test_streamed_and_downloaded_are_the_same_text(folder):
    one, other = hub(folder, streaming=True), hub(folder)

    assert list(one.pieces("train")) == list(other.pieces("train"))
    assert one.fingerprint() == other.fingerprint()


def test_a_missing_split_is_cut_off_train(folder):
    data = hub(folder)

    train, test = (["".join(p.text for p in data.pieces(s))] for s in ("train", "test"))
    sizes = [len(list(data.pieces(split))) // 2 for split in ("train", "test")]

    assert train != test
    assert sum(sizes) == 200
    assert 20 <= sizes[1] <= 60
    assert data.splits == ("train", "val", "test")


def test_rows_can_be_the_lines_of_one_text(folder):
    data = hub(folder, document="split")

    assert data.is_stream
    assert "".join(piece.text for piece in data.pieces("val")).startswith(
        "validation 0\nline\nvalidation 1\n"
    )
    assert {piece.document for piece in data.pieces("val")} == {0}


def test_another_content_is_another_fingerprint(folder):
    before = hub(folder).fingerprint()
    with (folder / "train.jsonl").open("a") as file:
        file.write('\n{"text": "more", "id": 9}')

    assert hub(folder).fingerprint() != before


def test_a_missing_column_is_named(folder):
    with pytest.raises(ValueError, match=r"no column 'body' but text, id: name one of them"):
        list(hub(folder, text_field="body").pieces("train"))


def test_a_set_that_cannot_be_loaded_is_named_in_one_line(tmp_path):
    with pytest.raises(OSError, match=r"data set .*nowhere of the Hugging Face hub: ") as error:
        hub(tmp_path / "nowhere").fingerprint()

    assert "\n" not in str(error.value)
