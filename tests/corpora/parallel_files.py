"""Files of pairs, and the corpus that reads them with nothing set but the two names."""

from lmexp.corpora.parallel import ParallelFiles

DEFAULTS = {
    "train": ["a.en", "a.de"],
    "val": None,
    "test": None,
    "pair": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "fields": None,
    "on_invalid": "error",
}
SPLITS = ("train", "val", "test")


def corpus(root, **changes):
    return ParallelFiles(**{**DEFAULTS, **changes}, root=str(root))


def read(root, split="train", **changes):
    return [tuple(pair) for pair in corpus(root, **changes).pairs(split)]


def three_pairs(folder):
    """The folder with three pairs in two files; the last line has no end."""
    (folder / "a.en").write_text("one\ntwo\nthree\n")
    (folder / "a.de").write_text("eins\nzwei\ndrei")
    return folder
