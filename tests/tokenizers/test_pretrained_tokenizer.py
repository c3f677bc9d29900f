"""The tokenizer of a pretrained model: its library's ids, renumbered."""

import numpy as np
import pytest
from tiny_models import save_tiny, tokenizer_of

from lmexp import tokenizers
from lmexp.masking import WordEdges
from lmexp.networks.interface import Vocab
from lmexp.tokenizers import Pretrained

TEXTS = ["The import statement\nbinds a name, of Ünïcode é.", "", "  two  spaces the the", "the"]
KINDS = ("bert", "roberta", "gpt2")


@pytest.fixture(params=KINDS)
def both(request, tmp_path):
    """Ours and the library's."""
    save_tiny(tmp_path, request.param)
    return Pretrained.read(tmp_path, "x"), tokenizer_of(request.param)


def test_ids_are_the_library_s_under_the_renumbering_and_so_is_the_text(both):
    ours, theirs = both

    found = ours.encode_many(TEXTS)

    for text, ids in zip(TEXTS, found, strict=True):
        expected = theirs.backend_tokenizer
        expected.no_truncation()
        wanted = expected.encode(text, add_special_tokens=False).ids
        assert [ours.rows[number] for number in ids] == wanted
        assert ours.decode(ids) == expected.decode(wanted, skip_special_tokens=False)


def test_reserved_ids_come_first_and_the_others_keep_their_order(both):
    ours, theirs = both
    roles = ["pad", "unk", "bos", "eos", "mask", "cls", "sep"]
    named = [getattr(theirs, f"{role}_token_id") for role in roles]

    others = ours.rows[7:]

    assert others == sorted(others)
    assert set(others).isdisjoint(number for number in named if number is not None)
    assert all(row == number for row, number in zip(ours.rows, named, strict=False) if number)
    assert ours.vocab_size == len(ours.rows) == 7 + ours.num_types
    assert not ours.is_lossless


def test_of_bert_cls_begins_a_text_and_sep_ends_it(tmp_path):
    save_tiny(tmp_path, "bert")

    ours, theirs = Pretrained.read(tmp_path, "x"), tokenizer_of("bert")

    assert ours.rows[2] == ours.rows[5] == theirs.cls_token_id
    assert ours.rows[3] == ours.rows[6] == theirs.sep_token_id


def test_what_spells_a_reserved_token_is_text(tmp_path):
    save_tiny(tmp_path, "bert")
    ours = Pretrained.read(tmp_path, "x")

    ids = ours.encode("a [SEP] [MASK]")

    assert min(ids) >= 1
    assert not {2, 3, 4, 5, 6} & set(ids)


def test_it_comes_back_from_its_state(both):
    ours, _ = both

    again = tokenizers.from_state(ours.state())

    assert again.hash() == ours.hash()
    assert [list(ids) for ids in again.encode_many(TEXTS)] == [
        list(ids) for ids in ours.encode_many(TEXTS)
    ]


def test_words_begin_where_no_piece_is_continued(tmp_path):
    save_tiny(tmp_path / "b", "bert")
    save_tiny(tmp_path / "g", "gpt2")

    for folder, text in (("b", "the names, bind"), ("g", "the the name")):
        ours = Pretrained.read(tmp_path / folder, "x")
        ids = np.array(ours.encode(text))
        starts = WordEdges.of(ours).starts(ids)
        words = [ours.decode(part).strip() for part in np.split(ids, np.flatnonzero(starts)[1:])]
        assert words == text.replace(",", " ,").split()


def test_an_id_beyond_is_refused_and_so_are_further_reserved_ones(both):
    ours, _ = both

    with pytest.raises(ValueError, match="lies outside the vocabulary"):
        ours.decode([ours.vocab_size])
    with pytest.raises(ValueError, match="leave these names out"):
        ours.reserve(["<2de>"])
    with pytest.raises(ValueError, match="has no types yet"):
        Pretrained("x").encode("a")


def test_a_target_begins_with_what_the_model_began_it_with(tmp_path):
    save_tiny(tmp_path, "t5")

    ours = Pretrained.read(tmp_path, "x", begins_target=1)

    assert ours.rows[:4] == [1, 3, 1, 2]
    assert Vocab(ours.vocab_size, 0, 2, 3, 4).size == len(ours.rows)
