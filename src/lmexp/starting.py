"""The weights and the tokenizer that a new run begins with, where it does not begin from nothing.

They are read once, before the first step; a run that is resumed has both in its own checkpoint.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmexp import checkpoint as checkpoints
from lmexp import tokenizers
from lmexp.build import build_data
from lmexp.loading import find_checkpoint
from lmexp.targets import build
from lmexp.tokenizers import LabelledTokenizer, PairTokenizer

Recipe = Mapping[str, Any]
SHOWN = 4  # groups of names in a report
OF_LABELS = ("head", "crf")  # layers of a network that mean nothing without their labels
ADAPTED = ".base_layer."  # in the names of a layer that LoRA has wrapped


class Start(NamedTuple):
    """What a run begins with."""

    source: str  # as it is reported
    tokenizer: Any
    tensors: Callable[[nn.Module], Mapping[str, Tensor]]  # by their names in a network
    labels: tuple[str, ...] | None = None  # that it predicts; None: none


def start_of(recipe: Recipe, allow_targets: Sequence[str] = ()) -> Start | None:
    """What the recipe says its run begins with; None: drawn weights, a tokenizer to be fitted.

    Raises:
        FileNotFoundError: the run has no checkpoint, or the pretrained model is not there.
        ValueError: the checkpoint is damaged, or of another model than the recipe's; the pretrained
            model's files are not what they should be.
    """
    if recipe["init_from"] is not None:
        return _of_run(recipe)
    architecture = build(recipe["model"], allow_targets)
    if not getattr(architecture, "brings_vocabulary", False):
        return None
    architecture.check_config()
    config = architecture.settings
    begins = config.get("decoder_start_token_id") if config.get("is_encoder_decoder") else None
    tokenizer = tokenizers.Pretrained.read(architecture.folder(), architecture.path, begins)
    without = tokenizer.missing
    return Start(
        f"model.path={architecture.path}"
        + (f" (no row for {', '.join(without)}: the mean of the others)" if without else ""),
        tokenizer,
        lambda network: architecture.tensors(network, tokenizer.rows),
    )


def _of_run(recipe: Recipe) -> Start:
    path = find_checkpoint(recipe["init_from"])
    saved = checkpoints.read(path)
    for name in ("model", "tokenizer"):
        if saved["recipe"].get(name) != recipe[name]:
            raise ValueError(
                f"init_from={recipe['init_from']}: {path} is of {name}="
                f"{saved['recipe'].get(name)}, and the recipe of {name}={recipe[name]}: freeze the "
                "recipe anew with train.py"
            )
    had, has = ((content.get("tuning") or {}) for content in (saved["recipe"], recipe))
    if had.get("rank") is not None and had != has:
        raise ValueError(
            f"init_from={recipe['init_from']}: it trained adapters, tuning={had}, which belong to "
            f"its weights, and this run has tuning={has}: write the same tuning"
        )
    inner = {
        name.removeprefix("network."): tensor
        for name, tensor in saved["state_dict"].items()
        if name.startswith("network.")
    }
    average = saved["training"].get("average") or {}
    means = {name: value for name, value in average.items() if isinstance(value, Tensor)}
    what = "the average of weights" if means else "weights"
    steps = f"{what} after step {saved['training']['steps_done']:,}"
    tokenizer = tokenizers.from_state(saved["tokenizer"])
    return Start(
        f"init_from={recipe['init_from']} ({path.name}, {steps})",
        tokenizer,
        lambda _: inner | means,
        getattr(tokenizer, "labels", None),
    )


def data_of(recipe: Recipe, start: Start | None, allow_targets: Sequence[str] = ()) -> Any:
    """The data module, not yet prepared: with the tokenizer that comes with the weights, if any.

    Raises:
        ValueError: the module wants it otherwise than it is.
    """
    if start is None:
        return build_data(recipe, build(recipe["tokenizer"], allow_targets), allow_targets)
    given = start.tokenizer  # its labels are those of other texts: they are numbered anew
    given = given.text if isinstance(given, LabelledTokenizer) else given
    data = build_data(recipe, given, allow_targets)
    if hasattr(data, "language_tags"):
        data.tokenizer = _of_pairs(given, data)
    elif isinstance(given, PairTokenizer):
        data.tokenizer = given.source  # of texts that fit others: one tokenizer for both sides
    return data


def _of_pairs(given: Any, data: Any) -> PairTokenizer:
    if not isinstance(given, PairTokenizer):
        given = PairTokenizer(given, given)
    if data.joint != given.is_joint:
        own = "one tokenizer for both sides" if given.is_joint else "a tokenizer for each side"
        raise ValueError(
            f"data.joint={str(data.joint).lower()}: the weights come with {own}: write "
            f"data.joint={str(given.is_joint).lower()}"
        )
    asked, tags = ",".join(data.language_tags), ",".join(given.tags)
    if asked != tags:
        raise ValueError(
            f"data.language_tags=[{asked}]: the tokenizer that comes with the weights has tags of "
            f"[{tags}]: write data.language_tags=[{tags}]"
        )
    to = data.corpus.languages[1] if tags else None
    return PairTokenizer(given.source, given.target, to)


@torch.no_grad()
def put_in(task: Any, start: Start) -> list[str]:
    """Give the task's network the tensors whose names and shapes agree; a report of some lines.

    Layers that are of labels are left out, unless the labels are the same.

    Raises:
        ValueError: none agrees.
    """
    network: nn.Module = task.network
    own = {
        name.replace(ADAPTED, "."): tensor
        for name, tensor in network.state_dict(keep_vars=True).items()
    }
    theirs = {name.replace(ADAPTED, "."): t for name, t in start.tensors(network).items()}
    is_known = getattr(task.vocab, "labels", None) == start.labels
    found = [
        name
        for name, tensor in own.items()
        if name in theirs and theirs[name].shape == tensor.shape
        if is_known or name.split(".")[0] not in OF_LABELS
    ]
    if not found:
        raise ValueError(
            f"{start.source}: no tensor of it has name and shape of one of the network: it has "
            f"{shortened(theirs)}; the network has {shortened(own)}"
        )
    filled: set[int] = set()
    for name in found:  # a tensor of several names by its first, the one that an average knows
        if id(own[name]) not in filled:
            own[name].copy_(theirs[name])
            filled.add(id(own[name]))
    if task.average is not None:
        task.average.begin()
    new = [name for name, tensor in own.items() if id(tensor) not in filled]
    left = [name for name in theirs if name not in found]
    return [
        f"{start.source}: {len(own) - len(new)} of the network's {len(own)} tensors loaded: "
        f"{shortened(n for n in own if n not in new)}",
        f"new: {shortened(new)}; left: {shortened(left)}",
    ]


def shortened(names: Iterable[str]) -> str:
    """`encoder (52), pair (2)`: by their first part, the largest groups first."""
    counts = Counter(name.partition(".")[0] for name in names)
    shown = [f"{part} ({count})" for part, count in counts.most_common(SHOWN)]
    others = sum(counts.values()) - sum(count for _, count in counts.most_common(SHOWN))
    return ", ".join(shown + ([f"{others} others"] if others else [])) or "nothing"
