"""What is read from files of pairs: their forms, directions, references and splits."""

import gzip
import json
import tracemalloc

import pytest
import zstandard
from parallel_files import DEFAULTS, SPLITS, corpus, read, three_pairs

from lmexp.corpora import reading
from lmexp.corpora.parallel import ParallelFiles
from lmexp.targets import build


@pytest.fixture
def two(tmp_path):
    return three_pairs(tmp_path)


def test_line_n_of_one_file_belongs_to_line_n_of_the_other(two):
    assert read(two) == [("one", "eins", ()), ("two", "zwei", ()), ("three", "drei", ())]


def test_lines_end_at_newline_bytes_alone_and_empty_ones_stay(tmp_path):
    odd = "a\rb\u2028c\x85d\x0be\r"
    (tmp_path / "a.en").write_bytes(f"\ufeff{odd}\n\n".encode())
    (tmp_path / "a.de").write_bytes(b"\n\0\r\n")

    assert read(tmp_path) == [(odd, "", ()), ("", "\0\r", ())]


def test_a_line_longer_than_a_reader_takes_at_once_is_one_line(two, monkeypatch):
    monkeypatch.setattr(reading, "_LINE_BYTES", 8)
    (two / "a.de").write_text("eins\n" + "ä" * 50 + "\n" + "x" * 8)

    assert [target for _, target, _ in read(two)] == ["eins", "ä" * 50, "x" * 8]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_give_the_same_pairs_and_fingerprint(pack, two, tmp_path_factory):
    packed = tmp_path_factory.mktemp("packed")
    suffix = {gzip.compress: ".gz"}.get(pack, ".zst")
    for name in ("a.en", "a.de"):
        (packed / (name + suffix)).write_bytes(pack((two / name).read_bytes()))

    assert read(packed) == read(two)
    assert corpus(packed).fingerprint() == corpus(two).fingerprint()


def test_the_pair_fills_names_and_chooses_the_direction(two):
    names = {"train": ["a.{source}", "a.{target}"]}

    assert read(two, **names, pair="en-de")[0] == ("one", "eins", ())
    assert read(two, **names, pair="de-en")[0] == ("eins", "one", ())
    assert corpus(two, **names, pair="de-en").languages == ("de", "en")
    assert corpus(two).languages == (None, None)


def test_files_by_language_follow_the_pair(two):
    files = {"train": {"en": "a.en", "de": "a.de"}}

    assert read(two, **files, pair="en-de")[1] == ("two", "zwei", ())
    assert read(two, **files, pair="de-en")[1] == ("zwei", "two", ())


def test_further_files_are_references(two):
    (two / "b.de").write_text("1\n2\n3\n")
    (two / "c.de").write_text("I\nII\nIII\n")
    test = ["a.en", "a.de", "b.de", "c.de"]

    assert read(two, "test", test=test)[1] == ("two", "zwei", ("2", "II"))
    assert read(two, "test", train=None, test=test)[0] == ("one", "eins", ("1", "I"))
    assert corpus(two, train=None, test=test).splits == ("test",)


def test_a_file_of_columns_holds_both_sides_and_may_have_more(tmp_path):
    (tmp_path / "cmn.txt").write_text("Hi.\t嗨。\tCC-BY\nRun.\t跑。\n")
    one = {"train": "cmn.txt", "pair": "en-zh"}

    assert read(tmp_path, **one, fields=[0, 1]) == [("Hi.", "嗨。", ()), ("Run.", "跑。", ())]
    assert read(tmp_path, **one, fields=[1, 0])[0] == ("嗨。", "Hi.", ())


def test_columns_by_language_follow_the_pair(tmp_path):
    (tmp_path / "cmn.txt").write_text("Hi.\t嗨。\n")
    one = {"train": "cmn.txt", "fields": {"en": 0, "zh": 1}}

    assert read(tmp_path, **one, pair="en-zh") == [("Hi.", "嗨。", ())]
    assert read(tmp_path, **one, pair="zh-en") == [("嗨。", "Hi.", ())]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_a_file_of_records_holds_both_sides(suffix, tmp_path):
    records = [{"translation": {"en": "one", "de": "eins"}}, {"translation": {"en": "", "de": "a"}}]
    text = json.dumps(records) if suffix == ".json" else "\n".join(map(json.dumps, records))
    data = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
    (tmp_path / f"a{suffix}").write_bytes(data)
    fields = ["translation.{source}", "translation.{target}"]

    found = read(tmp_path, train=f"a{suffix}", fields=fields, pair="de-en")

    assert found == [("eins", "one", ()), ("a", "", ())]


def test_every_pair_is_in_one_split_and_equal_sources_are_in_the_same(tmp_path):
    lines = [f"{number % 500}\t{number}\n" for number in range(1000)]
    (tmp_path / "a.tsv").write_text("".join(lines))
    changes = {"train": "a.tsv", "fields": [0, 1], "val_fraction": 0.1, "test_fraction": 0.2}

    parts = [read(tmp_path, split, **changes) for split in SPLITS]

    assert sorted(int(target) for part in parts for _, target, _ in part) == list(range(1000))
    sources = [{source for source, _, _ in part} for part in parts]
    assert sum(map(len, sources)) == 500
    assert 60 <= len(parts[1]) <= 140  # 100, three sigmas of 500 sources
    assert 140 <= len(parts[2]) <= 260
    assert corpus(tmp_path, **changes).splits == SPLITS


def test_another_order_of_lines_changes_no_split(tmp_path):
    lines = [f"{number}\t{number}\n" for number in range(200)]
    (tmp_path / "a.tsv").write_text("".join(lines))
    (tmp_path / "b.tsv").write_text("".join(reversed(lines)))
    changes = {"fields": [0, 1], "val_fraction": 0.3}

    one, other = (read(tmp_path, "val", train=name, **changes) for name in ("a.tsv", "b.tsv"))

    assert one == other[::-1]
    assert len(one) > 30


def test_an_official_split_is_not_cut_and_one_without_fraction_is_missing(two):
    (two / "v.tsv").write_text("".join(f"{number}\t{number}\n" for number in range(50)))
    changes = {"val": "v.tsv", "fields": [0, 1], "val_fraction": 0.5}

    assert len(read(two, **changes)) == 3
    assert read(two, "test", **changes) == []
    assert corpus(two, **changes).splits == ("train", "val")
    assert len(read(two, "val", **changes)) == 50
    assert len(read(two, "val", **changes, test_fraction=0.5)) == 50


def test_the_fingerprint_is_of_content_and_settings_not_of_names(two):
    for name in ("en", "de"):
        (two / f"b.{name}").write_bytes((two / f"a.{name}").read_bytes())
    before = corpus(two).fingerprint()

    assert corpus(two, train=["b.en", "b.de"], pair="en-de").fingerprint() == before
    assert corpus(two, train=["a.de", "a.en"]).fingerprint() != before
    assert corpus(two, val_fraction=0.1).fingerprint() != before
    assert corpus(two, on_invalid="drop").fingerprint() != before
    (two / "a.de").write_text("eins\nzwei\ndrei\n")
    assert corpus(two).fingerprint() != before


def test_a_named_set_is_looked_for_in_the_known_places(two, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LMEXP_DATA", str(two.parent))
    files = ParallelFiles(**DEFAULTS, folder=two.name)

    assert len(list(files.pairs("train"))) == 3
    assert files.source == f"LMEXP_DATA {two}"
    with pytest.raises(FileNotFoundError, match=r"set lost is not in .*: put a\.en, a\.de \("):
        ParallelFiles(**DEFAULTS, folder="lost").fingerprint()


def test_a_recipe_can_write_every_form(two):
    section = {"_target_": "lmexp.corpora.parallel.ParallelFiles", **DEFAULTS}
    forms = [
        {"train": ["a.en", "a.de"]},
        {"train": {"en": "a.en", "de": "a.de"}, "pair": "en-de"},
        {"test": "a.tsv", "fields": [0, 1]},
        {"test": "a.tsv", "fields": {"en": 0, "de": 1}, "pair": "de-en"},
        {"test": "a.jsonl", "fields": ["source", "target"]},
    ]
    for form in forms:
        assert "train" in build({**section, **form}, root=str(two)).splits
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        build({**section, "test": "a.tsv", "fields": [-1, 1]}, root=str(two))


def test_memory_does_not_grow_with_the_files(tmp_path):
    for name in ("a.en", "a.de"):
        (tmp_path / name).write_text(("x" * 999 + "\n") * 10_000)  # 10 MB
    files = corpus(tmp_path, val_fraction=0.1)

    tracemalloc.start()
    files.fingerprint()
    number = sum(1 for split in ("train", "val") for _ in files.pairs(split))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert number == 10_000
    assert peak < 6_000_000


def test_multi30k_has_its_published_counts(data_folder):
    data_folder("multi30k")
    names = {
        split: [f"{name}.{{source}}", f"{name}.{{target}}"]
        for split, name in zip(SPLITS, ("train", "val", "test_2016_flickr"), strict=True)
    }
    files = ParallelFiles(**{**DEFAULTS, **names, "pair": "en-de"}, folder="multi30k")

    pairs = {split: list(files.pairs(split)) for split in SPLITS}

    assert [len(pairs[split]) for split in SPLITS] == [29_000, 1_014, 1_000]
    assert pairs["train"][0].source == "Two young, White males are outside near many bushes."
    assert pairs["train"][0].target.startswith("Zwei junge weiße Männer")
    assert not files.counts


def test_tatoeba_is_split_by_source(data_folder):
    data_folder("tatoeba_en_zh")
    changes = {
        "train": "cmn_simplified.txt",
        "pair": "en-zh",
        "fields": {"en": 0, "zh": 1},
        "val_fraction": 0.05,
        "test_fraction": 0.05,
    }
    files = ParallelFiles(**{**DEFAULTS, **changes}, folder="tatoeba_en_zh")

    pairs = {split: list(files.pairs(split)) for split in SPLITS}

    assert sum(map(len, pairs.values())) == 29_155
    assert pairs["train"][0] == ("Hi.", "嗨。", ())
    sources = [{pair.source for pair in pairs[split]} for split in SPLITS]
    assert sum(map(len, sources)) == 27_661
    assert len(sources[1]) == pytest.approx(0.05 * 27_661, abs=4 * 36)  # sigma is 36
