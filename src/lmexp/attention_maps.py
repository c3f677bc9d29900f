"""Draws attention weights: one panel a head, tokens along both axes, in any script.

Shapes: H heads, T tokens that look, S tokens that are looked at.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

MAX_TOKENS = 100  # of an axis; more cannot be read
_CELL = 0.19  # inches, one token
_LETTER = 0.08  # inches, one letter of a label at most
_SIGNS = {" ": "␣", "\n": "↵"}
_MAX_PARTS = 4  # bytes of a character in UTF-8: a token holds one at least


class Fonts(NamedTuple):
    """Fonts that are tried in their order, for each character."""

    families: list[str]
    missing: frozenset[str]  # characters that are in none


def token_labels(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each id spells, to be read on an axis.

    A space is ␣, the end of a line ↵, a reserved id its name. Of a character that several tokens
    spell together each bears the character and its part: 月 1/3.

    Args:
        tokenizer: of lmexp.tokenizers.
        ids: of a text.
    """
    labels: list[str] = []
    while len(labels) < len(ids):
        rest = ids[len(labels) :]
        whole = next((n for n in range(1, _MAX_PARTS + 1) if _is_whole(tokenizer, rest[:n])), 1)
        if rest[0] < len(tokenizer.reserved):
            labels.append(tokenizer.reserved[rest[0]])
        elif whole == 1:
            labels.append(_signed(tokenizer.decode(rest[:1])))
        else:
            text = _signed(tokenizer.decode(rest[:whole]))
            labels += [f"{text} {part}/{whole}" for part in range(1, whole + 1)]
    return labels


def _is_whole(tokenizer: Any, ids: Sequence[int]) -> bool:
    return "\ufffd" not in tokenizer.decode(ids)


def _signed(text: str) -> str:
    return "".join(_SIGNS.get(char, char) for char in text)


def find_fonts(texts: Iterable[str]) -> Fonts:
    """matplotlib's own font, and of those on this machine as many as the characters need."""
    from matplotlib.font_manager import findSystemFonts

    families = ["DejaVu Sans"]  # comes with matplotlib
    wanted = {char for text in texts for char in text if char.isprintable()}
    missing = wanted - _characters(families[0])
    candidates = findSystemFonts() if missing else []
    for file in sorted(map(Path, candidates), key=_preference):
        if not missing:
            break
        family = _family(file, missing)
        if family is not None and (found := missing & _characters(family)):
            families.append(family)
            missing -= found
    return Fonts(families, frozenset(missing))


def _preference(file: Path) -> tuple[bool, bool, str]:
    """Upright sans-serif faces first."""
    return "regular" not in file.stem.lower(), "sans" not in file.stem.lower(), str(file)


def _family(file: Path, wanted: set[str]) -> str | None:
    """The family of a font file that has some of the characters, known to matplotlib from now on.

    None if it has none, or matplotlib cannot draw with it. Last-resort fonts have a box for each.
    """
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    if "lastresort" in file.stem.lower().replace("-", ""):
        return None
    try:
        font = FT2Font(str(file))
    except (RuntimeError, OSError):  # damaged, or a format that FreeType does not read
        return None
    if not font.scalable or not any(ord(char) in font.get_charmap() for char in wanted):
        return None
    family = str(font.family_name)
    if family not in {entry.name for entry in fontManager.ttflist}:
        fontManager.addfont(str(file))
    return family


def _characters(family: str) -> set[str]:
    """Those that matplotlib draws when it is asked for the family."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return set(map(chr, get_font(findfont(FontProperties(family=[family]))).get_charmap()))


def shown(text: str, missing: frozenset[str]) -> str:
    """The text, with U+4E2D for a character that no font has, or that is none to be seen."""
    return "".join(
        char if char.isprintable() and char not in missing else f"U+{ord(char):04X}"
        for char in text
    )


def draw_attention(
    weights: NDArray[Any],
    looking: Sequence[str],
    looked_at: Sequence[str],
    path: Path,
    *,
    title: str,
    panels: Sequence[str],
    axes_names: tuple[str, str],
) -> frozenset[str]:
    """Write a PNG of weights between 0, white, and 1, dark.

    Args:
        weights: (H, T, S).
        looking: T labels of rows, from above.
        looked_at: S labels of columns.
        path: the file; its folder must exist.
        title: above the panels, in lines as long as the picture is wide.
        panels: H titles.
        axes_names: of rows and columns.

    Returns:
        Characters that no font of this machine has: drawn as U+ and their number.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts = find_fonts([title, *panels, *axes_names, *looking, *looked_at])
    style: dict[str, Any] = {"fontfamily": fonts.families, "parse_math": False}  # a $ is a dollar
    down, across = ([shown(x, fonts.missing) for x in own] for own in (looking, looked_at))
    columns = min(len(panels), 4)
    rows = math.ceil(len(panels) / columns)
    width = max(1.6, _CELL * len(across)) + _LETTER * max(map(len, down)) + 0.6
    height = max(1.2, _CELL * len(down)) + _LETTER * max(map(len, across)) + 0.8
    lines = textwrap.wrap(shown(title, fonts.missing), width=int((columns * width + 0.8) / _LETTER))
    size = columns * width + 0.8, rows * height + 0.2 * len(lines) + 0.2
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), fontsize=9, **style)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel, own in zip(grid, panels, weights, strict=False):
        image = axes.imshow(own, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal")
        axes.set_title(shown(panel, fonts.missing), fontsize=8, **style)
        axes.set_ylabel(axes_names[0], fontsize=8)
        axes.set_xlabel(axes_names[1], fontsize=8)
        axes.set_xticks(range(len(across)), across, rotation=90, fontsize=7, **style)
        axes.set_yticks(range(len(down)), down, fontsize=7, **style)
        axes.tick_params(length=2)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=list(grid), shrink=0.6)
    bar.set_label("weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(path, dpi=120)
    return fonts.missing
