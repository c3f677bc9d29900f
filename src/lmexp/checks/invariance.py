"""What must not matter to an output: the tokens after it, padding, and the other rows."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.checks.outputs import Output, distance, of_row
from lmexp.checks.rows import drawn_ids, emptied, redrawn, together

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

# Shares of an output's largest magnitude. A float32 sum of the same numbers in the same order is
# the same; in another order, as padding makes it, a deep network is off by some 1e-6.
SAME_SHAPE = 1e-5
OTHER_SHAPE = 1e-4
DECODES = {"text": "input_ids", "pairs": "target_ids", "sentences": "target_ids"}  # by kind
UNSTEADY = "Outputs differ from one look to the next (see `evaluation`), so nothing can be told."


def unable(subject: "Subject") -> Outcome | None:
    """Why outputs cannot be compared, if they cannot."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    return None if subject.is_steady else not_applicable(UNSTEADY)


def evaluation(subject: "Subject") -> Outcome:
    """The same batch gives the same outputs twice."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    if subject.is_steady:
        return passed("In evaluation mode the same batch gives the same outputs twice.")
    return failed(
        "In evaluation mode the same batch gives other outputs the second time.",
        "Dropout or noise is on in evaluation: use nn.Dropout, or F.dropout(x, p, self.training); "
        "F.dropout(x, p) alone is always on.",
    )


def causality(subject: "Subject") -> Outcome:
    """No output sees a token after it."""
    field = DECODES.get(subject.kind)
    if field is None:
        return not_applicable("An encoder sees all tokens, those to come included.")
    if (reason := unable(subject)) is not None:
        return reason
    batch, worst, where, own = subject.examples, 0.0, 0, 0.0
    ids = getattr(batch, field)
    width, generator = ids.shape[1], torch.Generator().manual_seed(0)
    places = sorted({1, width // 2, width - 1} - {0})
    if width < 2:
        return not_applicable("The examples are of one token each.")
    before = _decoded(subject, batch)
    for place in places:
        other = ids.clone()
        drawn = drawn_ids(ids.shape, subject.sizes[field], generator)
        other[:, place:] = torch.where(drawn == ids, ids[:, :1], drawn)[:, place:]
        after = _decoded(subject, batch._replace(**{field: other}))
        leak = distance([before.values[:, :place]], [after.values[:, :place]])
        if leak > worst:
            worst, where = leak, place
        columns = slice(place, place + 1)
        own = max(own, distance([before.values[:, columns]], [after.values[:, columns]]))
    if not own:
        return failed(
            "The output at a token is the same whatever the token.",
            "The network shifts its inputs itself, or does not read them: labels are shifted "
            "already, and what is predicted at a token comes after it.",
        )
    if worst <= SAME_SHAPE:
        return passed(f"Changing the tokens from {_listed(places)} on changes nothing before them.")
    return failed(
        f"Changing the tokens from {where} on changes outputs before it, by {worst:.1e} of the "
        "largest.",
        "The network looks ahead, and will be good at nothing but copying: look for attention "
        "without a causal mask, a convolution padded on both sides, a bidirectional RNN, or a norm "
        "over the columns.",
        change=worst,
    )


def _decoded(subject: "Subject", batch: Any) -> Output:
    """The decoder's; of a latent space with the same point whatever the tokens."""
    return subject.outputs(batch)[-1]  # an encoder reads input_ids, which stay


def _listed(places: list[int]) -> str:
    return ", ".join(map(str, places[:-1])) + f" or {places[-1]}" if places[1:] else str(places[0])


def document_borders(subject: "Subject") -> Outcome:
    """Documents packed into one row do not see each other."""
    if subject.kind != "text":
        return not_applicable("Rows hold one text each.")
    if not getattr(subject.data, "document_mask", False):
        return not_applicable("data.document_mask=false: rows are read across borders.")
    if (reason := unable(subject)) is not None:
        return reason
    ids = max((row.input_ids for row in subject.rows), key=lambda own: own.shape[1])
    width = ids.shape[1]
    if width < 4:
        return not_applicable("The examples are too short to hold two documents.")
    first = width // 2
    documents = (torch.arange(width) >= first).int()[None]
    kind = type(subject.rows[0])
    mask = torch.ones_like(ids, dtype=torch.bool)
    packed = subject.outputs(kind(ids, mask, ids, documents))[0].values
    alone = [
        subject.outputs(kind(part, torch.ones_like(part, dtype=torch.bool), part, None))[0].values
        for part in (ids[:, :first], ids[:, first:])
    ]
    apart = distance([packed[:, :first], packed[:, first:]], alone)
    if apart <= OTHER_SHAPE:
        return passed("A document packed behind another gives what it gives alone.")
    return failed(
        f"A document packed behind another gives other outputs than alone, by {apart:.1e} of the "
        "largest.",
        "document_ids are not used: attention has to stay within a document, positions to count "
        "from its start and a recurrent state to begin anew; or write data.document_mask=false.",
        change=apart,
    )


def padding(subject: "Subject") -> Outcome:
    """A row alone gives what it gives with padding behind it."""
    if (reason := unable(subject)) is not None:
        return reason
    if not subject.room:
        return not_applicable("The shortest rows fill data.max_length: there is no room to pad.")
    worst = 0.0
    for row in subject.rows:
        alone = of_row(subject.outputs(row), 0)
        padded = of_row(subject.outputs(together([row], subject.room)), 0)
        worst = max(worst, distance(alone, padded))
    if worst <= OTHER_SHAPE:
        return passed(f"{subject.room} columns of padding change no row's outputs.")
    return failed(
        f"Padding behind a row changes its outputs, by {worst:.1e} of the largest.",
        "The attention mask is not used everywhere: look at attention, at the backward direction "
        "of an RNN (pack the sequences), at means over tokens, and at positions counted from the "
        "right.",
        change=worst,
    )


def batch_mates(subject: "Subject") -> Outcome:
    """A row gives the same whatever stands beside it, in evaluation and in training."""
    if (reason := unable(subject)) is not None:
        return reason
    if len(subject.rows) < 2:
        return not_applicable("There is one example only.")
    batch = subject.examples
    generator = torch.Generator().manual_seed(0)
    mates = redrawn(batch, subject.sizes, slice(1, None), generator)
    found = {}
    for mode in ("evaluation", "training"):
        network = copy.deepcopy(subject.network).train(mode == "training")
        one, other = (of_row(subject.outputs(b, network), 0) for b in (batch, mates))
        found[mode] = distance(one, other)
    worst = max(found, key=lambda mode: found[mode])
    if found[worst] <= SAME_SHAPE:
        return passed("Other rows beside it change no row's outputs, nor in training mode.")
    return failed(
        f"Other rows beside it change a row's outputs in {worst} mode, by {found[worst]:.1e} of "
        "the largest.",
        "Rows are mixed: look for a BatchNorm, a norm or a softmax over dimension 0, a view() that "
        "swaps rows and columns, or an RNN without batch_first=True.",
        change=found[worst],
    )


def empty_row(subject: "Subject") -> Outcome:
    """A row of padding alone gives no NaN, and none to the others."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    rows = [subject.rows[0], emptied(subject.rows[-1])]
    task = copy.deepcopy(subject.task)
    batch = together(rows)
    is_bad = {"an output": any(_has_nan(o.values) for o in subject.outputs(batch, task.network))}
    is_bad["the loss"] = subject.mean_loss(task, batch) != subject.mean_loss(task, batch)
    subject.gradient(task, batch)
    grads = (p.grad for p in task.network.parameters() if p.grad is not None)
    is_bad["a gradient"] = any(_has_nan(grad) for grad in grads)
    found = [what for what, bad in is_bad.items() if bad]
    if not found:
        return passed("A row of nothing but padding gives no NaN, in outputs, loss and gradient.")
    return failed(
        f"A row of nothing but padding makes {', '.join(found)} NaN.",
        "A softmax over no token at all (nn.TransformerEncoder in evaluation does so; "
        "scaled_dot_product_attention does not), or a mean that divides by a count of zero: clamp "
        "it to 1.",
    )


def _has_nan(values: Tensor) -> bool:
    return bool(values.isnan().any())
