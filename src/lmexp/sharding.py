"""A network shared out among ranks: each holds a part of every parameter (FSDP2).

Rajbhandari et al. 2020 (ZeRO, stage 3), by torch's fully_shard. Weights are gathered where they are
read: those of a block while it works, those outside of all blocks from the first use in a step to
its last; gradients are added up in parts. The optimizer and the average see this rank's parts
alone, as plain tensors. That is right for what treats each element by itself (rules.ELEMENTWISE).

Every rank has to call `hidden` of the network as often as the others, and each block as often
within: each call waits for them. Decoding, of which ranks have more or less to do, is done in
`gathered()`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer

from lmexp.recompute import stacked_layers

T = TypeVar("T")
WAYS_IN = ("hidden", "hidden_carried", "posterior")  # into a network, of training and evaluation


def blocks(network: nn.Module) -> list[nn.Module]:
    """The stacked layers that are sharded by themselves: those that have parameters.

    torch's recurrent layers are not among them: they are called once for each stretch of documents
    (networks.segments), of which ranks have more or less.
    """
    return [
        layer
        for layer in stacked_layers(network)
        if not isinstance(layer, nn.RNNBase) and any(True for _ in layer.parameters())
    ]


def ways_in(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Modules and their methods that training and evaluation go through, for torch.compile.

    Where a task has put something on an encoder, which it hands a batch, that is the encoder.
    """
    named: list[tuple[nn.Module, str]]
    named = [(network, name) for name in WAYS_IN if hasattr(network, name)]
    return named or [(getattr(network, "encoder", network), "forward")]


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Leave this rank its part of every parameter, on its device.

    Args:
        network: the same on all ranks.
        mesh: of one dimension.
    """
    units: list[Any] = blocks(network)
    for block in units:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(network, mesh=mesh, reshard_after_forward=False)  # the loss reads output.weight
    # By itself torch would gather ahead what came before in the forward passes since the last
    # backward pass, decoding included, which ranks do for more or fewer steps.
    units.append(network)
    for before, module in zip([units[0], *units], units, strict=False):
        module.set_modules_to_backward_prefetch([before])
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the sum, not the mean
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot multiply beforehand
    names = [name for name in WAYS_IN if hasattr(network, name)]
    calls = [_way_in(network, name) for name in names]
    is_inside = [False]
    for name, (plain, hooked) in zip(names, calls, strict=True):
        setattr(network, name, _outermost(plain, hooked, is_inside))


def _way_in(network: nn.Module, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    plain = getattr(network, name)
    register_fsdp_forward_method(network, name)
    return plain, getattr(network, name)


def _outermost(
    plain: Callable[..., T], hooked: Callable[..., T], is_inside: list[bool]
) -> Callable[..., T]:
    """One way into a network may lead through another: the hooks are for the outermost alone."""

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> T:
        if is_inside[0]:
            return plain(*args, **kwargs)
        is_inside[0] = True
        try:
            return hooked(*args, **kwargs)
        finally:
            is_inside[0] = False

    return call


class Shards:
    """This rank's part of a network that `shard` has cut.

    In the place of a gradient_sum.GradientSum it leaves each part the sum of all ranks' gradients,
    over all backward passes since the last finish().

    Args:
        network: cut.
        is_first: whether this rank is the one that keeps what is gathered.
        saves_parts: nothing is gathered to be saved: what is to be whole stands for itself, as a
            DTensor, on all ranks (checkpoint_parts writes it).
    """

    def __init__(self, network: Any, *, is_first: bool, saves_parts: bool = False) -> None:
        self._network = network
        self._is_first, self._saves_parts = is_first, saves_parts
        self._saves = is_first or saves_parts
        self._modules: list[Any] = [m for m in network.modules() if isinstance(m, FSDPModule)]
        self._cut: dict[str, Any] = dict(network.named_parameters())  # DTensors
        self.parts: dict[str, nn.Parameter] = {
            name: nn.Parameter(_local(cut), requires_grad=cut.requires_grad)
            for name, cut in self._cut.items()
        }
        self._cut_of = {id(part): self._cut[name] for name, part in self.parts.items()}
        self._part_of = {id(self._cut[name]): part for name, part in self.parts.items()}

    def begin(self) -> None:
        """Do nothing: FSDP sums after each backward pass.

        To wait for the last one would leave whole gradients on every rank.
        """

    def finish(self) -> None:
        """Hand the sums over to the parts."""
        for name, cut in self._cut.items():
            self.parts[name].grad = None if cut.grad is None else cut.grad.to_local()
            cut.grad = None

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """An optimizer's groups of parameters, with the parts of this rank in their place."""
        return [
            {**group, "params": [self._part_of[id(cut)] for cut in group["params"]]}
            for group in groups
        ]

    def reshard(self) -> None:
        """Forget what was gathered: the parts are about to change, or to be read."""
        for module in self._modules:
            module.reshard()

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """All ranks hold the whole network meanwhile, and none waits for another.

        Every rank has to come here; what the network's parameters are must not change within.
        """
        for module in self._modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            self.reshard()
            for module in self._modules:
                is_block = module is not self._network
                module.set_reshard_after_forward(is_block, recurse=False)

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors like this rank's parts, by parameter -> as a checkpoint takes them.

        Whole, on the CPU of the first rank; with saves_parts DTensors, on every rank. Every rank
        has to come here; one that saves nothing gets {}.
        """
        found = {name: self._to_save(part, self._cut[name]) for name, part in parts.items()}
        return found if self._saves else {}

    def mine(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by parameter -> this rank's parts of them, as copies."""
        return {name: _part(tensor, self._cut[name]) for name, tensor in whole.items()}

    def state_dict(self, module: nn.Module) -> dict[str, Any]:
        """What module.state_dict(), of the network or of what holds it, would be uncut.

        With tensors as whole() gives them; every rank has to come here.

        Parameters that stand under several names are one tensor under all of them.
        """
        self.reshard()
        state = module.state_dict(keep_vars=True)
        done: dict[int, Tensor] = {}
        for value in state.values():
            if isinstance(value, DTensor) and id(value) not in done:
                done[id(value)] = self._to_save(value.to_local(), value)
        if not self._saves:
            return {}
        return {name: done.get(id(value), value.detach()) for name, value in state.items()}

    @torch.no_grad()
    def load_state_dict(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Take this rank's parts out of the whole state of a module that holds the network."""
        self.reshard()
        for name, value in module.state_dict(keep_vars=True).items():
            if isinstance(value, DTensor):
                self._part_of[id(value)].copy_(_part(state[name], value))
            else:
                value.copy_(state[name])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """What optimizer.state_dict() would be uncut, with tensors as whole() gives them."""
        state = optimizer.state_dict()
        parts = _parameters(optimizer)
        whole = {
            index: {
                name: self._to_save(value, self._cut_of[id(parts[index])])
                if torch.is_tensor(value) and value.shape == parts[index].shape
                else value
                for name, value in values.items()
            }
            for index, values in sorted(state["state"].items())
        }
        return {**state, "state": whole} if self._saves else {}

    def load_optimizer_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Take this rank's parts out of a whole state."""
        cuts = [self._cut_of[id(part)] for part in _parameters(optimizer)]
        mine = {
            index: {
                name: _part(value, cuts[index])
                if torch.is_tensor(value) and value.shape == cuts[index].shape
                else value
                for name, value in values.items()
            }
            for index, values in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": mine})

    def _to_save(self, part: Tensor, cut: Any) -> Tensor:
        part, mesh = part.detach(), cut.device_mesh
        if self._saves_parts:
            return DTensor.from_local(
                part, mesh, cut.placements, shape=cut.shape, stride=cut.stride()
            )
        # Not DTensor.full_tensor(): a run hung once, on gloo, while a checkpoint was gathered so.
        rows = -(-len(cut) // mesh.size())
        mine = part.new_zeros(rows, *part.shape[1:])
        mine[: len(part)] = part
        whole = part.new_empty(mesh.size() * rows, *part.shape[1:])
        distributed.all_gather(list(torch.split(whole, rows)), mine, group=mesh.get_group())
        whole = whole[: len(cut)].clone()
        return whole.cpu() if self._is_first else whole.new_empty(0)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    """In the order in which its state_dict() numbers them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _local(cut: Any) -> Tensor:
    part: Tensor = cut.detach().to_local()
    return part


def _part(whole: Tensor, cut: Any) -> Tensor:
    """The rows that torch.chunk gives this rank, as fully_shard does; a copy."""
    assert cut.placements == (Shard(0),)
    chunks = whole.chunk(cut.device_mesh.size())
    rank = cut.device_mesh.get_local_rank()
    return (chunks[rank] if rank < len(chunks) else whole[:0]).clone()
