"""A comparison as one HTML file, which needs neither a server nor a network.

All that it shows lies in it as JSON; its own script draws it. A policy in its head forbids every
request, and every script but the one whose hash it names: a run's name cannot become one.
"""

import base64
import hashlib
import html
import json
import shlex
import time
from collections.abc import Sequence
from importlib import metadata
from importlib.resources import files
from string import Template
from typing import Any

from lmexp.compare.importance import importance, swept_keys
from lmexp.compare.page_tables import tables
from lmexp.compare.result import Result

_SCRIPTS = ("page.js", "charts.js", "coordinates.js", "show.js")  # in this order: later use earlier
_ESCAPED = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def as_html(result: Result, typed: Sequence[str]) -> str:
    """The page.

    Args:
        result: what it shows.
        typed: words of the command that made it, after `python -m lmexp`.
    """
    style = _part("page.css")
    script = "\n".join(_part(name) for name in _SCRIPTS)
    values = {
        "title": html.escape(f"{result.figure}: {len(result.groups)} groups"),
        "level": f"{1 - result.confidence:.3g}",
        "style": style,
        "style_hash": _digest(style),
        "script": script,
        "script_hash": _digest(script),
        "data": embedded(_content(result, typed)),
    }
    return Template(_part("page.html")).substitute(values)


def embedded(content: Any) -> str:
    """JSON that can stand in a script element: no character of it means anything to HTML."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char, written in _ESCAPED.items():
        text = text.replace(char, written)
    return text


def _content(result: Result, typed: Sequence[str]) -> dict[str, Any]:
    shown = {
        table.name: {"columns": table.columns, "rows": [list(row) for row in table.rows]}
        for table in tables(result)
    }
    return {
        "result": result.as_dict(),
        "tables": shown,
        "keys": swept_keys(result.groups),
        "importance": [own._asdict() for own in importance(result)],
        "command": shlex.join(["python", "-m", "lmexp", *typed]),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "version": _version(),
    }


def _version() -> str:
    try:
        return metadata.version("lmexp")
    except metadata.PackageNotFoundError:  # run from the source without an installation
        return "not installed"


def _part(name: str) -> str:
    return (files("lmexp.compare") / "page_files" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a content security policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
