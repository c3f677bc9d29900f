"""Learning curves of a comparison as PNG."""

from pathlib import Path

from lmexp.compare.result import Result


def draw(result: Result, path: Path) -> bool:
    """A line a group, its runs' mean; around it from the least run to the greatest.

    Args:
        result: what is drawn.
        path: the file to write.

    Returns:
        False, and no file, where no group has a curve.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [group for group in result.groups if group.curve is not None]
    if not drawn:
        return False
    picture = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    for group in drawn:
        assert group.curve is not None
        steps, mean, low, high = group.curve
        mark = "o" if len(steps) < 50 else ""
        label = group.name.replace("$", r"\$")  # else two of them begin a formula
        (line,) = axes.plot(
            steps, mean, label=f"{label} (n = {group.aggregate.n})", marker=mark, markersize=3
        )
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="step", ylabel=result.live, title=f"{result.live}, mean over seeds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    picture.savefig(path, dpi=120)
    return True
