"""Parameter groups, and Muon with AdamW for what is no hidden matrix."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import Optimizer

from lmexp.ranks import Ranks
from lmexp.tuning import depths


def parameter_groups(network: nn.Module, layer_decay: float | None = None) -> list[dict[str, Any]]:
    """Matrices with the optimizer's weight decay; biases, gains and other vectors without.

    Embeddings are matrices and decay, as in GPT-2 and nanoGPT. A parameter that several modules
    share (a tied output layer) stands once. `is_hidden_matrix` marks what Muon orthogonalises:
    matrices that are neither an embedding nor the output layer. Parameters that need no gradient
    are left out.

    Args:
        network: whose parameters are grouped.
        layer_decay: see tuning.Tuning; `lr_factor` of a group is what its rate is multiplied by.
    """
    outer = {
        id(parameter)
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding) or name.rpartition(".")[2] == "output"
        for parameter in module.parameters(recurse=False)
    }
    depth = depths(network) if layer_decay is not None else {}
    top = max(depth.values(), default=0)
    groups: dict[tuple[bool, bool, int], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2
            is_hidden = parameter.ndim == 2 and id(parameter) not in outer
            below = top - depth.get(name, top)
            groups.setdefault((is_matrix, is_hidden, below), []).append(parameter)
    return [
        {
            "params": parameters,
            "is_hidden_matrix": is_hidden,
            **({} if is_matrix else {"weight_decay": 0.0}),
            **({} if layer_decay is None else {"lr_factor": layer_decay**below}),
        }
        for (is_matrix, is_hidden, below), parameters in groups.items()
    ]


class Muon(Optimizer):
    """Muon for hidden matrices (Jordan 2024), AdamW for embeddings, output layer and vectors.

    Both are torch's own. Muon's update is rescaled to AdamW's size ("match_rms_adamw", Liu et al.
    2025, section 2.2), so that one learning rate and one weight decay serve both.

    Args:
        params: groups from parameter_groups, each with `is_hidden_matrix`.
        lr: learning rate of both.
        momentum: of Muon; 0.95 in the reference.
        weight_decay: decoupled, in both.
        betas: of AdamW.
        eps: of AdamW.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: Annotated[float, Gt(0)],
        momentum: Annotated[float, Ge(0)],
        weight_decay: Annotated[float, Ge(0)],
        betas: tuple[float, float],
        eps: Annotated[float, Gt(0)],
    ) -> None:
        groups = list(params)
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        hidden, others = self._split()
        # A template each: torch fills the groups' other settings in, once, here.
        self._muon = torch.optim.Muon(hidden, momentum=momentum, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(others, betas=betas, eps=eps)

    def _split(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        hidden = [group for group in self.param_groups if group["is_hidden_matrix"]]
        others = [group for group in self.param_groups if not group["is_hidden_matrix"]]
        if not hidden or not others:
            raise ValueError(
                f"optimizer=muon found {len(hidden)} groups of hidden matrices and {len(others)} "
                "of other parameters: it needs both; use optimizer=adamw for this network"
            )
        return hidden, others

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; Lightning's closure, if any, is run first."""
        loss = closure() if closure is not None else None
        # After load_state_dict the groups and the state are new objects: link them again.
        self._muon.param_groups, self._adamw.param_groups = self._split()
        self._muon.state = self._adamw.state = self.state
        parts: tuple[Optimizer, ...] = (self._muon, self._adamw)
        for part in parts:
            part.step()
        return loss


def norm_and_factor(
    gradients: list[Tensor], factor: float, clip_norm: float | None, ranks: Ranks | None = None
) -> tuple[float, float]:
    """The norm of gradients times a factor, and the factor that makes it clip_norm at most.

    Args:
        gradients: are left as they are.
        factor: of all of them.
        clip_norm: None does not clip.
        ranks: who each has a part of the gradients; every one of them has to come here.

    Returns:
        The norm after the factor, before clipping; what the gradients are to be multiplied by.
    """
    dtype = torch.promote_types(gradients[0].dtype, torch.float32)
    norms = torch._foreach_norm(gradients, 2.0, dtype)
    norm: float = torch.linalg.vector_norm(torch.stack(norms)).item() * factor
    if ranks is not None and ranks.world_size > 1:
        norm = math.sqrt(ranks.total(norm**2)[0])
    if clip_norm is not None and norm > clip_norm:
        factor *= clip_norm / norm
    return norm, factor


def rescale(gradients: list[Tensor], factor: float, optimizer: Any = None) -> None:
    """Multiply gradients by a factor: within the optimizer's next step, if it is fused; or now.

    A fused kernel divides by a scale while it reads the gradients anyway, which saves a pass over
    all of them: 5% of the time of fine-tuning a small BERT on a CPU. It takes the scale in float32.

    Args:
        gradients: all that the optimizer has.
        factor: above 0.
        optimizer: whose next step they are for; None: they are multiplied in place.
    """
    fused = optimizer is not None and all(group.get("fused") for group in optimizer.param_groups)
    if fused and all(gradient.dtype == torch.float32 for gradient in gradients):
        optimizer.grad_scale = torch.tensor(1 / factor, device=gradients[0].device)
    elif factor != 1.0:
        torch._foreach_mul_(gradients, factor)


def fuse(optimizer: Optimizer) -> None:
    """Let a torch AdamW, Adam or SGD use its fused kernel.

    Only where no GradScaler is at work: fused optimizers unscale by themselves, after clipping.
    """
    if isinstance(optimizer, torch.optim.AdamW | torch.optim.Adam | torch.optim.SGD):
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
