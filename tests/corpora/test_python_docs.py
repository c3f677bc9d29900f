import pytest

from lmexp.corpora.python_docs import PythonDocs

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def docs():
    return PythonDocs(0.1, 0.1)


def topics(docs, split):
    found = {}
    for text, number in docs.pieces(split):
        found.setdefault(number, []).append(text)
    return ["".join(found[number]) for number in range(len(found))]


def test_each_topic_is_a_document_of_lines(docs):
    train = topics(docs, "train")

    assert len(train) > 40
    assert any(text.startswith('The "import" statement\n***') for text in train)
    assert all(
        piece.text.count("\n") == 1 and piece.text[-1] == "\n" for piece in docs.pieces("train")
    )


def test_no_paragraph_is_in_two_splits(docs):
    paragraphs = [
        {part.strip() for text in topics(docs, split) for part in text.split("\n\n")} - {""}
        for split in SPLITS
    ]

    assert not paragraphs[0] & paragraphs[1]
    assert not paragraphs[0] & paragraphs[2]
    assert not paragraphs[1] & paragraphs[2]


def test_val_and_test_are_about_a_tenth_each(docs):
    sizes = [sum(len(piece.text) for piece in docs.pieces(split)) for split in SPLITS]

    assert 300_000 < sum(sizes) < 600_000
    assert 0.05 < sizes[1] / sum(sizes) < 0.15
    assert 0.05 < sizes[2] / sum(sizes) < 0.15


def test_repeated_paragraphs_are_counted_by_split(docs):
    numbers = []
    for split in SPLITS:
        list(docs.pieces(split))
        numbers.append(docs.counts["repeated paragraph"])

    assert min(numbers) > 0
    assert 100 < sum(numbers) < 2000


def test_the_text_and_its_fingerprint_stay_the_same(docs):
    other = PythonDocs(0.1, 0.1)

    assert list(other.pieces("val")) == list(docs.pieces("val"))
    assert other.fingerprint() == docs.fingerprint()
    assert PythonDocs(0.2, 0.1).fingerprint() != docs.fingerprint()


def test_a_split_without_a_fraction_is_missing():
    docs = PythonDocs(0.1, 0.0)

    assert docs.splits == ("train", "val")
    assert list(docs.pieces("test")) == []


def test_there_is_no_folder_to_look_in():
    with pytest.raises(ValueError, match=r"data.root=/x: data=python_docs comes with Python"):
        PythonDocs(0.1, 0.1, root="/x")
