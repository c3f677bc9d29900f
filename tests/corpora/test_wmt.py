"""The hub and sacrebleu's hosts are out of reach here: a loopback server has the same layouts."""

import functools
import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
import yaml
from huggingface_hub import constants
from loopback import loopback
from pyarrow import parquet
from sacrebleu.dataset import DATASETS
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from lmexp.corpora.parallel import ParallelFiles
from lmexp.corpora.wmt import WMT
from lmexp.targets import build

SECTION = yaml.safe_load((Path(__file__).parents[2] / "conf/data/wmt.yaml").read_text("utf-8"))[
    "data"
]["corpus"]
SHARDS = ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001")
LISTING = "/api/datasets/wmt/wmt14/tree/main/de-en"
FILES = "/datasets/wmt/wmt14/resolve/main/de-en"
ARCHIVE = "/wmt14/test-full.tgz"
SPLITS = ("train", "val", "test")


def table(name, rows=3):
    """Rows of a file of the hub: "train-00000 en 0" and "train-00000 de 0", and so on."""
    records = [{code: f"{name[:11]} {code} {n}" for code in ("de", "en")} for n in range(rows)]
    kind = pyarrow.struct([("de", pyarrow.string()), ("en", pyarrow.string())])
    return pyarrow.table({"translation": pyarrow.array(records, kind)})


def parquet_bytes(name):
    file = io.BytesIO()
    parquet.write_table(table(name), file)
    return file.getvalue()


@functools.cache  # gzip writes the time into it
def archive():
    """newstest2014 with two sentences, for both directions, as statmt.org packs it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for side, code in (("src", "en"), ("ref", "de"), ("src", "de"), ("ref", "en")):
            lines = "".join(f'<seg id="{n}">official {code}  {n} </seg>\n' for n in (1, 2))
            text = f'<doc docid="a" origlang="en">\n{lines}</doc>\n'.encode()
            info = tarfile.TarInfo(f"test-full/newstest2014-deen-{side}.{code}.sgm")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return file.getvalue()


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache and a folder of sacrebleu of the test's own; nobody listens where the hub is."""
    monkeypatch.delenv("LMEXP_DATA", raising=False)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    official("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def official(url, folder, monkeypatch):
    """sacrebleu's own entry for wmt14/full, at another address and in another folder."""
    there = DATASETS["wmt14/full"].langpairs
    md5 = hashlib.md5(archive()).hexdigest()
    entry = FakeSGMLDataset("wmt14/full", [f"{url}{ARCHIVE}"], md5=[md5], langpairs=there)
    entry._outdir = str(folder / "sacrebleu/wmt14/full")
    entry._rawdir = f"{entry._outdir}/raw"
    monkeypatch.setitem(DATASETS, "wmt14/full", entry)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Files by the paths that the hub and statmt.org give them."""
    files = {f"{FILES}/{name}.parquet": parquet_bytes(name) for name in SHARDS}
    entries = [
        {
            "type": "file",
            "oid": "0" * 40,
            "size": len(data),
            "path": path.removeprefix("/datasets/wmt/wmt14/resolve/main/"),
            "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134},
        }
        for path, data in files.items()
    ]
    unwanted = {"type": "file", "oid": "0" * 40, "size": 1, "path": "de-en/test-00000.parquet"}
    files |= {LISTING: json.dumps([unwanted, *entries]).encode(), ARCHIVE: archive()}
    with loopback(files) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        official(served.url, tmp_path, monkeypatch)
        yield served


def wmt(root=None, **changes):
    return build(SECTION | changes, root=None if root is None else str(root))


def pairs(corpus, split):
    return [tuple(pair)[:3] for pair in corpus.pairs(split)]


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"year": 2013}, r"data\.year=2013: .* of 2014, 2015, 2016, 2017, 2018, 2019; write one"),
        (
            {"pair": "en-zh", "year": 2016},
            r"data\.pair=en-zh: 2016 has cs-en, de-en, .*; write data\.year=2019, which has it",
        ),
        ({"pair": "de-zh"}, r"data\.pair=de-zh: 2014 has cs-en, .*; write one of these, or data\."),
        ({"pair": "german"}, r"data\.pair=german is not two language codes"),
        ({"test_set": "wmt99"}, r"test_set=wmt99 is no test set of sacrebleu: en-de is in .*wmt24"),
        (
            {"test_set": "wmt20", "pair": "en-fr"},
            r"test_set=wmt20 has no pair en-fr but cs-en, .* en-fr is in .*wmt14/full, wmt15",
        ),
        (
            {"layouts": {"mine": {"train": ["a", "b"], "tokenised": False}}},
            r"data\.layouts\.mine has train, tokenised: write train, val and test, each \[SOURCE",
        ),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(changes, message):
    with pytest.raises(ValueError, match=message):
        wmt(**changes)


@pytest.fixture
def newstest(tmp_path):
    """A folder of a user's, laid out as that of Vaswani et al. 2017."""
    for name in ("train", "newstest2013", "newstest2014"):
        for code in ("en", "de"):
            text = f"{name} {code}\n".encode()
            (tmp_path / f"{name}.{code}.gz").write_bytes(gzip.compress(text))
    return tmp_path


def test_a_folder_of_the_users_is_read_by_the_layout_that_fits(newstest):
    corpus = wmt(newstest, pair="de-en")

    found = [pairs(corpus, split) for split in SPLITS]

    names = ("train", "newstest2013", "newstest2014")
    assert found == [[(f"{name} de", f"{name} en", ())] for name in names]
    assert corpus.source == f"data.root {newstest} (newstest)"
    assert not corpus.is_tokenised


def test_the_year_names_the_files_of_a_layout(newstest):
    for code in ("en", "de"):
        (newstest / f"newstest2015.{code}").write_text(f"of 2015 {code}\n")

    assert pairs(wmt(newstest, year=2015), "test") == [("of 2015 en", "of 2015 de", ())]


def test_a_test_set_may_be_sacrebleus_where_training_is_the_users(hub, newstest):
    (newstest / "newstest2014.de.gz").unlink()

    corpus = wmt(newstest, test_set="wmt14/full")

    assert pairs(corpus, "train") == [("train en", "train de", ())]
    assert pairs(corpus, "test")[0][0] == "official en 1"


def test_a_folder_that_fits_no_layout_is_told_what_each_lacks(newstest):
    (newstest / "newstest2013.de.gz").unlink()

    with pytest.raises(FileNotFoundError) as error:
        wmt(newstest).fingerprint()

    for part in ("opennmt_sample: src-train.txt", "newstest: newstest2013.de: there is no such"):
        assert part in str(error.value)
    assert "data=parallel 'data.train=[SOURCE,TARGET]'" in str(error.value)


def test_files_of_unequal_length_are_refused(newstest):
    (newstest / "train.de").write_text("a\nb\n")
    (newstest / "train.de.gz").unlink()

    with pytest.raises(ValueError, match=r"train\.en\.gz has 1 lines, .*train\.de has 2 lines"):
        pairs(wmt(newstest), "train")


def test_the_sample_is_tokenised_and_has_its_counts(data_folder):
    corpus = wmt(data_folder("wmt14_en_de_sample"))

    assert [sum(1 for _ in corpus.pairs(split)) for split in SPLITS] == [10_000, 3_000, 2_737]
    assert corpus.is_tokenised
    assert "&apos;" in "".join(pair.source for pair in corpus.pairs("test"))


def test_a_layout_of_the_users_may_have_several_references(data_folder):
    names = [f"newstest2021.{{source}}-{{target}}.ref.{letter}.{{target}}" for letter in "ACD"]
    sides = ["newstest2021.{source}-{target}.src.{source}", *names]
    layout = {"train": sides[:2], "val": sides[:2], "test": sides, "tokenised": False}

    corpus = wmt(data_folder("wmt_newstest"), layouts={"newstest2021": layout})

    test = pairs(corpus, "test")
    assert len(test) == 1_002
    assert {len(references) for _, _, references in test} == {2}


def test_files_side_by_side_are_tokenised_if_their_section_says_so(newstest):
    settings = {"val": None, "test": None, "pair": None, "val_fraction": 0.0, "test_fraction": 0.0}
    settings |= {"train": ["train.en", "train.de"], "fields": None, "on_invalid": "error"}

    said = [ParallelFiles(**settings, **more) for more in ({}, {"tokenised": True})]

    assert [corpus.is_tokenised for corpus in said] == [False, True]
    assert isinstance(wmt(newstest), WMT)
