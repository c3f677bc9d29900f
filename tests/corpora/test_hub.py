"""The hub itself is out of reach here: a local folder is loaded by the same library."""

import json

import aiohttp
import datasets
import pytest
from huggingface_hub.errors import HfHubHTTPError

from lmexp.corpora.hub import Hub
from lmexp.recipe import main

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
    with pytest.raises(OSError, match=r"data set .*nowhere of the Hugging Face hub, .*: ") as error:
        hub(tmp_path / "nowhere").fingerprint()

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"val_split": "valid"},
            r"set has no split 'valid' but train, validation: name one of them in "
            r"data\.corpus\.val_split, or null to cut it off train$",
        ),
        (
            {"train_split": "training"},
            r"no split 'training' but train, validation: .*corpus\.train_split$",
        ),
        ({"name": "de"}, r"set with data\.corpus\.name=de: its configurations are 'default': name"),
    ],
)
def test_what_a_set_lacks_is_named_with_what_it_has(streaming, changes, message, folder):
    with pytest.raises(ValueError, match=message):
        list(hub(folder, streaming=streaming, **changes).pieces("train"))


@pytest.mark.parametrize("name", [None, "three"])
def test_the_configurations_of_a_set_are_named(name, folder):
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files: train.jsonl\n"
        "- config_name: two\n  data_files: validation.jsonl\n---\n"
    )

    message = rf"name={name or 'null'}: its configurations are 'one', 'two': name one of them"
    with pytest.raises(ValueError, match=message) as error:
        hub(folder, name=name).fingerprint()
    assert "\n" not in str(error.value)


def test_a_slice_of_a_split_is_left_to_datasets(folder):
    assert len(list(hub(folder, val_split="validation[:1]").pieces("val"))) == 2
    with pytest.raises(OSError, match=r"its split valid\[:1\]: .*train.*validation"):
        list(hub(folder, val_split="valid[:1]").pieces("val"))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_set_is_named_in_one_line(streaming, folder):
    (folder / "train.jsonl").write_text('{"text": "a"}\n{"text": \n')

    with pytest.raises(OSError, match=r"set of the .*, its split train: .*JSON") as error:
        list(hub(folder, streaming=streaming).pieces("train"))
    assert "\n" not in str(error.value)


def network_failures():
    """What is raised where the network fails; httpx' HTTPErrors are no OSErrors."""
    http = HfHubHTTPError.__mro__[1]
    return [http("no route"), aiohttp.ClientError("no route"), TimeoutError("no route")]


@pytest.mark.parametrize("failure", network_failures(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["as_streaming_dataset", "iter", "load_dataset_builder"])
def test_a_network_that_fails_is_one_line(place, failure, folder, monkeypatch):
    def fail(*arguments, **more):
        raise failure

    owner = {"load_dataset_builder": datasets, "iter": datasets.IterableDataset}
    monkeypatch.setattr(owner.get(place, datasets.DatasetBuilder), place, fail)

    with pytest.raises(OSError, match=r"data set .*set of the .*: no route\. Look") as error:
        list(hub(folder, streaming=True).pieces("train"))
    assert "\n" not in str(error.value)


def test_a_set_that_fails_is_no_traceback(folder, monkeypatch, capsys):
    monkeypatch.setenv("LMEXP_CACHE", str(folder.parent / "lmexp"))
    monkeypatch.chdir(folder.parent)
    typed = ["data=hub", f"data.path={folder}", "data.val_split=dev", "model=gru"]

    assert main([*typed, f"data.root={folder.parent / 'cache'}", "tokenizer=byte"]) == 2

    error = capsys.readouterr().err
    assert "has no split 'dev' but train, validation: name one of them" in error
    assert "Traceback" not in error
