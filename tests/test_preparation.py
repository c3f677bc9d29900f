import pytest
from poems import DropThirds, Plain, Poems

from lmexp import tokenizers
from lmexp.preparation import Preparation

BOS, EOS = 2, 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))


def preparation(corpus=None):
    return Preparation(corpus or Poems(), DropThirds())


def folder(corpus, tokenizer, split="train"):
    return preparation(corpus).store(split, tokenizer).folder


def test_a_second_preparation_reads_no_text():
    corpus = Poems()
    for prepared in (preparation(), preparation(corpus)):
        prepared.store("train", prepared.tokenizer(tokenizers.Bytes()))

    assert not corpus.readings


def test_another_text_split_or_tokenizer_is_tokenised_anew():
    byte, other = tokenizers.Bytes(), tokenizers.Bytes(extra=["<a>"])

    folders = [
        folder(Poems(), byte),
        folder(Poems(), other),
        folder(Poems(), byte, "val"),
        folder(Poems(train=61), byte),
        folder(Plain(), byte),
    ]

    assert len(set(folders)) == len(folders)


def test_a_tokenizer_with_other_settings_is_fitted_anew():
    first = preparation().tokenizer(tokenizers.Bytes())
    second = preparation().tokenizer(tokenizers.Bytes(extra=["<a>"]))

    assert first.vocab_size + 1 == second.vocab_size


def test_the_tokenizer_is_fitted_on_the_cleaned_training_text_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(tokenizers.Bytes, "fit", lambda _, texts: seen.extend(texts()))

    preparation().tokenizer(tokenizers.Bytes())

    assert len(seen) == 60 * 3
    assert all(text.startswith("t") for text in seen)


def test_a_continuous_text_has_no_end():
    plain = preparation(Plain()).store("val", tokenizers.Bytes()).tokens
    poems = preparation().store("val", tokenizers.Bytes()).tokens

    assert [(plain == i).sum() for i in (BOS, EOS)] == [1, 0]
    assert [(poems == i).sum() for i in (BOS, EOS)] == [6, 6]


def test_drops_of_corpus_and_cleaning_are_counted():
    store = preparation().store("train", tokenizers.Bytes())

    assert store.counts["dropped"] == {"binary": 1, "third": 60}


def test_the_data_hash_is_of_the_text():
    assert preparation().data_hash == preparation().data_hash
    assert preparation().data_hash != preparation(Poems(train=61)).data_hash


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused_by_name(split):
    prepared = preparation(Poems(**{split: 0}))

    message = rf"{split} split of a test is empty \(dropped: 1 binary\): give it text"
    with pytest.raises(ValueError, match=message):
        prepared.store(split, tokenizers.Bytes())


def test_a_tokenizer_is_not_fitted_on_nothing():
    with pytest.raises(ValueError, match="train split of a test is empty"):
        preparation(Poems(train=0)).tokenizer(tokenizers.Words(vocab_size=None, min_count=1))


def test_long_preparations_are_announced(monkeypatch):
    said = []
    monkeypatch.setattr("lmexp.preparation._ANNOUNCE_SECONDS", 0)

    Preparation(Poems(train=2000), DropThirds(), said.append).store("train", tokenizers.Bytes())

    assert said == ["preparing train: 4,096 lines read"]
