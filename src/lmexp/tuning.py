"""Which weights of a network are trained, and how fast: all alike, the upper ones, or adapters.

A network is a backbone of embeddings and stacked layers, and the heads of its task. Depth 0 are the
embeddings, 1 is the first layer; what comes after the last one, heads included, is deeper still.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from torch import nn

from lmexp.ema import ParameterAverage
from lmexp.networks.interface import Encoder

LORA = "lora_"  # in the names of adapters' weights


@dataclass(frozen=True)
class Tuning:
    """What is trained; nulls train everything at one rate.

    Args:
        freeze_layers: the embeddings and so many layers stay as they are, of each side of an
            encoder-decoder; 0: the embeddings alone; None: all are trained.
        layer_decay: the learning rate of a layer is that of the layer above times this (Howard &
            Ruder 2018, section 3.2, with 1 / 2.6; Clark et al. 2020, appendix B, with 0.8).
        rank: r of LoRA (Hu et al. 2022, section 4.1): the layers' matrices stay as they are, and
            each gets an update of that rank; embeddings and norms stay too; heads are trained.
            None: no adapters.
        alpha: the update is multiplied by alpha / rank.
        targets: the last parts of the names of the matrices that get one; None: all in the layers.

    Raises:
        ValueError: freeze_layers and rank are both given.
    """

    freeze_layers: Annotated[int, Ge(0)] | None
    layer_decay: Annotated[float, Gt(0), Le(1)] | None
    rank: Annotated[int, Gt(0)] | None
    alpha: Annotated[int, Gt(0)]
    targets: list[str] | None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.rank is not None and self.freeze_layers is not None:
            raise ValueError(
                f"rank={self.rank} and freeze_layers={self.freeze_layers}: LoRA leaves all layers "
                "as they are: write one of them as null"
            )

    def apply(self, task: Any) -> None:
        """Let a task train what this says; before its weights are loaded.

        Raises:
            ValueError: the network has too few layers, or none of the targets.
        """
        task.layer_decay = self.layer_decay
        if self.layer_decay is not None or self.freeze_layers is not None:
            self._freeze(task.network)
        if self.rank is not None:
            self._adapt(task.network)
        is_partial = self.rank is not None or self.freeze_layers is not None
        if is_partial and task.average is not None:
            task.average = ParameterAverage(task.network, task.average.decay)

    def _freeze(self, network: nn.Module) -> None:
        found = depths(network)
        top = max(found.values())
        if top <= 1:
            raise ValueError(
                f"tuning: {type(network).__name__} has no nn.ModuleList of layers: write "
                "tuning.freeze_layers=null and tuning.layer_decay=null"
            )
        if self.freeze_layers is None:
            return
        if self.freeze_layers >= top:
            raise ValueError(
                f"tuning.freeze_layers={self.freeze_layers}: the network has {top - 1} layers: "
                f"write at most {top - 1}"
            )
        for name, parameter in network.named_parameters():
            if found[name] <= self.freeze_layers:
                parameter.requires_grad_(False)

    def _adapt(self, network: nn.Module) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        matrices = dict(_matrices(network))
        last = {name.rpartition(".")[2] for name in matrices}
        unknown = set(self.targets or ()) - last
        chosen = [n for n in matrices if not self.targets or n.rpartition(".")[2] in self.targets]
        if unknown or not chosen:
            raise ValueError(_no_target(self.targets, sorted(last)))
        assert self.rank is not None
        is_turned = any(not isinstance(matrices[name], nn.Linear) for name in chosen)
        heads = [p for name, p in network.named_parameters() if not _is_of_backbone(network, name)]
        settings = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=chosen,
            fan_in_fan_out=is_turned,
        )
        inject_adapter_in_model(settings, network)
        for parameter in heads:
            parameter.requires_grad_(True)


def _no_target(targets: Sequence[str] | None, names: Sequence[str]) -> str:
    asked = f"tuning.targets={'null' if targets is None else '[' + ','.join(targets) + ']'}"
    if not names:
        return f"{asked}: the network's layers have no matrix that LoRA adapts: write tuning=full"
    return (
        f"{asked}: the layers have matrices of other names: write tuning.targets=[…] with some of "
        f"{', '.join(names)}"
    )


def _backbone(network: nn.Module) -> str:
    """The prefix of its parameters' names: an encoder below heads, or the whole network."""
    return "encoder." if isinstance(getattr(network, "encoder", None), Encoder) else ""


def _is_of_backbone(network: nn.Module, name: str) -> bool:
    return name.startswith(_backbone(network))


def _matrices(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The linear maps within the layers of the backbone; GPT-2 writes them as Conv1D."""
    stacks = [f"{name}." for name in stacks_of(network)]
    for name, module in network.named_modules():
        is_map = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
        if is_map and any(name.startswith(stack) for stack in stacks):
            yield name, module


def stacks_of(network: nn.Module) -> list[str]:
    """Names of the outermost nn.ModuleLists of the backbone."""
    found: list[str] = []
    for name, module in network.named_modules():
        is_list = isinstance(module, nn.ModuleList) and _is_of_backbone(network, name)
        if is_list and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return found


def depths(network: nn.Module) -> dict[str, int]:
    """The depth of each parameter by its name."""
    stacks, modules = stacks_of(network), dict(network.named_modules())
    top = 1 + max((len(modules[stack]) for stack in stacks), default=0)
    found: dict[str, int] = {}
    is_before = True  # the first layer
    for name, _ in network.named_parameters():
        stack = next((own for own in stacks if name.startswith(f"{own}.")), None)
        if stack is not None:
            found[name] = 1 + int(name.removeprefix(f"{stack}.").partition(".")[0])
            is_before = False
        elif not _is_of_backbone(network, name) or "final" in name:
            found[name] = top
        else:
            found[name] = 0 if is_before or "embed" in name else top
    return found
