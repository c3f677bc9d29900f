"""An exponential moving average of a network's parameters (Polyak & Juditsky 1992)."""

import torch
from torch import Tensor, nn

from lmexp.sharding import Shards


class ParameterAverage:
    """average <- decay * average + (1 - decay) * parameter after every optimizer step, in float32.

    Args:
        network: whose trainable parameters are averaged; the average begins as a copy of them.
        decay: in (0, 1). Early on the smaller (1 + steps) / (10 + steps) is used, as in
            TensorFlow's ExponentialMovingAverage, so that the random start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._kept: dict[str, Tensor] = {}
        self._shards: Shards | None = None
        self._parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().float().clone() for n, p in self._parameters.items()}

    @torch.no_grad()
    def begin(self) -> None:
        """Begin again, as a copy of the parameters: they were loaded since this was built."""
        for name, parameter in self._parameters.items():
            self.average[name].copy_(parameter)

    @torch.no_grad()
    def update(self) -> None:
        """Take one step's parameters into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = [parameter.detach().float() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1.0 - decay)
        self.steps += 1

    def follow(self, shards: Shards | None = None) -> None:
        """Move to where the network's parameters are now: to a device, or into parts."""
        if shards is not None and self._shards is None:
            self._shards = shards
            self.average = shards.mine(self.average)
            self._parameters = {name: shards.parts[name] for name in self.average}
        for name, parameter in self._parameters.items():
            self.average[name] = self.average[name].to(parameter.device)

    def put_in(self) -> None:
        """From now on the network holds the average, until put_back."""
        self._kept = {n: p.detach().clone() for n, p in self._parameters.items()}
        self._copy(self.average)

    def put_back(self) -> None:
        """The network holds its own parameters again, bitwise; nothing to do without put_in."""
        self._copy(self._kept)
        self._kept = {}

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        if self._shards is not None:
            self._shards.reshard()
        for name, value in values.items():
            self._parameters[name].copy_(value)

    def state(self) -> dict[str, Tensor | int]:
        """The averages by parameter name and the number of steps; of parts, on the first rank."""
        average = self.average if self._shards is None else self._shards.whole(self.average)
        return {**average, "": self.steps}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Go on from a saved state."""
        self.steps = int(state[""])
        saved = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        if self._shards is not None:
            saved = self._shards.mine(saved)
        for name, average in self.average.items():
            average.copy_(saved[name])
