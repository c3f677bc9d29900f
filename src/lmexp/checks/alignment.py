"""What labels stand beside: looked for in the batches that a run would train on.

Shapes: B rows, T tokens, W words, P places.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lmexp.batch import IGNORE
from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.checks.rows import AXES, together
from lmexp.tokenizers import BOS_ID, EOS_ID, MASK_ID, PAD_ID, UNK_ID

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

COLLATE = "Labels are shifted or masked by the collate function, nobody else: look at the batch."
SENTENCES = 8  # that are compared with the files
MOST_READ = 2_000  # examples of the files, of which those have to be


class Wrong(NamedTuple):
    """What is not as it should be."""

    says: str
    means: str = COLLATE


def label_alignment(subject: "Subject") -> Outcome:
    """Labels belong to what they stand beside."""
    looks: dict[str, tuple[Callable[[Subject], Wrong | None], str]] = {
        "text": (_text, "The label of each token is the next one, and none crosses a border."),
        "pairs": (_pairs, "The decoder reads <bos> and the target, and predicts it and <eos>."),
        "segments": (_segments, "Labels stand at hidden tokens, and at no others."),
        "sentences": (_sentences, "The encoder's tokens are the decoder's labels, <eos> last."),
        "tags": (_tags, "Each word's first token carries its tag of the files."),
        "labels": (_labels, "Each text has its label of the files."),
        "questions": (_questions, "The places of answers are those of their words."),
        "matches": (_matches, "Sources and targets are whole, <eos> last."),
    }
    if subject.kind not in looks or not subject.is_readable:
        return not_applicable("The task or its batches are of a kind of your own.")
    look, claim = looks[subject.kind]
    wrong = look(subject)
    return passed(claim) if wrong is None else failed(*wrong)


def _batches(subject: "Subject") -> Iterator[Any]:
    """Those of the first steps of training."""
    for step in subject.steps:
        yield from step.micro_batches


def _text(subject: "Subject") -> Wrong | None:
    scored = next(iter(subject.data.eval_dataloader(subject.data.corpus.splits[-1]))).batch
    for batch, is_training in [*((b, True) for b in _batches(subject)), (scored, False)]:
        ids, after, labels = batch.input_ids, batch.input_ids[:, 1:], batch.labels[:, :-1]
        is_counted = (labels != IGNORE) & batch.attention_mask[:, 1:]  # the last reads no further
        wrong = is_counted & (labels != after)
        if wrong.any():
            return Wrong(
                f"{_share(wrong, is_counted)} of the labels are not the next token.",
                _text_means(ids, batch.labels),
            )
        borders = is_counted & (after == BOS_ID)
        if borders.any():
            return Wrong(
                f"{int(borders.sum())} labels are the first token of another document.",
                "Nothing says which document comes next: label these positions IGNORE.",
            )
        silent = ~is_counted & (after != BOS_ID) & batch.attention_mask[:, 1:]
        if is_training and silent.any():
            return Wrong(
                f"{_share(silent, batch.attention_mask)} of the tokens are predicted by nobody.",
                "They are labelled IGNORE within a document. " + COLLATE,
            )
    return None


def _text_means(ids: Tensor, labels: Tensor) -> str:
    if bool((labels == ids)[labels != IGNORE].float().mean() > 0.5):
        return "They are the token itself: labels are not shifted. " + COLLATE
    if ids.shape[1] > 2:
        later = labels[:, :-2][labels[:, :-2] != IGNORE]
        if bool((later == ids[:, 2:][labels[:, :-2] != IGNORE]).float().mean() > 0.5):
            return "They are the token after the next: labels are shifted twice. " + COLLATE
    return COLLATE


def _share(some: Tensor, all_: Tensor) -> str:
    return f"{float(some.sum()) / max(1.0, float(all_.sum())):.0%}"


def _pairs(subject: "Subject") -> Wrong | None:
    for batch in _batches(subject):
        read, labels = batch.target_ids, batch.labels
        if (read[:, 0] != BOS_ID).any():
            return Wrong("The decoder does not begin with <bos>.")
        after = read[:, 1:]
        is_there = after != PAD_ID
        wrong = is_there & (labels[:, :-1] != after)
        if wrong.any():
            same = (labels == read)[read != PAD_ID].float().mean()
            means = "They are the token itself: labels are not shifted. " if same > 0.5 else ""
            return Wrong(
                f"{_share(wrong, is_there)} of the labels are not what the decoder reads next.",
                means + COLLATE,
            )
        own = labels.masked_fill(read == PAD_ID, IGNORE)  # what padding has is another check's
        if ends := _without_end(own) + _without_end(batch.source_ids, PAD_ID):
            return Wrong(f"{ends} sources or targets do not end in <eos>.")
    return None


def _without_end(ids: Tensor, fill: int = IGNORE) -> int:
    """Rows whose last token is no <eos>."""
    lengths = (ids != fill).sum(dim=1)
    last = ids.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    return int(((last != EOS_ID) & (lengths > 0)).sum())


def _segments(subject: "Subject") -> Wrong | None:
    rate = getattr(getattr(subject.data, "masking", None), "rate", None)
    hidden = shown = labelled = tokens = 0  # some that are labelled are other tokens at random
    for batch in _batches(subject):
        is_labelled, is_mask = batch.labels != IGNORE, batch.input_ids == MASK_ID
        if (is_mask & ~is_labelled).any():
            return Wrong("Some <mask> have no label, so nothing is learnt from them.")
        if (batch.labels[is_labelled] == MASK_ID).any():
            return Wrong(
                "Some labels are <mask> itself.",
                "Labels have to be taken before tokens are hidden: a copy, not the same array. ",
            )
        hidden += int(is_mask.sum())
        shown += int((is_labelled & (batch.labels == batch.input_ids)).sum())
        tokens += int(batch.attention_mask.sum())
        labelled += int(is_labelled.sum())
        if not is_labelled.any():
            return Wrong("A batch has no label at all.")
    if shown > hidden:
        return Wrong(
            f"{shown:,} labels stand at tokens that are shown, {hidden:,} at <mask>.",
            "The network is asked for what it sees: 80% of what is labelled should be <mask>. "
            + COLLATE,
        )
    share = labelled / max(1, tokens)
    if rate is not None and not rate / 2 < share < 2 * rate:
        return Wrong(f"{share:.0%} of the tokens are labelled, and data.mask_rate={rate}.")
    return None


def _sentences(subject: "Subject") -> Wrong | None:
    for batch in _batches(subject):
        is_real = batch.attention_mask
        if (batch.labels[is_real] != batch.input_ids[is_real]).any():
            return Wrong("Labels are not the tokens that the encoder reads.")
        if (batch.target_ids[:, 0] != BOS_ID).any():
            return Wrong("The decoder does not begin with <bos>.")
        read, labels = batch.target_ids[:, 1:], batch.labels[:, :-1]
        wrong = is_real[:, 1:] & (read != labels) & (read != UNK_ID)
        if wrong.any():
            return Wrong(
                f"{_share(wrong, is_real)} of the labels are not what the decoder reads next."
            )
        if ends := _without_end(batch.labels):
            return Wrong(f"{ends} sentences do not end in <eos>.")
    return None


def squeezed(text: str) -> str:
    """Without white space and capitals, which tokenizers may lose."""
    return "".join(text.split()).casefold()


def _differs(subject: "Subject", ids: list[int], text: str) -> bool:
    """Whether ids surely spell another text; nobody can tell with an <unk> among them."""
    tokenizer = getattr(subject.data.tokenizer, "text", subject.data.tokenizer)
    found = squeezed(tokenizer.decode(ids))
    return UNK_ID not in ids and "\ufffd" not in found and found != squeezed(text)


def _tags(subject: "Subject") -> Wrong | None:
    names, store = subject.data.tokenizer.labels, subject.data.store("train")
    windows = [(row, batch) for batch in _batches(subject) for row in range(len(batch.firsts))]
    windows.sort(key=lambda window: int(window[1].sentences[window[0]]))
    numbers = [int(batch.sentences[row]) for row, batch in windows[:SENTENCES]]
    last = min(max(numbers), max(MOST_READ, numbers[0]))
    corpus = subject.data.corpus
    of_files = list(itertools.islice(subject.data.form.examples(corpus, "train"), last + 1))
    kept = store.kept(last + 1)
    for row, batch in windows[:SENTENCES]:
        number = int(batch.sentences[row])
        firsts = batch.firsts[row][batch.firsts[row] > 0].tolist()
        if number > last or len(firsts) != len(kept[number]):
            continue  # a window of a longer sentence
        tags = of_files[number].tags
        ids = batch.input_ids[row][batch.attention_mask[row]].tolist()
        bounds = itertools.pairwise([*firsts, len(ids) - 1])
        for word, (begin, end), label, tag in zip(
            kept[number], bounds, batch.labels[row].tolist(), tags, strict=False
        ):
            if _differs(subject, ids[begin:end], word):
                return Wrong(
                    f"'{word}' is tagged at a token that does not begin it.",
                    "`firsts` has to hold the column of each word's first token: mind <bos>, and "
                    "words of several tokens.",
                )
            if label == IGNORE or (label < len(names) and names[label] != tag):
                given = "IGNORE" if label == IGNORE else names[label]
                return Wrong(f"'{word}' is labelled {given}, and {tag} in the files.")
    return None


def _labels(subject: "Subject") -> Wrong | None:
    data = subject.data
    texts, batch = data.first("train", SENTENCES)
    names = data.tokenizer.labels
    of_files = itertools.islice(data.form.examples(data.corpus, "train"), len(texts))
    for row, (text, example) in enumerate(zip(texts, of_files, strict=True)):
        own = batch.labels[row]
        given = own.nonzero()[:, 0].tolist() if own.dim() else [int(own)]
        labels = {names[number] for number in given if 0 <= number < len(names)}
        if labels != set(example.labels):
            said, right = (", ".join(sorted(part)) or "none" for part in (labels, example.labels))
            return Wrong(f"'{text[0][:40]}' is labelled {said}, and {right} in the files.")
        ids = batch.input_ids[row][batch.attention_mask[row]]
        first = ids[1 : int((ids == EOS_ID).nonzero()[0])].tolist() if len(ids) > 1 else []
        is_cut = len(ids) >= data.max_length
        if not is_cut and _differs(subject, first, text[0]):
            return Wrong(f"The tokens beside the label of '{text[0][:40]}' are of another text.")
    return None


def _questions(subject: "Subject") -> Wrong | None:
    kept = subject.data.store("train").kept()
    for batch in _batches(subject):
        for row, (first, last) in enumerate(batch.answers.tolist()):
            if first <= 0:
                continue  # not in this window
            ids = batch.input_ids[row][batch.attention_mask[row]].tolist()
            places = [*batch.places[row][batch.is_place[row]].tolist(), len(ids) - 1]
            begin, end = places[first], places[last + 1]
            answer = kept[int(batch.examples[row])][3][0]
            tokenizer = subject.data.tokenizer.text
            found = squeezed(tokenizer.decode(ids[begin:end]))
            if UNK_ID not in ids[begin:end] and squeezed(answer) not in found:
                return Wrong(
                    f"The answer '{answer[:40]}' is labelled at '{found[:40]}'.",
                    "Places count words of the window, from 1, and `places` holds the columns of "
                    "their first tokens: mind the question before the context.",
                )
    return None


def _matches(subject: "Subject") -> Wrong | None:
    for batch in _batches(subject):
        ends = _without_end(batch.labels) + _without_end(batch.source_ids, PAD_ID)
        if ends:
            return Wrong(f"{ends} sources or targets do not end in <eos>.")
    return None


def padding_in_the_loss(subject: "Subject") -> Outcome:
    """What is padding has no label, and is not counted."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    split = "val" if "val" in subject.data.corpus.splits else subject.data.corpus.splits[-1]
    scored = next(iter(subject.data.eval_dataloader(split)))
    scored = getattr(scored, "batch", scored)
    for batch in (*_batches(subject), scored):
        for axis in AXES[type(batch)]:
            if "labels" not in axis.fields or subject.kind == "matches":
                continue  # targets of matches are their labels
            counted = int((batch.labels[~axis.real(batch)] != IGNORE).sum())
            if counted:
                return failed(
                    f"{counted:,} labels stand at padding.",
                    "The loss would be mostly of guessing <pad>: label padding IGNORE.",
                    labels=counted,
                )
    narrow, wide = (together(subject.rows, wider) for wider in (0, subject.room))
    with torch.no_grad():
        one, other = (float(subject.task.sums(batch, None)[0].tokens) for batch in (narrow, wide))
    if one != other:
        return failed(
            f"The loss counts {one:,.0f} predictions, and {other:,.0f} with more padding.",
            "The task divides by what is not predicted: count labels that are not IGNORE.",
        )
    return passed(f"No label stands at padding; {one:,.0f} predictions are counted.")
