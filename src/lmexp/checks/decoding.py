"""Token by token a network says what it says of a whole text.

Shapes: B rows, N tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmexp.checks.invariance import DECODES, OTHER_SHAPE, unable
from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.checks.outputs import distance
from lmexp.checks.rows import drawn_ids, together
from lmexp.networks.interface import CarryingDecoder, StepDecoder
from lmexp.seeds import seed_torch
from lmexp.tokenizers import BOS_ID

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

ROWS = 3
LENGTH = 12  # tokens that are generated from
PARENTS = (2, 0, 2, 1)  # rows that go on after reordering


def one_network(subject: "Subject") -> Outcome:
    """forward is the output layer over hidden: what is generated from is what was trained."""
    if subject.kind not in DECODES:
        return not_applicable("The network has no output layer of its own: the task puts it on.")
    if (reason := unable(subject)) is not None:
        return reason
    network, (whole, hidden, _) = subject.network, _ways(subject)
    ids = _ids(subject)
    with torch.no_grad():
        apart = distance([whole(ids)], [network.output(hidden(ids))])
    if apart <= OTHER_SHAPE:
        return passed("forward() gives the output layer over hidden().")
    return failed(
        f"forward() and the output layer over hidden() differ by {apart:.1e} of the largest.",
        "Training reads hidden() and `output`, other programs forward(): what forward() does "
        "besides (a scale, a bias, a norm) is never trained. Let it return output(hidden(…)).",
        change=apart,
    )


def incremental(subject: "Subject") -> Outcome:
    """step() gives the logits of a forward pass, after ragged prompts and reorder() too."""
    if subject.kind not in DECODES:
        return not_applicable("The network writes no text.")
    if (reason := unable(subject)) is not None:
        return reason
    network = subject.network
    if subject.kind == "text" and not isinstance(network, StepDecoder):
        return not_applicable(
            "The network has no start(), step() and reorder(): it generates by whole forward "
            "passes, which takes longer."
        )
    ids, (whole, _, start) = _ids(subject), _ways(subject)
    worst, where = 0.0, ""
    with torch.no_grad():
        seed_torch(0)
        for name, one, other in _stepped(network, ids, whole(ids), start):
            apart = distance([one], [other])
            if apart > worst:
                worst, where = apart, name
    if worst <= OTHER_SHAPE:
        return passed("step() gives the logits of a forward pass, reordered rows too.")
    return failed(
        f"{where} gives other logits than a forward pass, by {worst:.1e} of the largest.",
        {
            "step() of single tokens": "The state forgets something: keys and values or the "
            "recurrent state of earlier tokens, or the position to count on from.",
            "step() of prompts of unequal length": "The mask of step() is not used: padding of a "
            "short prompt stays in the state, or logits are not those after its last real token.",
            "reorder()": "Some part of the state is not taken along by index_select(rows), or "
            "along the wrong dimension.",
            "hidden_carried()": "The state at the end of a window does not begin the next one.",
        }[where]
        + " Sampling and beam search would write another model's text.",
        change=worst,
    )


def _stepped(
    network: Any, ids: Tensor, expected: Tensor, start: Callable[[], Any]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What was compared, logits of steps, and those of a forward pass, (B, V) each."""
    width = ids.shape[1]
    prompt = max(1, width // 3)
    logits, state = network.step(ids[:, :prompt], start())
    yield "step() of single tokens", logits, expected[:, prompt - 1]
    for column in range(prompt, width):
        logits, state = network.step(ids[:, column : column + 1], state)
        yield "step() of single tokens", logits, expected[:, column]
    rows = torch.arange(ROWS)
    lengths = torch.tensor([max(1, prompt - row) for row in range(ROWS)])
    mask = torch.arange(prompt) < lengths[:, None]
    given = ids[:, :prompt].masked_fill(~mask, 0)
    logits, state = network.step(given, start(), mask)
    yield "step() of prompts of unequal length", logits, expected[rows, lengths - 1]
    if prompt < width:
        logits, _ = network.step(ids[rows, lengths][:, None], state)
        yield "step() of prompts of unequal length", logits, expected[rows, lengths]
        parents = torch.tensor(PARENTS)
        _, state = network.step(given, start(), mask)  # a step may use the last state up
        chosen = network.reorder(state, parents)
        logits, _ = network.step(ids[rows, lengths][parents][:, None], chosen)
        yield "reorder()", logits, expected[rows, lengths][parents]
    if isinstance(network, CarryingDecoder):
        first, carried = network.hidden_carried(ids[:, :prompt], None)
        second, _ = network.hidden_carried(ids[:, prompt:], carried)
        own = network.output(torch.cat([first, second], dim=1))
        yield "hidden_carried()", own, expected


def _ids(subject: "Subject") -> Tensor:
    """(B, N), the beginning of a text first."""
    limits = (getattr(subject.task.network, "max_length", None), LENGTH)
    width = min(limit for limit in limits if limit is not None)
    generator = torch.Generator().manual_seed(0)
    ids = drawn_ids((ROWS, width), subject.sizes[DECODES[subject.kind]], generator)
    ids[:, 0] = BOS_ID
    return ids


Way = Callable[..., Any]


def _ways(subject: "Subject") -> tuple[Way, Way, Way]:
    """Logits of ids, hidden states of ids, and the state before the first."""
    network = subject.network
    if subject.kind == "text":
        return network, network.hidden, network.start if hasattr(network, "start") else network
    rows = together([subject.rows[n % len(subject.rows)] for n in range(ROWS)])
    with torch.no_grad():
        if subject.kind == "sentences":
            latent = network.posterior(rows.input_ids, rows.attention_mask).mean
            given: tuple[Tensor, ...] = (latent,)
            memory: Any = latent
        else:
            given = rows.source_ids, rows.source_mask
            memory = network.encode(*given)
    return (
        lambda ids: network(*given, ids),
        lambda ids: network.hidden(*given, ids),
        lambda: network.start(memory),
    )
