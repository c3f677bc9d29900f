"""How good outputs are for shorter and longer sources (Bahdanau et al. 2015, figure 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmexp.text_scores import text_scores

GROUPS = 5


class LengthGroup(NamedTuple):
    """Pairs with sources of similar length."""

    shortest: int  # characters of a source
    longest: int
    pairs: int
    bleu: float
    length_ratio: float  # characters of the outputs over those of their first references


def by_length(
    texts: Sequence[Sequence[str]], outputs: Sequence[str], language: str | None
) -> list[LengthGroup]:
    """Scores of groups of equally many pairs, as far as that goes, shorter sources first.

    Lengths are in characters: they are the same for every tokenizer.

    Args:
        texts: source, reference and further references of each pair.
        outputs: of each pair.
        language: of the outputs; see text_scores.
    """
    order = np.argsort([len(own[0]) for own in texts], kind="stable")
    groups = []
    for rows in np.array_split(order, min(GROUPS, len(texts))):
        own, found = [texts[row] for row in rows], [outputs[row] for row in rows]
        figures = text_scores(found, [one[1:] for one in own], language, ["bleu"]).figures
        reference_chars = sum(len(one[1]) for one in own)
        groups.append(
            LengthGroup(
                len(own[0][0]),
                len(own[-1][0]),
                len(own),
                figures["bleu"],
                sum(map(len, found)) / max(1, reference_chars),
            )
        )
    return groups


def print_by_length(groups: Sequence[LengthGroup]) -> None:
    """A row for each group."""
    from rich.console import Console
    from rich.table import Table

    table = Table("characters of a source", "pairs", "BLEU", "output / reference", box=None)
    for column in table.columns:
        column.justify = "right"
    for group in groups:
        table.add_row(
            f"{group.shortest:,} to {group.longest:,}",
            f"{group.pairs:,}",
            f"{group.bleu:.1f}",
            f"{group.length_ratio:.2f}",
        )
    Console().print(table)


def draw_by_length(groups: Sequence[LengthGroup], path: Path, *, title: str) -> None:
    """BLEU, and how long outputs are, over the length of the source; as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=8)
    upper, lower = figure.subplots(2, 1, sharex=True)
    names = [f"{group.shortest}–{group.longest}" for group in groups]
    upper.bar(names, [group.bleu for group in groups])
    upper.set(ylabel="BLEU")
    lower.plot(names, [group.length_ratio for group in groups], marker="o")
    lower.axhline(1.0, color="grey", linewidth=0.8)
    lower.set(ylabel="output / reference, characters", xlabel="characters of a source")
    for axes in (upper, lower):
        axes.grid(visible=True, axis="y", alpha=0.3)
    figure.savefig(path, dpi=120, format="png")
