import pytest

from lmexp import tokenizers
from lmexp.tokenizers import Bytes, Chars, PairTokenizer, SentencePiece, Words, tag_name


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


TEXTS = ["<2de> a <2fr>", "<2de>", "", "ab ab ab ba"]
UNFITTED = {
    "bytes": lambda: Bytes(),
    "chars": lambda: Chars(vocab_size=None, min_count=1, byte_fallback=True),
    "words": lambda: Words(vocab_size=None, min_count=1),
    "bpe": lambda: SentencePiece("bpe", vocab_size=270, sample_bytes=10_000),
}


@pytest.fixture(params=UNFITTED)
def tagged(request):
    """A joint tokenizer with tags of German and French, towards German."""
    tokenizer = UNFITTED[request.param]()
    tokenizer.reserve([tag_name("de"), tag_name("fr")])
    tokenizer.fit(lambda: TEXTS)
    return PairTokenizer(tokenizer, tokenizer, "de")


def test_the_tag_begins_every_source_and_no_text_holds_one(tagged):
    german, french = len(tokenizers.SPECIALS), len(tokenizers.SPECIALS) + 1
    assert tagged.tags == {"de": german, "fr": french}

    for text, ids in zip(TEXTS, tagged.encode_sources(TEXTS), strict=True):
        first, *rest = ids.tolist()
        assert first == german
        assert {german, french}.isdisjoint(rest)
        assert rest == tagged.source.encode(text)
        assert tagged.source.decode([first, *rest]) == text


def test_sources_go_towards_another_language_by_its_tag_alone(tagged):
    german, french = tagged.encode_sources(TEXTS), tagged.towards("fr").encode_sources(TEXTS)

    for one, other in zip(german, french, strict=True):
        assert (one[0], other[0]) == (tagged.tags["de"], tagged.tags["fr"])
        assert one[1:].tolist() == other[1:].tolist()


def test_a_tagged_tokenizer_comes_back_with_its_tag(tagged, tmp_path):
    tokenizers.save(tagged, tmp_path / "tokenizer.json")

    loaded = tokenizers.load(tmp_path / "tokenizer.json")

    assert loaded.to == "de"
    assert loaded.tags == tagged.tags
    assert loaded.hash() == tagged.hash() != tagged.towards("fr").hash()


def test_a_state_without_a_tag_is_that_of_before_there_were_tags():
    assert PairTokenizer(Bytes(), Bytes()).state().keys() == {"class", "source", "target"}


def test_a_language_without_a_tag_is_refused(tagged):
    with pytest.raises(ValueError, match=r"no tag <2es>: it has those of de, fr"):
        tagged.towards("es")
    with pytest.raises(ValueError, match=r"no tag <2de>: it has none, for want of data.language"):
        PairTokenizer(Bytes(), Bytes(), "de")
