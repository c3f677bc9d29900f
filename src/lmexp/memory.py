"""What a training step keeps in a device's memory, estimated before anything is trained.

Shapes: V vocabulary, D model width, N positions of a micro-batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lmexp.build import build_task
from lmexp.hardware import has_bf16_instructions
from lmexp.losses import chunk_rows
from lmexp.networks.interface import Autoencoder, EncoderDecoder
from lmexp.optimizers import parameter_groups
from lmexp.recompute import recompute_blocks
from lmexp.sharding import blocks
from lmexp.targets import build

Recipe = Mapping[str, Any]
MEASURED_PARAMETERS = 300_000_000  # of a network that rows are run through; larger ones are not


class Memory(NamedTuple):
    """Bytes on a device."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    gathered: int  # of other devices' weights and gradients, where each holds a part
    loss: int
    activations: int | None  # of one micro-batch; None: not measured

    @property
    def total(self) -> int:
        """All of it."""
        return sum(count or 0 for count in self)


class ParameterCount(NamedTuple):
    """Numbers that are learned."""

    total: int
    embedding: int
    inner: int  # neither in the embedding nor in the output layer


def count_parameters(network: nn.Module) -> ParameterCount:
    """A parameter that several modules share counts once."""
    total = sum(parameter.numel() for parameter in network.parameters())
    embedding = {
        id(parameter): parameter.numel()
        for name, module in network.named_modules()
        if name.endswith("embed")  # tables of positions are inner
        for parameter in module.parameters()
    }
    of_output = [own for part in output_layers(network) for own in part.parameters()]
    outer = embedding | {id(parameter): parameter.numel() for parameter in of_output}
    return ParameterCount(total, sum(embedding.values()), total - sum(outer.values()))


def output_layers(network: nn.Module) -> list[nn.Module]:
    """What grows with the tokens or labels that are predicted."""
    layers = (getattr(network, name, None) for name in ("output", "head", "crf"))
    return [layer for layer in layers if isinstance(layer, nn.Module)]


def device_memory(
    recipe: Recipe,
    vocab: Any,
    rows: int,
    precision: str,
    allow_targets: Sequence[str] = (),
    devices: int = 1,
) -> Memory:
    """What a step keeps at once.

    Activations are those that the backward pass will need, measured with one and two rows on the
    CPU; the temporaries of single operators come on top. Every row counts as data.max_length long,
    of pairs both sides.

    Args:
        recipe: frozen and checked.
        vocab: of the tokenizer.
        rows: of a micro-batch.
        precision: as hardware.choose resolved it.
        allow_targets: packages of the user's own.
        devices: that train; with trainer.strategy=fsdp they share weights and what belongs to them.
    """
    with torch.device("meta"):
        network = build_task(recipe, vocab, None, allow_targets).network
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
    total, length = count_parameters(network).total, recipe["data"]["max_length"]
    parts = devices if recipe["trainer"]["strategy"] == "fsdp" else 1
    trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    weights, gradients = dtype.itemsize * total, dtype.itemsize * trained
    of_optimizer = optimizer_bytes(network, recipe["optimizer"], dtype, allow_targets)
    average = 4 * trained if recipe["task"].get("ema_decay") is not None else 0  # kept in float32
    output = getattr(network, "output", None)  # what labels is too small to count
    activations = None
    if total <= MEASURED_PARAMETERS:
        real = build_task(recipe, vocab, None, allow_targets).network
        if recipe["trainer"]["activation_checkpointing"]:
            recompute_blocks(real)
        activations = _activation_bytes(real, rows, length, precision)
    mine, of_gradients, of_optimizer, average = (
        -(-n // parts) for n in (weights, gradients, of_optimizer, average)
    )
    return Memory(
        weights=mine,
        gradients=of_gradients,
        optimizer=of_optimizer,
        average=average,
        gathered=gathered_bytes(network, dtype) if parts > 1 else 0,
        loss=0 if output is None else loss_bytes(output.weight.shape, rows * length, precision),
        activations=activations,
    )


def gathered_bytes(network: nn.Module, dtype: torch.dtype) -> int:
    """What a device holds beside its part of a shared network (sharding).

    Weights: those outside of all blocks, the largest block's, and the next one's, which is fetched
    meanwhile. Gradients: those outside, and the largest block's.
    """
    of_blocks = [sum(parameter.numel() for parameter in b.parameters()) for b in blocks(network)]
    outside = count_parameters(network).total - sum(of_blocks)
    return dtype.itemsize * (2 * outside + 3 * max(of_blocks, default=0))


def loss_bytes(output: Sequence[int], positions: int, precision: str) -> int:
    """What losses.projected_nll keeps from its forward to its backward pass, and one chunk of it.

    The gradients by output matrix, in float32, and by hidden states; where products take 16 bits
    and weights do not, a copy of the matrix; logits and probabilities of a chunk, and, in 16 bits,
    the latter again.

    Args:
        output: (V, D), the shape of the output matrix.
        positions: N.
        precision: of the run.
    """
    vocab_size, d_model = output
    product = 4 if precision == "32-true" else 2
    dtype = torch.float16 if precision == "16-mixed" else torch.float32
    chunk = min(positions, chunk_rows(vocab_size, dtype)) * vocab_size
    copies = 4 + (product if precision in ("bf16-mixed", "16-mixed") else 0)
    a_logit = product + 4 + (product if product < 4 else 0)
    return copies * vocab_size * d_model + product * positions * d_model + a_logit * chunk


def optimizer_bytes(
    network: nn.Module, section: Recipe, dtype: torch.dtype, allow_targets: Sequence[str] = ()
) -> int:
    """What an optimizer remembers of a network's parameters, which may be on the meta device.

    Learned from a step with a parameter of four numbers a dimension in the place of each group's,
    as a group is what optimizers treat alike: Muon keeps one number for each of a hidden matrix,
    two for others. Exact where an optimizer remembers so many numbers a parameter, as all here do.
    """
    groups = parameter_groups(network)
    small = [
        nn.Parameter(torch.ones((4,) * group["params"][0].ndim, dtype=dtype)) for group in groups
    ]
    optimizer = build(
        section,
        allow_targets,
        params=[
            {**group, "params": [parameter]} for group, parameter in zip(groups, small, strict=True)
        ],
    )
    for parameter in small:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = 0
    for group, parameter in zip(groups, small, strict=True):
        values = optimizer.state[parameter].values()
        states = [value for value in values if isinstance(value, Tensor) and value.ndim]
        share = sum(state.numel() * state.element_size() for state in states) / parameter.numel()
        kept += round(share * sum(one.numel() for one in group["params"]))
    return kept


def _activation_bytes(network: Any, rows: int, length: int, precision: str) -> int:
    """Bytes that the network's forward pass keeps for the backward pass, weights aside.

    What does not grow with the rows, such as copies of the weights in 16 bits, counts once. On a
    CPU without bfloat16 instructions measured in float32: at most twice too much.
    """
    one, two = (_kept(network, count, length, precision) for count in (1, 2))
    return one + (rows - 1) * (two - one)


def _kept(network: Any, rows: int, length: int, precision: str) -> int:
    ours = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage  # alive, so that no other takes its place
        return tensor

    reduced = precision != "32-true" and has_bf16_instructions()
    ids = torch.zeros(rows, length, dtype=torch.int64)
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=reduced),
    ):
        mask = torch.ones_like(ids, dtype=torch.bool)
        if isinstance(network, EncoderDecoder):
            network.hidden(ids, mask, ids)
        elif isinstance(network, Autoencoder):
            network.hidden(network.posterior(ids, mask).mean, ids, mask)
        else:
            read = network.hidden if hasattr(network, "hidden") else network.encoder
            read(ids, mask)
    return sum(storage.nbytes() for storage in kept.values())
