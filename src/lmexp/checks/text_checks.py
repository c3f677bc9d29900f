"""The tokenizer gives the text back, the tokens are of the text, and splits do not overlap."""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.overlap import cached_overlap
from lmexp.tokenizers import SPECIALS, UNK_ID

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

SAMPLES = 300  # texts
SAMPLE_CHARS = 100_000
UNKNOWN = SPECIALS[UNK_ID]
MOST_UNKNOWN = 0.25  # of the tokens: a vocabulary of another text
MOST_SHARED = 0.2  # of the documents, pairs or examples of a split
MOST_SHARED_LINES = 0.5  # of its lines, of which short ones are met again by chance
FOLDS: dict[str, Callable[[str], str]] = {
    "capitals": str.casefold,
    "accents": lambda text: "".join(c for c in _decomposed(text) if not unicodedata.combining(c)),
    "forms of characters": lambda text: unicodedata.normalize("NFKC", text),
}


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


def texts(subject: "Subject", split: Any) -> Iterator[tuple[Any, str]]:
    """Texts of a split as they are tokenised, each with its tokenizer."""
    data, kind = subject.data, subject.kind
    if kind in ("pairs", "matches"):
        pairs = data.corpus.pairs(split)
        if split == "train":
            pairs = data.cleaning.clean(pairs, Counter())
        for pair in pairs:
            yield data.tokenizer.source, pair.source
            yield data.tokenizer.target, pair.target
    elif kind in ("tags", "labels", "questions"):
        for example in data.form.examples(data.corpus, split):
            for text in data.form.texts_of(example):
                yield data.tokenizer.text, text
    else:
        for piece in data.cleaning.clean(data.corpus.pieces(split), Counter()):
            yield data.tokenizer, piece.text


def _samples(subject: "Subject", split: Any) -> list[tuple[Any, str]]:
    found, chars = [], 0
    for tokenizer, text in itertools.islice(texts(subject, split), SAMPLES):
        found.append((tokenizer, text[:SAMPLE_CHARS]))
        chars += len(text)
        if chars > SAMPLE_CHARS:
            break
    return found


def round_trip(subject: "Subject") -> Outcome:
    """decode(encode(text)) is the cleaned text, but for what the tokenizer says it loses."""
    lost, encoded = Counter[str](), []
    for tokenizer, text in _samples(subject, "train"):
        ids = tokenizer.encode_many([text])[0]
        encoded.append(ids)
        what, may_be = _lost(tokenizer, text, tokenizer.decode(ids.tolist()))
        if what and not (may_be or subject.start is not None):
            return failed(
                f"'{_about(text, tokenizer.decode(ids.tolist()))}' does not come back from the "
                f"tokenizer: {what} lost or changed.",
                "What encode() changes the network can never write: look at lower(), strip() and "
                "normalisation in it, and at what decode() puts between tokens; clean texts in "
                "data.cleaning instead, where it is counted.",
                lost=what,
            )
        lost[what] += bool(what)
    unknown, tokens = _unknown(encoded)
    seen = f"{unknown:,} of {tokens:,} tokens of the training split are unknown"
    figures = {"train_unknown": [unknown, tokens]}
    for split in [own for own in subject.data.corpus.splits if own != "train"][:1]:
        unknown, tokens = _unknown([t.encode_many([x])[0] for t, x in _samples(subject, split)])
        seen += f", {unknown:,} of {tokens:,} of the {split} split"
        figures[f"{split}_unknown"] = [unknown, tokens]
    if any(unknown > MOST_UNKNOWN * tokens for unknown, tokens in figures.values()):
        return failed(
            f"{seen[0].upper()}{seen[1:]}.",
            "The vocabulary is of another text, or this one has no spaces between words: write "
            "tokenizer=bpe, or char.",
            **figures,
        )
    what = ", ".join(f"{name} in {n:,}" for name, n in lost.items() if name)
    back = f"but for {what}" if what else "as they were"
    return passed(f"{len(encoded):,} texts come back {back}; {seen}.", **figures)


def _unknown(encoded: Sequence[Any]) -> tuple[int, int]:
    """Unknown tokens, and all of them."""
    return sum(int((ids == UNK_ID).sum()) for ids in encoded), sum(map(len, encoded))


def _lost(tokenizer: Any, text: str, back: str) -> tuple[str, bool]:
    """What is not the same in a text that came back, and whether the tokenizer says so."""
    if back == text:
        return "", True
    if tokenizer.is_lossless:
        return _named(text, back) or "something", False
    if _fits(text, back):
        parts = ["unknown words"] * (UNKNOWN in back) + ["white space"] * (UNKNOWN not in back)
        return parts[0], True
    return _named(text, back) or "something", False


def _named(text: str, back: str) -> str:
    """The least that has to be overlooked so that both are the same."""
    if _fits(text, back):
        return "white space"
    for size in range(1, len(FOLDS) + 1):
        for names in itertools.combinations(FOLDS, size):
            one, other = text, back
            for name in names:
                one, other = FOLDS[name](one), FOLDS[name](other)
            if _fits(one, other):
                return " and ".join(names)
    return ""


def _fits(text: str, back: str) -> bool:
    """Whether texts are the same but for white space, an <unk> standing for anything."""
    whole = "".join(text.split())
    parts = "".join(back.split()).split(UNKNOWN)
    if len(parts) == 1:
        return parts[0] == whole
    if not whole.startswith(parts[0]) or not whole.endswith(parts[-1]):
        return False
    place, last = len(parts[0]), len(whole) - len(parts[-1])
    for part in parts[1:-1]:
        found = whole.find(part, place, last)
        if found < 0:
            return False
        place = found + len(part)
    return place <= last


def _about(text: str, back: str) -> str:
    """Where they begin to differ."""
    pairs = enumerate(zip(text, back, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(text), len(back)))
    return " ".join(text[max(0, place - 15) : place + 25].split())


def tokens_of_the_text(subject: "Subject") -> Outcome:
    """The tokens that are trained on are those of this text by this tokenizer."""
    data, kind, store = subject.data, subject.kind, subject.data.store("train")
    if kind in ("pairs", "matches"):
        wanted, found = _first_pair(data), [store.source_ids(0)[:-1], _target(store)[:-1]]
    elif kind in ("tags", "labels", "questions"):
        rows = (
            data.form.encoded(example, data.tokenizer.text, lambda _: 0, Counter())
            for example in data.form.examples(data.corpus, "train")
        )
        row = next(row for row in rows if row is not None)
        wanted = [list(map(int, row.columns[data.tokens]))]
        found = [store.columns[data.tokens].row(0).tolist()]
    elif kind in ("text", "segments", "sentences"):
        tokenizer, text = next(own for own in texts(subject, "train") if own[1])
        wanted = [tokenizer.encode_many([text])[0].tolist()]
        found = [store.tokens[1 : 1 + len(wanted[0])].tolist()]
    else:
        return not_applicable("The task is of a kind of your own.")
    largest = max(max(ids, default=0) for ids in found)
    size = max(subject.sizes.values())
    if wanted == found and largest < size:
        return passed("The first tokens that are trained on are those of the text's beginning.")
    return failed(
        f"The text begins with ids {wanted[0][:6]}, and what is trained on with {found[0][:6]}.",
        "The text was tokenised by another tokenizer than the one that is saved with the run (of "
        "the other side, of another set, fitted again later?): use data.tokenizer for both.",
    )


def _first_pair(data: Any) -> list[list[int]]:
    """Ids of both sides of the first pair that is short enough."""
    for pair in data.cleaning.clean(data.corpus.pairs("train"), Counter()):
        source = data.tokenizer.encode_sources([pair.source])[0].tolist()
        target = data.tokenizer.target.encode_many([pair.target])[0].tolist()
        if max(len(source), len(target)) < data.max_length:
            return [source, target]
    return [[], []]


def _target(store: Any) -> list[int]:
    start = int(store.target_starts[0])
    ids: list[int] = store.target[start : start + int(store.target_lengths[0])].tolist()
    return ids


def train_test_overlap(subject: "Subject") -> Outcome:
    """How much of the other splits is in the training split, exactly."""
    train, said, worst = subject.data.store("train"), [], ""
    figures: dict[str, Any] = {}
    for split in subject.data.corpus.splits:
        if split == "train":
            continue
        store = subject.data.store(split)
        if hasattr(store, "hashes"):
            own = [("examples", int(np.isin(store.hashes, train.hashes).sum()), len(store.hashes))]
        else:
            shared = cached_overlap(store, train)
            of_pairs = subject.kind in ("pairs", "matches")
            units = ("sources", "pairs") if of_pairs else ("lines", "documents")
            totals = len(store.line_hashes), len(store.document_hashes)
            own = list(zip(units, shared, totals, strict=True))
        for unit, count, total in own:
            figures[f"{split}_{unit}"] = [count, total]
            most = MOST_SHARED_LINES if unit in ("lines", "sources") else MOST_SHARED
            if count > most * total:
                worst = split
        said.append(f"{split}: " + ", ".join(f"{n:,} of {all_:,} {unit}" for unit, n, all_ in own))
    if not said:
        return not_applicable("There is a training split only.")
    says = f"Also in the training split: {'; '.join(said)}."
    if not worst:
        return passed(says, **figures)
    return failed(
        says,
        f"Figures of the {worst} split would be of what was learnt by heart: is it the training "
        "file, or cut from one with repeated texts? data.cleaning.drop_duplicates drops them "
        "within a split, before it is cut; corpora of labels take data.drop_seen=true.",
        **figures,
    )
