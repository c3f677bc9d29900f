"""Every scheme of tags is read into IOB2, and what it forbids is found."""

import random

import pytest

from lmexp.corpora.schemes import to_iob2
from lmexp.label_scores import spans

TEXT = ["O", "O", "B", "I", "I", "O", "B", "B", "I", "O", "B", "B"]
TYPES = ["-", "-", "X", "X", "X", "-", "X", "X", "X", "-", "Y", "X"]
IOB2 = [tag if tag == "O" else f"{tag}-{type_}" for tag, type_ in zip(TEXT, TYPES, strict=True)]
WRITTEN = {
    "bio": IOB2,
    "iob1": ["O", "O", "I-X", "I-X", "I-X", "O", "I-X", "B-X", "I-X", "O", "I-Y", "I-X"],
    "bioes": ["O", "O", "B-X", "I-X", "E-X", "O", "S-X", "B-X", "E-X", "O", "S-Y", "S-X"],
    "bmes": ["O", "O", "B-X", "M-X", "E-X", "O", "S-X", "B-X", "E-X", "O", "S-Y", "S-X"],
}


def read(tags, scheme):
    return list(to_iob2(tags.split() if isinstance(tags, str) else tags, scheme))


@pytest.mark.parametrize("scheme", WRITTEN)
def test_every_scheme_says_the_same_entities(scheme):
    found = read(WRITTEN[scheme], scheme)

    assert [tag.tag for tag in found] == IOB2
    assert all(tag.wrong is None for tag in found)


@pytest.mark.parametrize(
    ("scheme", "tags", "place", "wrong", "repaired"),
    [
        ("bio", "I-X O", 0, "nothing of type X stands before it", "B-X O"),
        ("bio", "B-X I-Y", 1, "nothing of type Y stands before it", "B-X B-Y"),
        ("iob1", "O B-X", 1, "only straight after an entity of the same type", "O B-X"),
        ("iob1", "I-Y B-X", 1, "only straight after an entity of the same type", "B-Y B-X"),
        ("bioes", "O E-X", 1, "no B-X or I-X stands before it", "O B-X"),
        ("bioes", "I-X E-X", 0, "no B-X or I-X stands before it", "B-X I-X"),
        ("bioes", "B-X O", 0, "no I-X or E-X follows it", "B-X O"),
        ("bioes", "B-X I-X", 1, "no I-X or E-X follows it", "B-X I-X"),
        ("bmes", "B-X S-X", 0, "no M-X or E-X follows it", "B-X B-X"),
        ("bmes", "S-X E-X", 1, "no B-X or M-X stands before it", "B-X B-X"),
        ("bmes", "B-X E-X E-X", 2, "no B-X or M-X stands before it", "B-X I-X B-X"),
    ],
)
def test_what_a_scheme_forbids_is_found_and_repaired(scheme, tags, place, wrong, repaired):
    found = read(tags, scheme)

    assert [number for number, tag in enumerate(found) if tag.wrong] == [place]
    assert wrong in found[place].wrong
    assert [tag.tag for tag in found] == repaired.split()


@pytest.mark.parametrize(
    ("scheme", "tag", "message"),
    [
        ("bio", "E-X", "no tag of scheme bio: write O, B-TYPE, I-TYPE, or data.scheme=bioes"),
        ("bmes", "I-X", "no tag of scheme bmes: .*, or data.scheme=bio, which has I-TYPE"),
        ("bio", "B", "'B' is no tag of scheme bio: write O, B-TYPE, I-TYPE$"),
        ("bio", "BI-X", "'BI-X' is no tag"),
        ("bio", "", "'' is no tag"),
        ("iob1", "B_X", "'B_X' is no tag"),
    ],
)
def test_what_is_no_tag_at_all_is_an_error(scheme, tag, message):
    with pytest.raises(ValueError, match=message):
        read(["O", tag], scheme)


def test_a_type_may_have_hyphens():
    assert [tag.tag for tag in read("B-a-b E-a-b", "bioes")] == ["B-a-b", "I-a-b"]


def written(entities, length, scheme):
    """Entities (type, start, end), which do not overlap, as tags, by the definition of each."""
    tags = ["O"] * length
    inside = "M" if scheme == "bmes" else "I"
    for type_, start, end in entities:
        letters = ["B", *inside * (end - start - 1)]
        if scheme in ("bioes", "bmes"):
            letters[-1] = "E" if end - start > 1 else "S"
        if scheme == "iob1" and (type_, start) not in {
            (other, stop) for other, _, stop in entities
        }:
            letters[0] = "I"
        tags[start:end] = [f"{letter}-{type_}" for letter in letters]
    return tags


@pytest.mark.parametrize("scheme", WRITTEN)
def test_300_random_sentences_are_read_back_from_every_scheme(scheme):
    for seed in range(300):
        rng = random.Random(seed)
        entities, place = [], 0
        while place < 12:
            place += rng.randrange(3)
            end = place + rng.randrange(1, 4)
            entities.append((rng.choice("XY"), place, end))
            place = end
        tags = written(entities, place + 2, scheme)

        found = read(tags, scheme)

        assert [tag.tag for tag in found] == written(entities, place + 2, "bio")
        assert all(tag.wrong is None for tag in found)


@pytest.mark.parametrize("scheme", WRITTEN)
def test_whatever_is_repaired_is_right_afterwards(scheme):
    letters = {"bio": "BI", "iob1": "BI", "bioes": "BIES", "bmes": "BMES"}[scheme]
    for seed in range(300):
        rng = random.Random(seed)
        possible = ["O", *(f"{letter}-{type_}" for letter in letters for type_ in "XY")]
        tags = rng.choices(possible, k=8)

        repaired = [tag.tag for tag in read(tags, scheme)]

        again = read(repaired, "bio")
        assert [tag.tag for tag in again] == repaired
        assert all(tag.wrong is None for tag in again)
        assert [tag == "O" for tag in repaired] == [tag == "O" for tag in tags]


@pytest.mark.parametrize("scheme", ["bio", "iob1"])
def test_repaired_tags_have_the_entities_that_conlleval_sees(scheme):
    for seed in range(300):
        tags = random.Random(seed).choices(["O", "B-X", "I-X", "B-Y", "I-Y"], k=8)

        assert spans([tag.tag for tag in read(tags, scheme)]) == spans(tags)
