import pytest

from lmexp import tokenizers
from lmexp.tokenizers import Bytes, PairTokenizer, Words


def words(text):
    tokenizer = Words(vocab_size=None, min_count=1)
    tokenizer.fit(lambda: [text])
    return tokenizer


def test_a_joint_tokenizer_comes_back_as_one(tmp_path):
    tokenizer = words("a b c")
    pair = PairTokenizer(tokenizer, tokenizer)
    tokenizers.save(pair, tmp_path / "tokenizer.json")

    loaded = tokenizers.load(tmp_path / "tokenizer.json")

    assert pair.is_joint
    assert loaded.is_joint
    assert loaded.hash() == pair.hash()
    assert loaded.source.encode("c b") == tokenizer.encode("c b")


def test_two_tokenizers_come_back_as_two(tmp_path):
    pair = PairTokenizer(Bytes(), words("a b c"))
    tokenizers.save(pair, tmp_path / "tokenizer.json")

    loaded = tokenizers.load(tmp_path / "tokenizer.json")

    assert not loaded.is_joint
    assert loaded.vocab_size == pair.target.vocab_size
    assert loaded.source.encode("a") == Bytes().encode("a")
    assert loaded.hash() == pair.hash() != PairTokenizer(Bytes(), Bytes()).hash()


def test_a_state_without_its_target_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"class": "PairTokenizer"}')
    with pytest.raises(ValueError, match="holds no tokenizer of lmexp"):
        tokenizers.load(tmp_path / "tokenizer.json")
