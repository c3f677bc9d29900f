"""The sets that conf/data names, read from $LMEXP_DATA."""

from pathlib import Path

import pytest
import yaml

from lmexp.targets import build

CONF = Path(__file__).parents[2] / "conf"
SPLITS = ("train", "val", "test")
TASKS = {  # of corpora with labels
    "TaggedFiles": "token_labels",
    "Cluener": "token_labels",
    "FewFCEvents": "token_labels",
    "LabelledRecords": "text_labels",
    "LabelledTasks": "text_labels",
    "Questions": "question_answering",
}


def load(name):
    section = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text("utf-8"))["data"]
    return build(section["corpus"], root=None), section


def sizes(corpus):
    return [sum(len(piece.text) for piece in corpus.pieces(split)) for split in SPLITS]


def test_shakespeare_is_split_by_characters_as_in_nanogpt(data_folder):
    data_folder("tinyshakespeare")
    corpus, _ = load("shakespeare")

    assert sizes(corpus) == [1_003_854, 111_540, 0]
    assert corpus.is_stream
    assert len({char for split in SPLITS for p in corpus.pieces(split) for char in p.text}) == 65
    assert corpus.source.startswith("LMEXP_DATA")


def test_wikitext2_has_its_published_counts(data_folder):
    data_folder("wikitext2")
    corpus, _ = load("wikitext2")

    words = [
        sum(len(piece.text.split(" ")) - 1 for piece in corpus.pieces(split)) for split in SPLITS
    ]  # " a b \n" has as many words, its end included, as spaces, but for the first

    assert words == [2_088_628, 217_646, 245_569]


def test_chinese_poetry_is_split_by_poem(data_folder):
    data_folder("chinese_poetry")
    corpus, _ = load("chinese_poetry")

    poems = {}
    for split in SPLITS:
        lines = {}
        for text, number in corpus.pieces(split):
            lines.setdefault(number, []).append(text)
        poems[split] = ["".join(lines[number]) for number in sorted(lines)]

    assert sum(map(len, poems.values())) == 10_008
    assert not set(poems["train"]) & (set(poems["val"]) | set(poems["test"]))
    assert sum(len(poem) - poem.count("\n") for p in poems.values() for poem in p) == 663_210


@pytest.mark.parametrize(
    "name", ["shakespeare", "ptb", "wikitext2", "wikitext103", "chinese_poetry"]
)
def test_every_file_of_a_named_set_can_be_downloaded(name):
    _, section = load(name)
    corpus = section["corpus"]

    wanted = [corpus[key] for key in ("files", "val_files", "test_files") if corpus[key]]
    names = [name for item in wanted for name in ([item] if isinstance(item, str) else item)]

    assert [entry["file"] for entry in corpus["download"]] == names
    assert all(len(entry["sha256"]) == 64 for entry in corpus["download"])


@pytest.mark.parametrize("path", sorted((CONF / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_data_file_is_about_the_whole_recipe_and_prefers_a_tokenizer(path):
    assert path.read_text("utf-8").startswith("# @package _global_\n")

    content = yaml.safe_load(path.read_text("utf-8"))
    *others, override = content["defaults"]

    by_character = {"shakespeare", "chinese_poetry", "dates"}
    by_word = {"ptb", "reverse"}
    expected = "char" if path.stem in by_character else "word" if path.stem in by_word else "bpe"
    corpus = content["data"]["corpus"]["_target_"].split(".")[-1]
    if corpus in TASKS:
        assert override["override /tokenizer"] in ("word", "char", "bpe")
        assert others == [{"override /task": TASKS[corpus]}]
        assert "_target_" not in content["data"]  # the task says what is read of it
        return
    assert override == {"override /tokenizer": expected}
    pairs = {"code", "conala", "dates", "dialogues", "multi30k", "parallel", "reverse", "summaries"}
    of = dict.fromkeys(pairs | {"tatoeba_en_zh", "wmt"}, "translation")
    of |= dict.fromkeys(("banking77_answers", "movielens_small"), "text_pairs")
    assert others == ([{"override /task": of[path.stem]}] if path.stem in of else [])
    assert "_target_" not in content["data"]  # a task says what is read of it


def test_multi30k_has_its_published_counts_and_every_file_a_checksum(data_folder):
    data_folder("multi30k")
    corpus, section = load("multi30k")

    assert [sum(1 for _ in corpus.pairs(split)) for split in SPLITS] == [29_000, 1_014, 1_000]
    assert corpus.languages == ("en", "de")
    files = {entry["file"]: entry["sha256"] for entry in section["corpus"]["download"]}
    assert set(files) == {
        f"{split}.{language}.gz"
        for split in ("train", "val", "test_2016_flickr")
        for language in ("en", "de", "fr")
    }
    assert all(len(sha256) == 64 for sha256 in files.values())


def test_tatoeba_has_its_counts_and_can_be_turned_round(data_folder):
    data_folder("tatoeba_en_zh")
    corpus, section = load("tatoeba_en_zh")
    turned = build(section["corpus"] | {"pair": "zh-en"}, root=None)

    first, first_turned = next(corpus.pairs("train")), next(turned.pairs("train"))

    assert sum(1 for split in SPLITS for _ in corpus.pairs(split)) == 29_155
    assert (corpus.languages, turned.languages) == (("en", "zh"), ("zh", "en"))
    assert first.source.isascii()
    assert first_turned.target.isascii()
