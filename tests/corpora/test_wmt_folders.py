"""WMT from a user's own folder, by the layout that fits; settings that fit nothing are refused."""

import gzip

import pytest
from wmt_hosts import SPLITS, cut_off, pairs, serve_hub, wmt

from lmexp.corpora.parallel import ParallelFiles
from lmexp.corpora.wmt import WMT


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    cut_off(tmp_path, monkeypatch)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    yield from serve_hub(tmp_path, monkeypatch)


@pytest.fixture
def newstest(tmp_path):
    """A folder of a user's, laid out as that of Vaswani et al. 2017."""
    for name in ("train", "newstest2013", "newstest2014"):
        for code in ("en", "de"):
            text = f"{name} {code}\n".encode()
            (tmp_path / f"{name}.{code}.gz").write_bytes(gzip.compress(text))
    return tmp_path


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
