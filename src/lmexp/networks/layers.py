"""Parts that several networks share: norms, feed-forward layers, dropout, positions.

Shapes: B sequences, T tokens, D model width, F width inside the feed-forward
layer, H heads, K width of a head.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu_tanh", "relu", "swiglu", "geglu"]
Norm = Literal["layer", "rms"]
Positions = Literal["learned", "sinusoidal", "rotary"]

ROTARY_BASE = 10_000.0  # Su et al. 2021, section 3.2.2; Llama's too


def make_norm(norm: Norm, d_model: int, *, bias: bool) -> nn.Module:
    """LayerNorm (Ba et al. 2016), with or without bias, or RMSNorm (Zhang & Sennrich 2019)."""
    if norm == "rms":
        return nn.RMSNorm(d_model, eps=1e-5)
    return nn.LayerNorm(d_model, eps=1e-5, bias=bias)


class FeedForward(nn.Module):
    """Two linear layers and what stands between them, position by position.

    gelu is x * Phi(x) (Hendrycks & Gimpel 2016); gelu_tanh is its approximation in GPT-2, four
    times as slow on a CPU; relu is Vaswani et al. 2017; swiglu is silu(gate) * up and geglu
    gelu(gate) * up (Shazeer 2020, equation 6), gate and up being the two halves of one product.

    Args:
        d_model: D.
        d_ff: F. swiglu and geglu have three F by D matrices where the others have two.
        activation: what stands between.
        bias: of both linear layers.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation, *, bias: bool) -> None:
        super().__init__()
        self.activation = activation
        is_gated = activation in ("swiglu", "geglu")
        self.up = nn.Linear(d_model, 2 * d_ff if is_gated else d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.up(x)
        if self.activation == "swiglu":
            gate, x = x.chunk(2, dim=-1)
            x = F.silu(gate) * x
        elif self.activation == "geglu":
            gate, x = x.chunk(2, dim=-1)
            x = F.gelu(gate) * x
        elif self.activation == "relu":
            x = F.relu(x)
        else:
            x = F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        down: Tensor = self.down(x)
        return down


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), with cheap random numbers on a CPU.

    torch draws a Bernoulli variable an element, 10-14% of a training step; we cut 64 random bits
    into four numbers of 16 bits. Hence p is rounded to a multiple of 1 / 65,536, and what is kept
    is scaled by the rounded value: the expectation is exact.

    Args:
        p: probability of dropping, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = round(self.p * 2**16)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)  # in -2^15 ... 2^15 - 1
        kept = (draws >= dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - dropped))

    def extra_repr(self) -> str:
        """What print(network) shows."""
        return f"p={self.p}"


class LockedDropout(nn.Module):
    """Dropout that draws one mask a sequence and keeps it at every time step.

    Gal & Ghahramani 2016, section 4, on the inputs and outputs of a layer, as Merity et al. 2018,
    section 4.2; unlike the former we leave the recurrent connections alone.

    Args:
        p: probability of dropping, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if not self.training or self.p == 0:
            return x
        kept = torch.empty_like(x[:, :1]).bernoulli_(1 - self.p)
        return x * (kept / (1 - self.p))

    def extra_repr(self) -> str:
        """What print(network) shows."""
        return f"p={self.p}"


def document_positions(document_ids: Tensor) -> Tensor:
    """(B, T) document ids, rising along a row -> (B, T) positions that count from 0 in each."""
    columns = torch.arange(document_ids.shape[1], device=document_ids.device)
    starts = torch.zeros_like(document_ids, dtype=torch.bool)
    starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return columns - (columns * starts).cummax(dim=1).values


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5): sines first, cosines after them.

    The paper interleaves them, which is the same up to an order of the columns.

    Args:
        positions: (...) int64.
        d_model: D, even.

    Returns:
        (..., D) float32.
    """
    angles = _angles(positions, d_model)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Rotation(NamedTuple):
    """What turns queries and keys: cosines, and sines with the first half negated."""

    cos: Tensor  # (..., T, 1, K)
    sin: Tensor  # (..., T, 1, K)


def rotation(positions: Tensor, head_width: int, dtype: torch.dtype) -> Rotation:
    """Rotary positions (Su et al. 2021), dimension i paired with i + K/2 as in Llama.

    Args:
        positions: (T,) or (B, T) int64.
        head_width: K, even.
        dtype: of the result; the angles are computed in float32 whatever it is.
    """
    angles = _angles(positions, head_width)
    cos, sin = angles.cos(), angles.sin()
    return Rotation(
        torch.cat([cos, cos], dim=-1).unsqueeze(-2).to(dtype),
        torch.cat([-sin, sin], dim=-1).unsqueeze(-2).to(dtype),
    )


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """(B, T, H, K) queries or keys, turned by their positions."""
    return torch.addcmul(x * turn.cos, x.roll(x.shape[-1] // 2, dims=-1), turn.sin)


def position_table(
    positions: Positions, max_length: int | None, d_model: int
) -> nn.Embedding | None:
    """What learned positions are read from; None: the others are computed."""
    if positions != "learned" or max_length is None:
        return None
    return nn.Embedding(max_length, d_model)


def positioned(
    x: Tensor, positions: Tensor, length: int, table: nn.Embedding | None, rotary_width: int | None
) -> tuple[Tensor, Rotation | None]:
    """Embedded tokens that know their positions, or the rotation that tells attention.

    Args:
        x: (B, T, D).
        positions: (T,) or (B, T) int64, below length.
        length: what a table has to reach.
        table: of learned positions; None: there are none.
        rotary_width: K, of rotary positions; None: those not learned are sinusoidal.
    """
    if table is not None:
        if length > table.num_embeddings:
            raise ValueError(
                f"{length} tokens are more than max_length={table.num_embeddings}, "
                "the rows of this network's learned positions: give shorter sequences, or "
                "train with a larger model.max_length or with model.positions=rotary"
            )
        return x + table(positions), None
    if rotary_width is not None:
        return x, rotation(positions, rotary_width, product_dtype(x))
    # sinusoidal (Vaswani et al. 2017; section 3.4: times sqrt(D))
    d_model = x.shape[-1]
    return x * math.sqrt(d_model) + sinusoids(positions, d_model).to(x.dtype), None


def product_dtype(tensor: Tensor) -> torch.dtype:
    """What matrix products with a tensor, of weights for instance, are computed in."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def _angles(positions: Tensor, width: int) -> Tensor:
    """(...) -> (..., width / 2) float32: position times base^(-2i / width)."""
    pairs = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    frequencies = torch.exp(pairs * (-math.log(ROTARY_BASE) / width))
    return positions.unsqueeze(-1).float() * frequencies
