"""The sum of all ranks' gradients, formed while the last backward pass of a step goes on.

Li et al. 2020 (PyTorch Distributed), section 3.2: parameters are put into buckets in the reverse of
their order, and a bucket is sent as soon as its gradients are there. torch's own wrapper cannot
serve here: it forms the buckets anew after the first step of a session, so that a resumed run would
add in another order than an uninterrupted one; it needs to be told of unused parameters; and a rank
that runs out of memory amid its backward pass leaves the others waiting for ever.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

BUCKET_BYTES = 25 << 20  # as torch's wrapper: large enough for the bandwidth, small enough to begin


@dataclass
class _Bucket:
    parameters: list[nn.Parameter]
    left: int = 0  # gradients that are not there yet
    sent: Tensor | None = None  # the gradients, flat, and for each parameter whether it has one
    work: Any = None


class GradientSum:
    """Adds the gradients of some parameters up over all ranks.

    A parameter that no rank has a gradient for keeps none.

    Args:
        parameters: in the same order on all ranks.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._buckets = [_Bucket(group) for group in _grouped(list(parameters))]
        self._bucket_of = {id(p): bucket for bucket in self._buckets for p in bucket.parameters}
        self._next = 0  # the first bucket that was not sent; the order is the same on all ranks
        self._is_begun = False
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._came)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """The backward pass that follows is the step's last one."""
        self._next = 0
        self._is_begun = True
        for bucket in self._buckets:
            bucket.left = len(bucket.parameters)

    def _came(self, parameter: nn.Parameter) -> None:
        if not self._is_begun:
            return
        bucket = self._bucket_of[id(parameter)]
        bucket.left -= 1
        if bucket.left < 0:
            raise RuntimeError(
                "a gradient came twice in one backward pass, the second time after it was sent: "
                "checkpoint activations with use_reentrant=False"
            )
        while self._next < len(self._buckets) and self._buckets[self._next].left == 0:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[self._next]
        gradients = [parameter.grad for parameter in bucket.parameters]
        there = [float(gradient is not None) for gradient in gradients]
        parts = [
            torch.zeros_like(parameter).view(-1) if gradient is None else gradient.reshape(-1)
            for parameter, gradient in zip(bucket.parameters, gradients, strict=True)
        ]
        bucket.sent = torch.cat([*parts, parts[0].new_tensor(there)])
        for parameter in bucket.parameters:
            parameter.grad = None  # a copy of all gradients would take as much as the weights
        bucket.work = distributed.all_reduce(bucket.sent, async_op=True)
        self._next += 1  # not before: there may be too little memory for the copy

    def finish(self) -> None:
        """Send what is left, and put the sums in the gradients' place.

        Every rank must come here, one whose backward pass failed too, before `begin` even.
        """
        if not self._is_begun:
            self.begin()
        while self._next < len(self._buckets):
            self._send()
        for bucket in self._buckets:
            bucket.work.wait()
            assert bucket.sent is not None
            count = len(bucket.parameters)
            there = bucket.sent[-count:].tolist()
            sizes = [parameter.numel() for parameter in bucket.parameters]
            parts = torch.split(bucket.sent[:-count], sizes)
            for parameter, part, ranks in zip(bucket.parameters, parts, there, strict=True):
                if ranks:
                    parameter.grad = part.view_as(parameter)
            bucket.sent = bucket.work = None
        self._is_begun = False


def _grouped(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one type and device, last first, until their gradients fill a bucket."""
    group: list[nn.Parameter] = []
    size = 0
    for parameter in reversed(parameters):
        kind = parameter.dtype, parameter.device
        is_other = bool(group) and kind != (group[0].dtype, group[0].device)
        if is_other or size >= BUCKET_BYTES:
            yield group
            group, size = [], 0
        group.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if group:
        yield group
