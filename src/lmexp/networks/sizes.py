"""Sizes of transformers that go together."""

from lmexp.networks.layers import Positions


def check_heads(d_model: int, num_heads: int, positions: Positions, max_length: int | None) -> None:
    """Refuse sizes that do not fit together; arguments as in Transformer.

    Raises:
        ValueError: with sizes that do.
    """
    if d_model % num_heads:
        raise ValueError(
            f"d_model={d_model} does not split into num_heads={num_heads} heads of equal "
            f"width: try d_model={num_heads * max(1, round(d_model / num_heads))}"
        )
    if positions == "rotary" and (d_model // num_heads) % 2:
        raise ValueError(
            f"positions=rotary turns pairs, but d_model={d_model} over num_heads={num_heads} "
            f"makes heads of odd width {d_model // num_heads}: try d_model={2 * num_heads}"
        )
    if positions == "sinusoidal" and d_model % 2:
        raise ValueError(
            f"positions=sinusoidal needs an even d_model, not {d_model}: try d_model={d_model + 1}"
        )
    if positions == "learned" and max_length is None:
        raise ValueError(
            "positions=learned with max_length=null: learned positions are a table of "
            "max_length rows; try max_length=${data.max_length}, or positions=rotary"
        )
