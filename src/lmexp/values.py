"""Values of a recipe against the annotations of the parameter that they are meant for.

The annotation is taken from source (`signatures`) and turned into a type without importing its
module: names of typing, annotated_types and other light modules are looked up, an alias of one of
our modules is followed, and any other class stands for an object, which a recipe can only write as
a mapping. pydantic then judges the value by its strict rules for JSON, where a list may become a
tuple and a string a Path, but no string becomes a number.
"""

import ast
import builtins
import difflib
import functools
import importlib
import json
import math
import operator
import re
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from lmexp.signatures import Parameter, definitions, dotted, origin

LIGHT = ("annotated_types", "collections", "datetime", "pathlib", "pydantic", "typing")
Object = dict[str, Any]  # a class of someone's: built from a mapping with _target_


def written(value: Any) -> str:
    """A value as YAML writes it on one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def quoted(text: str) -> str:
    """A text as an override has to have it, whatever it consists of.

    Backslashes that stand before a quote or the end are doubled (Hydra's grammar of overrides).
    """
    inner = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{inner}'"


def convert(value: Any, parameter: Parameter) -> Any:
    """The value as the parameter's type.

    Raises:
        ValueError: it does not fit; the message says what would, without naming the key.
    """
    if parameter.annotation is None:
        return value
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("is not a number")
    from pydantic import ValidationError

    annotation = ast.unparse(parameter.annotation)
    adapter = _adapter(parameter.module, annotation)
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ValueError(_complaint(error.errors(include_url=False), value, annotation)) from None


def _complaint(errors: Sequence[Any], value: Any, annotation: str) -> str:
    """What pydantic expected, in our words, with the nearest right value."""
    mapping = "a mapping with _target_"
    if "Mapping" in annotation or "dict[" in annotation:
        mapping = "a mapping such as {name: value}"
    if errors[0]["type"] == "missing":
        return f"should have more than {errors[0]['loc'][-1]} entries"
    wishes: list[str] = []
    for error in errors:
        place = "".join(f"[{part}]" for part in error["loc"] if isinstance(part, int))
        wish = error["msg"].partition(" should ")[2].replace("array", "list")
        wish = wish.replace("be an object", f"be {mapping}")
        wishes.append(f"{wish} at {place}" if place else wish)
    text = "should " + " or ".join(dict.fromkeys(wishes)).replace(" or be ", " or ")
    options = re.findall(r"'([^']+)'", text)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.4)
    if near:
        text += f"; did you mean '{near[0]}'?"
    elif isinstance(value, float) and value.is_integer() and "valid integer" in text:
        text += f": write {int(value)}"
    elif isinstance(value, str) and re.fullmatch(r"-?[\d_.]+(e-?\d+)?", value):
        text += f": write {value} without quotes"
    return text


@functools.cache
def _adapter(module: str, annotation: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_type(ast.parse(annotation, mode="eval").body, module))


def _type(node: ast.expr, module: str) -> Any:
    """The type that an annotation in a module's source means; Object for a class of someone's."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a forward reference
            return _type(ast.parse(node.value, mode="eval").body, module)
        return None if node.value is None else Any
    if isinstance(node, ast.BinOp):
        return _union([_type(node.left, module), _type(node.right, module)])
    if isinstance(node, ast.Subscript):
        return _subscript(node, module)
    name = dotted(node)
    return _named(module, name) if name else Any


def _named(module: str, name: str) -> Any:
    statement = definitions(module).get(name)
    if isinstance(statement, ast.Assign):
        return _type(statement.value, module)
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return _type(statement.value, module)
    if statement is None and hasattr(builtins, name):
        return getattr(builtins, name)
    path = origin(module, name)
    where, _, last = path.rpartition(".")
    if path.split(".")[0] in LIGHT:
        return getattr(importlib.import_module(where), last)
    if path != f"{module}.{name}" and last in definitions(where):
        return _named(where, last)
    return Object


def _subscript(node: ast.Subscript, module: str) -> Any:
    base = _type(node.value, module)
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if base is Literal:
        return Literal[tuple(ast.literal_eval(element) for element in inner)]
    if base is Annotated:
        first, *notes = inner
        marks = tuple(_mark(note, module) for note in notes)
        return Annotated[(_type(first, module), *marks)]
    if getattr(base, "__name__", "") in ("Callable", "type"):
        return Object
    arguments = [_argument(element, module) for element in inner]
    if base in (Union, types.UnionType):
        return _union(arguments)
    if getattr(base, "__name__", "") == "Optional":
        return _union([arguments[0], None])
    if base in (Object, Any):
        return base
    return base[tuple(arguments) if len(arguments) > 1 else arguments[0]]


def _argument(node: ast.expr, module: str) -> Any:
    if isinstance(node, ast.Constant) and node.value is Ellipsis:
        return Ellipsis
    return _type(node, module)


def _mark(node: ast.expr, module: str) -> Any:
    """`Gt(0)`, `Field(le=1)`, … of an Annotated; a note we cannot read says nothing."""
    if not isinstance(node, ast.Call):
        return None
    make = _named(module, dotted(node.func) or "")
    if make is Object:
        return None
    try:
        positional = [ast.literal_eval(argument) for argument in node.args]
        named = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
    except ValueError:  # a bound that is computed
        return None
    return make(*positional, **named)


def _union(members: Sequence[Any]) -> Any:
    """A union; beside types that a recipe can write, classes of someone's count for nothing."""
    plain = [member for member in members if member not in (Object, None)]
    kept = [member for member in members if member is None or not plain or member is not Object]
    kept.sort(key=lambda member: member is None)  # None | int is no type, int | None is one
    return functools.reduce(operator.or_, kept)
