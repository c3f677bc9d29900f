"""Linear layers whose matrix is laid out once for the CPU's matrix kernels.

A step of generation multiplies a few rows with every matrix of the network, and its time is that
of reading them. oneDNN is done with a matrix in its own blocked order in 0.55 of the time that
nn.Linear takes for 1 row and 0.48 for 16 (float32, 384 to 8,000 rows and columns, 2 cores).
"""

import torch
from torch import Tensor, nn


class PrepackedLinear(nn.Linear):
    """A linear layer for inference: the same weights, and a second copy in oneDNN's order.

    Args:
        linear: what it stands for; its parameters are shared.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        # the operators that torch.compile puts in place of nn.Linear; there are no public ones
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return y


def can_prepack(network: nn.Module) -> bool:
    """Whether all parameters are on a CPU for which torch has oneDNN, in a dtype it multiplies."""
    if not torch._C._has_mkldnn:
        return False
    kinds = {(parameter.device.type, parameter.dtype) for parameter in network.parameters()}
    can = {("cpu", torch.float32)}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        can.add(("cpu", torch.bfloat16))
    return kinds <= can


def prepack(network: nn.Module) -> None:
    """Replace every linear layer of a network that will only generate, in place.

    Results change by rounding alone. Afterwards the network can be neither trained nor cast, nor
    run under autocast. Elsewhere than on a CPU with oneDNN nothing is done.
    """
    if not can_prepack(network):
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, PrepackedLinear(child))
