"""WMT from the hub and sacrebleu's hosts, or from a copy of their files."""

import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet
from wmt_hosts import (
    ARCHIVE,
    FILES,
    LISTING,
    SHARDS,
    SPLITS,
    cut_off,
    official,
    pairs,
    parquet_bytes,
    serve_hub,
    table,
    wmt,
)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    cut_off(tmp_path, monkeypatch)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    yield from serve_hub(tmp_path, monkeypatch)


def test_pairs_come_from_the_hub_and_the_test_set_from_sacrebleu(hub):
    corpus = wmt()

    train = pairs(corpus, "train")

    assert len(train) == 6
    assert train[0] == ("train-00000 en 0", "train-00000 de 0", ())
    assert train[5][0] == "train-00001 en 2"
    assert pairs(corpus, "val")[0][0] == "validation- en 0"
    assert pairs(corpus, "test") == [(f"official en {n}", f"official de {n}", ()) for n in (1, 2)]
    assert corpus.splits == SPLITS
    assert corpus.languages == ("en", "de")
    assert not corpus.is_tokenised
    assert corpus.source.startswith("downloaded to")
    assert corpus.source.endswith("wmt14/full of sacrebleu")


def test_everything_is_downloaded_once(hub):
    first = wmt().fingerprint()
    asked = [path for path, _ in hub.asked]
    hub.asked.clear()

    second = wmt()

    assert asked == [LISTING, *(f"{FILES}/{name}.parquet" for name in SHARDS), ARCHIVE]
    assert second.fingerprint() == first
    assert second.source.startswith("cache")
    assert not hub.asked


def test_a_pair_is_there_for_both_directions(hub):
    there, back = wmt(), wmt(pair="de-en")

    turned = [(target, source, *more) for source, target, *more in pairs(there, "train")]
    assert pairs(back, "train") == turned
    assert back.fingerprint() != there.fingerprint()


@pytest.mark.parametrize("path", [f"{FILES}/{SHARDS[1]}.parquet", ARCHIVE])
def test_a_download_that_is_cut_goes_on_where_it_was(path, hub):
    whole = len(hub.files[path])
    hub.cut[path], hub.left[path] = whole // 2, 1
    with pytest.raises(FileNotFoundError, match="503") as error:
        wmt().fingerprint()
    hub.cut.clear()
    hub.left.clear()
    hub.asked.clear()

    corpus = wmt()

    assert "\n" not in str(error.value)
    assert [len(pairs(corpus, split)) for split in SPLITS] == [6, 3, 2]
    assert [wanted for asked, wanted in hub.asked if asked == path] == [f"bytes={whole // 2}-"]


@pytest.mark.parametrize("path", [f"{FILES}/{SHARDS[1]}.parquet", ARCHIVE])
def test_a_wrong_checksum_is_told_and_nothing_of_it_is_kept(path, hub):
    right = hub.files[path]
    hub.files[path] = right[:-1] + b"?"
    for _ in range(2):  # sacrebleu itself would take the file for right from now on
        with pytest.raises(ValueError, match=rf"{path} gave {len(right):,} bytes with (md5|sha)"):
            wmt().fingerprint()
    hub.files[path] = right

    assert [len(pairs(wmt(), split)) for split in SPLITS] == [6, 3, 2]


def test_files_that_sacrebleu_left_behind_half_are_told(hub, tmp_path):
    raw = tmp_path / "sacrebleu/wmt14/full/raw"
    raw.mkdir(parents=True)
    (raw / "wmt14_full.test-full.tgz").write_bytes(b"wrong, and never unpacked")

    with pytest.raises(FileNotFoundError, match=rf"sgm'\): delete {raw.parent}, and it is"):
        wmt().fingerprint()


def test_an_answer_that_is_no_list_is_told(hub):
    hub.files[LISTING] = b"<html>"

    message = rf"downloading {hub.url}{LISTING} failed \(it gave no list of files with checksums"
    with pytest.raises(FileNotFoundError, match=message):
        wmt().fingerprint()


def test_without_a_network_the_address_and_what_to_do_are_told_in_one_line(tmp_path):
    message = (
        r"set wmt/wmt14 is not in cache .*/data/wmt14/de-en, and downloading "
        rf"http://127.0.0.1:9{LISTING} failed \(.*refused.*\): try again with a network, or put "
    )
    with pytest.raises(FileNotFoundError, match=message) as error:
        wmt().fingerprint()

    assert "\n" not in str(error.value)


def test_without_a_network_the_address_of_the_test_set_is_told(hub, tmp_path, monkeypatch):
    official("http://127.0.0.1:9", tmp_path, monkeypatch)

    message = (
        r"test set wmt14/full of sacrebleu is not in .*/sacrebleu/wmt14/full, and downloading "
        rf"http://127.0.0.1:9{ARCHIVE} failed \(.*refused.*\): try again with a network, or run "
    )
    with pytest.raises(FileNotFoundError, match=message) as error:
        wmt().fingerprint()

    assert "\n" not in str(error.value)


def copied(folder):
    """What the hub has of de-en, in a folder."""
    (folder / "de-en").mkdir(parents=True)
    for name in SHARDS:
        (folder / f"de-en/{name}.parquet").write_bytes(parquet_bytes(name))
    return folder


def test_a_copy_of_the_hubs_files_is_read_where_it_is(hub, tmp_path, monkeypatch):
    copied(tmp_path / "data/wmt14")
    monkeypatch.setenv("LMEXP_DATA", str(tmp_path / "data"))

    named, rooted = wmt(), wmt(tmp_path / "data/wmt14")

    assert named.source.startswith("LMEXP_DATA")
    assert rooted.source.startswith("data.root")
    assert pairs(named, "train") == pairs(rooted, "train")
    assert [path for path, _ in hub.asked] == [ARCHIVE]


def test_a_copy_without_one_of_its_files_is_told(tmp_path):
    (copied(tmp_path) / f"de-en/{SHARDS[0]}.parquet").unlink()

    with pytest.raises(FileNotFoundError, match=r"de-en lacks files such as train-00000-of-00003"):
        wmt(tmp_path).fingerprint()


def test_another_revision_has_a_folder_of_its_own(hub, tmp_path):
    copied(tmp_path / "cache/data/wmt14-abc")

    assert "data/wmt14-abc/de-en" in wmt(revision="abc").source
    assert [path for path, _ in hub.asked] == [ARCHIVE]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"text": ["a"]}, r"from en to de \(it has text\): delete it"),
        ({"translation": [{"fr": "a", "en": "b"}]}, r"\(it has translation of fr, en\): delete"),
        ({"translation": [{"de": None, "en": "b"}]}, "row 1 lacks en or de"),
        (None, r"train-00000-of-00002.parquet is no whole parquet file of translations"),
    ],
)
def test_a_file_without_the_pair_is_told(column, message, hub, tmp_path):
    path = copied(tmp_path) / f"de-en/{SHARDS[0]}.parquet"
    if column is None:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        parquet.write_table(pyarrow.table(column), path)

    with pytest.raises(ValueError, match=message):
        pairs(wmt(tmp_path), "train")


def test_memory_does_not_grow_with_the_files(hub, tmp_path):
    name = SHARDS[0]
    parquet.write_table(table(name, 20_000), copied(tmp_path) / f"de-en/{name}.parquet")
    corpus = wmt(tmp_path)
    corpus.fingerprint()

    tracemalloc.start()
    number = sum(1 for _ in corpus.pairs("train"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert number == 20_003
    assert peak < 1_000_000


def test_the_year_is_2014_or_the_newest_that_has_the_pair():
    listings = {"fr-en": "wmt14", "en-zh": "wmt19", "zh-en": "wmt19", "en-ro": "wmt16"}
    for pair, name in listings.items():
        with pytest.raises(FileNotFoundError, match=rf"/datasets/wmt/{name}/tree/main/"):
            wmt(pair=pair).fingerprint()
