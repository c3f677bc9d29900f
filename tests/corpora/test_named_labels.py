"""The sets with labels that conf/data names, read from $LMEXP_DATA, against published counts."""

import gzip
import hashlib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lmexp.label_scores import token_counts
from lmexp.targets import build

CONF = Path(__file__).parents[2] / "conf"
SPLITS = ("train", "val", "test")


def load(name, root=None, **changes):
    section = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text("utf-8"))["data"]
    return build(section["corpus"] | changes, root=root)


def tags_of(sentences):
    return Counter(tag for sentence in sentences for tag in sentence.tags)


def begins(sentences):
    return {tag[2:]: n for tag, n in tags_of(sentences).items() if tag.startswith("B-")}


def test_conll2003_has_its_published_counts(data_folder):
    data_folder("conll2003")
    corpus = load("conll2003")

    found = {split: list(corpus.tagged(split)) for split in SPLITS}

    assert [len(found[split]) for split in SPLITS] == [14_041, 3_250, 3_453]
    words = [sum(len(sentence.words) for sentence in found[split]) for split in SPLITS]
    assert words == [203_621, 51_362, 46_435]
    assert corpus.counts == {"-DOCSTART- line": 231}
    assert not corpus.joins_words


def test_the_supports_of_conll2003_are_those_of_the_table(data_folder):
    data_folder("conll2003")
    gold = [sentence.tags for sentence in load("conll2003").tagged("test")]

    report = token_counts(gold, [["O"] * len(tags) for tags in gold]).report()

    assert {tag: row.support for tag, row in report.rows.items()} == {
        "B-LOC": 1668,
        "I-LOC": 257,
        "B-MISC": 702,
        "I-MISC": 216,
        "B-ORG": 1661,
        "I-ORG": 835,
        "B-PER": 1617,
        "I-PER": 1156,
        "O": 38323,
    }
    micro = report.averages["micro avg"]
    assert micro == pytest.approx((38323 / 46435, 38323 / 46435, 38323 / 46435, 46435))


def test_resume_ner_has_its_counts_and_four_repaired_tags(data_folder):
    data_folder("ner_zh_resume")
    corpus = load("resume_ner")

    found = {split: list(corpus.tagged(split)) for split in ("val", "test", "train")}

    assert [len(found[split]) for split in SPLITS] == [3_821, 463, 477]
    assert corpus.counts == {"repaired tag": 4}
    assert corpus.joins_words
    assert begins(found["test"]) == {
        "CONT": 28,
        "EDU": 112,
        "LOC": 6,
        "NAME": 112,
        "ORG": 553,
        "PRO": 33,
        "RACE": 14,
        "TITLE": 772,
    }


def test_the_val_and_test_of_msra_ner_have_the_published_entities(data_folder):
    data_folder("ner_zh_msra")
    corpus = load("msra_ner")

    found = {split: list(corpus.tagged(split)) for split in ("val", "test")}

    assert [len(found[split]) for split in ("val", "test")] == [4_636, 4_365]
    assert begins(found["val"]) == {"PER": 1510, "LOC": 1657, "ORG": 1090}
    assert begins(found["test"]) == {"PER": 1973, "LOC": 2877, "ORG": 1331}


@pytest.mark.slow
def test_no_sentence_of_msra_ner_is_trained_on_and_tested(data_folder):
    data_folder("ner_zh_msra")
    corpus = load("msra_ner")

    others = {sentence.words for split in ("val", "test") for sentence in corpus.tagged(split)}
    trained = [sentence.words for sentence in corpus.tagged("train")]

    assert not others & set(trained)
    assert len(trained) + corpus.counts["also in another split"] == 55_289
    assert corpus.counts == {"also in another split": 8_452, "repaired tag": 17}


def test_cluener_has_every_entity_but_two_that_overlap(data_folder):
    data_folder("ner_zh_cluener")
    corpus = load("cluener")

    found = {split: list(corpus.tagged(split)) for split in ("val", "test", "train")}

    assert [len(found[split]) for split in SPLITS] == [9_678, 1_070, 1_343]
    assert corpus.counts == {"span that overlaps another": 2}
    entities = Counter(begins(found["train"])) + Counter(begins(found["val"]))
    assert entities.total() == 23_971 - 2
    assert begins(found["test"])["address"] == 373


@pytest.mark.parametrize(("part", "train", "test"), [("base", 2732, 1821), ("trans", 820, 3609)])
def test_events_have_their_sentences_and_every_span_is_kept_or_counted(
    part, train, test, data_folder
):
    data_folder("fewfc_events")
    corpus = load("fewfc_events", part=part)
    counts, sentences = {}, {}

    for split in SPLITS:
        sentences[split] = list(corpus.tagged(split))
        counts[split] = corpus.counts

    seen = sum(counts[split]["also in another split"] for split in ("train", "val"))
    assert len(sentences["train"]) + len(sentences["val"]) + seen == train
    assert len(sentences["test"]) == test
    kept = sum(begins(sentences["test"]).values())
    assert kept + counts["test"].total() == {"base": 13_651, "trans": 15_778}[part]


@pytest.mark.parametrize(
    ("name", "changes", "folder", "sizes", "dropped"),
    [
        ("sst2", {}, "sst2", [6_920, 872, 1_821], {}),
        ("financial_phrasebank", {}, "financial_phrasebank", [3_861, 527, 458], {}),
        (
            "financial_phrasebank",
            {"train": "Sentences_AllAgree.txt"},
            "financial_phrasebank",
            [1_812, 225, 227],
            {},
        ),
        ("chnsenticorp", {}, "chnsenticorp", [8_304, 937, 1_200], {"also in another split": 359}),
        ("banking77", {}, "banking77", [9_008, 995, 3_080], {}),
        ("clue", {"task": "afqmc"}, "afqmc", [30_913, 3_421, 4_316], {}),
        ("clue", {"task": "ocnli"}, "ocnli", [9_057, 928, 2_950], {"label -": 65}),
        ("fewclue", {"task": "tnews"}, "fewclue", [1_185, 1_098, 2_010], {}),
        ("fewclue", {"task": "iflytek"}, "fewclue", [3_024, 1_373, 1_749], {}),
        ("fewclue", {"task": "eprstmt"}, "fewclue", [160, 160, 610], {}),
        ("fewclue", {"task": "bustm"}, "fewclue", [160, 160, 1_772], {}),
        ("fewclue", {"task": "csl"}, "fewclue", [160, 160, 2_838], {}),
    ],
)
def test_labelled_sets_have_their_sizes(name, changes, folder, sizes, dropped, data_folder):
    data_folder(folder)
    corpus = load(name, **changes)
    counts = Counter()
    found = {}

    for split in SPLITS:
        found[split] = list(corpus.labelled(split))
        counts += corpus.counts

    assert [len(found[split]) for split in SPLITS] == sizes
    assert counts == dropped
    assert all(len(record.labels) == 1 for split in SPLITS for record in found[split])


def test_labels_are_those_of_the_readme(data_folder):
    data_folder("sst2")
    data_folder("ocnli")

    sst2 = Counter(record.labels[0] for record in load("sst2").labelled("test"))
    ocnli = Counter(record.labels[0] for record in load("clue", task="ocnli").labelled("test"))

    assert sst2 == {"negative": 912, "positive": 909}
    assert ocnli == {"entailment": 947, "neutral": 1103, "contradiction": 900}


@pytest.mark.parametrize("name", ["chnsenticorp", "clue", "financial_phrasebank"])
def test_no_text_is_in_two_splits(name, data_folder):
    data_folder("chnsenticorp")
    corpus = load(name, **({"task": "ocnli"} if name == "clue" else {}))

    found = [{record[:2] for record in corpus.labelled(split)} for split in SPLITS]

    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]


@pytest.mark.parametrize(
    ("name", "test", "message"),
    [
        ("chnsenticorp", "test.tsv", r"line 1: 'label' is 'text_a', which is none of the labels"),
        ("clue", "test.txt", "line 1 has 2 cells, but data.columns names 3 .*neither be trained"),
    ],
)
def test_a_test_file_without_labels_is_refused(name, test, message, data_folder):
    data_folder(name if name != "clue" else "afqmc")
    if name == "clue":
        content = yaml.safe_load((CONF / "data" / "clue.yaml").read_text("utf-8"))["data"]["corpus"]
        tasks = {"afqmc": content["tasks"]["afqmc"] | {"test": test}}
        corpus = load("clue", task="afqmc", tasks=tasks)
    else:
        corpus = load(name, test=test)

    with pytest.raises(ValueError, match=message):
        list(corpus.labelled("test"))


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_xquad_has_its_questions_and_the_same_ones_in_every_language(language, data_folder):
    data_folder("xquad")
    corpus = load("xquad", language=language)

    found = [list(corpus.questions(split)) for split in SPLITS]

    assert [len(part) for part in found] == [671, 197, 322]
    assert not corpus.counts
    english = [[q.id for q in load("xquad").questions(split)] for split in SPLITS]
    assert [[question.id for question in part] for part in found] == english
    contexts = [{question.context for question in part} for part in found]
    assert sum(map(len, contexts)) == 240


def test_every_answer_of_cmrc2018_is_in_its_context_or_counted(data_folder):
    data_folder("cmrc2018")
    corpus = load("cmrc2018")

    sizes = [len(list(corpus.questions(split))) for split in SPLITS]
    tested = list(corpus.questions("test"))

    assert sizes == [896, 106, 3_219]
    assert corpus.counts == {
        "answer that is not in its context": 193,
        "answer moved to where its text is": 7,
    }
    for question in tested:
        assert question.answers
        for text, start in question.answers:
            assert question.context[start : start + len(text)] == text
    assert sum(len(question.answers) for question in tested) == 9_657 - 193


def test_a_set_that_cannot_be_downloaded_says_what_to_put_where(data_folder):
    data_folder("fewclue")

    with pytest.raises(
        FileNotFoundError, match=r"data set tnews is not in .*train\.json, dev\.json"
    ):
        list(load("clue", task="tnews").labelled("train"))


def remotes():
    """What the sets with labels download: folder, file, url, checksum."""
    for path in sorted((CONF / "data").glob("*.yaml")):
        section = yaml.safe_load(path.read_text("utf-8"))["data"]["corpus"]
        kind = section["_target_"].split(".")[-2]
        if kind not in ("tagged", "cluener", "events", "labelled", "labelled_tasks", "questions"):
            continue
        for own in section["tasks"].values() if "tasks" in section else [section]:
            for entry in own.get("download", []):
                yield own["folder"], entry["file"], entry["url"], entry["sha256"]


@pytest.mark.parametrize(
    ("folder", "file", "url", "sha256"), list(remotes()), ids=lambda value: value[-24:]
)
def test_what_would_be_downloaded_is_what_the_counts_were_taken_of(
    folder, file, url, sha256, data_folder
):
    (path,) = data_folder(folder).glob(f"{file}*")

    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()

    assert hashlib.sha256(content).hexdigest() == sha256
    assert url.startswith("https://raw.githubusercontent.com/")
    assert url.endswith(f"/{file}")
