"""What a network has to do before it is worth a run: guess evenly at first, and learn a little."""

import copy
import math
from typing import TYPE_CHECKING, Any

from lmexp.checks.guesses import uniform_loss
from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.checks.rows import apart, length, together

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

TOLERANCE = 0.5  # nats: about what logits of standard deviation 1 add
RELATIVE_TOLERANCE = 0.1  # where many predictions make one, such as labels of which several hold
SPREAD_OF_MATCHES = 0.15  # standard deviation of cosines of drawn vectors, generously
LOSS_TOKENS = 2_048  # read for the first loss
LOSS_ROWS = 64
LATEST_WARMUP = 0.5  # of a run
LOOKS = 1_000  # at a schedule


def _first_rows(batch: Any) -> Any:
    """As many rows as are read in a second or so."""
    rows, chosen, tokens = apart(batch), list[Any](), 0
    for row in rows[:LOSS_ROWS]:
        tokens += length(row)
        if chosen and tokens > LOSS_TOKENS:
            break
        chosen.append(row)
    return together(chosen)


def initial_loss(subject: "Subject") -> Outcome:
    """Near what a uniform guess gives."""
    if not subject.is_readable:
        return not_applicable("The task or its batches are of a kind of your own.")
    if subject.start is not None:
        return not_applicable(f"The weights are not drawn: {subject.start.source}.")
    batch = _first_rows(subject.batch)
    loss, uniform = subject.mean_loss(subject.task, batch), uniform_loss(subject, batch)
    allowed, why = max(TOLERANCE, RELATIVE_TOLERANCE * uniform), "a draw of usual size adds less"
    if subject.kind == "matches":
        spread = SPREAD_OF_MATCHES / subject.task.temperature
        allowed, why = allowed + spread**2 / 2, "cosines spread, and the temperature divides them"
    says = (
        f"The first loss is {loss:.3f} nats, a uniform guess {uniform:.3f}; {allowed:.2f} apart "
        f"is allowed ({why})."
    )
    figures = {"loss": loss, "uniform": uniform, "tolerance": allowed}
    if abs(loss - uniform) <= allowed:
        return passed(says, **figures)
    if not math.isfinite(loss):
        means = "Something divides by zero or overflows in the first forward pass."
    elif loss > uniform:
        means = (
            "The logits are too large: look at how the embedding and the output layer are drawn "
            "(an nn.Embedding with its default N(0, 1) that is tied to the output, for example) "
            "and whether a norm is missing before the output layer."
        )
    else:
        means = (
            "Better than guessing before anything is learnt: the network sees what it has to "
            "predict. Look at the labels (are they the inputs?) and at the mask."
        )
    return failed(says, means, **figures)


def eight_examples(subject: "Subject") -> Outcome:
    """Learnt by heart."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    found, count = subject.learnt, len(subject.rows)
    asked = subject.recipe["optimizer"]["lr"]
    says = (
        f"On {count} examples the loss went from {found.first:.3f} to {found.last:.3f} nats in "
        f"{found.steps} steps at a rate of {found.rate:.2g}; below {found.goal:.3f} is asked for, "
        f"and {found.blind:.3f} is had without reading."
    )
    figures = {"first": found.first, "last": found.last, "goal": found.goal, "steps": found.steps}
    figures |= {"rate": found.rate}
    if found.last < found.goal:
        if found.rate != asked:
            says += f" At the recipe's own {asked:.2g} it did not get there."
        return passed(says, **figures)
    if found.ran_out and (found.is_falling or found.last < found.blind):
        return not_applicable(f"{says} It was learning when time ran out: --seconds gives more.")
    return failed(
        says,
        "The network cannot learn what it is shown: look for weights that get no gradient "
        "(detach, no_grad, a layer outside of the optimizer), labels that do not belong to their "
        "inputs, an input that is not read; or the rate is far off: lmexp plan --find-lr.",
        **figures,
    )


def gradients(subject: "Subject") -> Outcome:
    """Every trained parameter gets one, and a finite one."""
    if not subject.is_readable or not subject.rows:
        return not_applicable("The task or its batches are of a kind of your own.")
    unused: set[str] | None = None
    for original in (subject.task, subject.learnt.task):
        task = copy.deepcopy(original)
        subject.gradient(task, subject.examples)
        trained = [(n, p) for n, p in task.network.named_parameters() if p.requires_grad]
        bad = [n for n, p in trained if p.grad is not None and not p.grad.isfinite().all()]
        if bad:
            return failed(
                f"The gradient of {_listed(bad)} is not finite.",
                "Something divides by zero, takes the root or logarithm of zero, or overflows: "
                "torch.autograd.set_detect_anomaly(True) names the operation.",
                not_finite=bad,
            )
        still = {n for n, p in trained if p.grad is None or not p.grad.any()}
        unused = still if unused is None else unused & still
    assert unused is not None
    if unused:
        return failed(
            f"No gradient reaches {_listed(sorted(unused))}.",
            "A layer that is built and never called, or whose result is thrown away or detached: "
            "look for these names in forward() and hidden().",
            unused=sorted(unused),
        )
    return passed(f"All {len(trained)} trained parameters get a finite gradient.")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown + (f" and {len(names) - 4} others" if len(names) > 4 else "")


def learning_rate(subject: "Subject") -> Outcome:
    """The schedule reaches its full rate in good time, and stays between zero and it."""
    total, schedule = subject.total_steps, subject.task.schedule
    looks = min(total, LOOKS)
    steps = [round(i * (total - 1) / max(1, looks - 1)) for i in range(looks)]
    factors = [float(schedule.factor(step)) for step in steps]
    highest = max(factors)
    name = type(schedule).__name__
    if not all(math.isfinite(f) and f >= 0 for f in factors) or not highest > 0:
        return failed(
            f"{name} gives factors from {min(factors):.3g} to {highest:.3g} on the rate.",
            "The rate has to be a positive number: look at the schedule's formula at its ends.",
        )
    reached = steps[factors.index(highest)]
    says = (
        f"{name} reaches {highest:.3g} of the rate at step {reached:,} of {total:,} and ends at "
        f"{factors[-1]:.3g}."
    )
    figures = {"highest": highest, "reached": reached, "steps": total, "last": factors[-1]}
    if total > 2 and reached > LATEST_WARMUP * (total - 1):
        return failed(
            says,
            "More than half of the run is warm-up: its length is in optimizer steps, not in "
            "samples, tokens or micro-batches; or the run is shorter than it was meant for: look "
            "at schedule.warmup_steps beside trainer.max_steps.",
            **figures,
        )
    return passed(says, **figures)
