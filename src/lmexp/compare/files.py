"""A comparison as CSV, JSON and LaTeX."""

import csv
import io
import json
from typing import Any

from lmexp.compare import written
from lmexp.compare.budgets import BUDGETS, met_budgets
from lmexp.compare.result import GroupResult, Result

COLUMNS = (
    *("group", "baseline", "n", "mean", "deviation", "low", "high"),
    *("difference", "difference_low", "difference_high", "p", "p_corrected", "hedges_g", "verdict"),
    *("examples", "example_difference", "example_low", "example_high"),
    *("p_bootstrap", "p_bootstrap_corrected", "p_randomisation", "p_randomisation_corrected"),
    *("example_verdict", "not_compared"),
    *("seconds", "steps", "tokens", "parameters", "flops", "peak_memory_bytes"),
    *(f"budget_{name}" for name in BUDGETS),  # what was asked
)
_SPECIAL = {  # of LaTeX
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "–": "--",
    "…": r"\dots{}",
}


def as_csv(result: Result) -> str:
    """One row a group; empty where there is nothing."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    asked = {(met.group, f"budget_{met.budget}"): met.asked for met in met_budgets(result)}
    for group in result.groups:
        budgets = {name: asked.get((group.name, name)) for name in COLUMNS[-len(BUDGETS) :]}
        writer.writerow(_row(group) | budgets)
    return file.getvalue()


def as_json(result: Result) -> str:
    """Everything."""
    text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def as_latex(result: Result) -> str:
    """A table for \\usepackage{booktabs}; budgets and remarks stand beneath it as comments.

    The groups of several baselines have a rule between them, under which their baseline stands.
    """
    percent = f"{result.confidence:.0%}"
    head = ["group", "n", "mean ± sd", f"{percent} interval", "difference", "p", "g", "verdict"]
    head += ["parameters", "FLOPs", "time"]
    budgets = (
        f"{met.group}, budget {name}: asked {asked}, met {mean} ({ratio})"
        for met in met_budgets(result)
        for name, asked, mean, ratio in [written.budget(met)]
    )
    lines = [
        f"% {result.figure}, over seeds, against {' and '.join(result.by_baseline)}; "
        "\\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        "\\toprule",
        _line(head),
        *_body(result, len(head)),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"% {' '.join(remark.split())}" for remark in (*budgets, *result.remarks)),
    ]
    return "\n".join(lines) + "\n"


def _body(result: Result, width: int) -> list[str]:
    lines = []
    for baseline, groups in result.by_baseline.items():
        lines.append("\\midrule")
        if len(result.by_baseline) > 1:
            lines.append(
                f"\\multicolumn{{{width}}}{{l}}{{against {escaped(baseline)}}} \\\\[0.5ex]"
            )
        lines.extend(_line(_cells(group)) for group in groups)
    return lines


def escaped(text: str) -> str:
    """As LaTeX shows it."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def _line(cells: list[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def _cells(group: GroupResult) -> list[str]:
    against = group.row.against if group.row else None
    costs = dict(zip(written.COSTS, written.costs(group.cost), strict=True))
    return [
        group.name,
        str(group.aggregate.n),
        written.mean_and_deviation(group),
        written.interval(group.aggregate.interval),
        written.signed(against.difference if against else None),
        written.p_value(group.row.p_corrected if group.row else None),
        written.effect(against.hedges_g if against else None),
        written.verdict(group),
        *(costs[name] for name in ("parameters", "FLOPs", "time")),
    ]


def _row(group: GroupResult) -> dict[str, Any]:
    own, row, examples = group.aggregate, group.row, group.over_examples
    low, high = own.interval or (None, None)
    found: dict[str, Any] = {"group": group.name, "baseline": group.baseline}
    found |= {"n": own.n, "mean": own.mean}
    found |= {"deviation": own.deviation, "low": low, "high": high}
    if row is not None and row.against is not None:
        low, high = row.against.interval or (None, None)
        found |= {"difference": row.against.difference, "p": row.against.p}
        found |= {"difference_low": low, "difference_high": high}
        found |= {"hedges_g": row.against.hedges_g, "p_corrected": row.p_corrected}
        found["verdict"] = row.verdict
    if examples is not None:
        found |= {"examples": group.examples, "example_difference": examples.difference}
        found |= {"example_low": examples.interval.low, "example_high": examples.interval.high}
        figures = examples._asdict().items()  # difference and verdict are those over seeds
        found |= {name: own for name, own in figures if name.startswith("p_") and name in COLUMNS}
        found["example_verdict"] = examples.verdict
    found["not_compared"] = " ".join(wrong.field for wrong in group.mismatches)
    costs = {name: getattr(group.cost, name) for name in COLUMNS if hasattr(group.cost, name)}
    return found | costs
