"""A checkpoint there and back, and torch.compile."""

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lmexp import checkpoint as checkpoints
from lmexp import tokenizers
from lmexp.checks.invariance import OTHER_SHAPE, unable
from lmexp.checks.outcome import Outcome, failed, not_applicable, passed
from lmexp.checks.outputs import distance
from lmexp.sharding import ways_in

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject


def save_and_load(subject: "Subject") -> Outcome:
    """A checkpoint gives the same outputs, bit for bit, in a network that was drawn otherwise."""
    if (reason := unable(subject)) is not None:
        return reason
    saved = {
        "state_dict": subject.moved.state_dict(),
        "recipe": dict(subject.recipe),
        "tokenizer": subject.data.tokenizer.state(),
        "data_hash": subject.data.data_hash,
        "training": {},
    }
    with tempfile.TemporaryDirectory(prefix="lmexp-") as folder:
        path = Path(folder, "check.ckpt")
        checkpoints.save(saved, path)
        read = checkpoints.read(path)
    other = subject.built({**subject.recipe, "seed": subject.recipe["seed"] + 1})
    other.load_state_dict(read["state_dict"])
    tokenizer = tokenizers.from_state(read["tokenizer"])
    if tokenizer.hash() != subject.data.tokenizer.hash():
        return failed(
            "The tokenizer comes back from a checkpoint as another one.",
            "state() leaves out something that restore() or the constructor needs.",
        )
    batch = subject.examples
    pairs = zip(
        subject.outputs(batch, subject.network),
        subject.outputs(batch, other.network),
        strict=True,
    )
    if all(torch.equal(one.values, two.values) for one, two in pairs):
        return passed("A network loaded from a checkpoint gives the same outputs, bit for bit.")
    return failed(
        "A network loaded from a checkpoint gives other outputs than the one that was saved.",
        "Something that it computes with is not in its state_dict: layers in a plain list (use "
        "nn.ModuleList), a tensor that is no nn.Parameter and no register_buffer, or a buffer with "
        "persistent=False that is drawn anew.",
    )


def compiled(subject: "Subject") -> Outcome:
    """torch.compile gives the same outputs."""
    if not subject.compiles:
        return not_applicable(
            "Skipped, because compiling takes half a minute or more on a CPU: --compile does it."
        )
    if (reason := unable(subject)) is not None:
        return reason
    network = copy.deepcopy(subject.network)
    for module, name in ways_in(network):
        setattr(module, name, torch.compile(getattr(module, name)))
    batch = subject.examples
    found = [[o.values for o in subject.outputs(batch, own)] for own in (subject.network, network)]
    apart = distance(*found)
    if apart <= OTHER_SHAPE:
        return passed("torch.compile gives the outputs of the network as it is written.")
    return failed(
        f"torch.compile gives other outputs, by {apart:.1e} of the largest.",
        "Python values that change from call to call, in-place changes of inputs or views, or a "
        "bug of torch: leave trainer.compile=false.",
        change=apart,
    )
