"""What a dotted name takes, read from source by ast: nothing is imported, torch least of all.

A `_target_` is followed through the imports of the modules it passes, and every stop has to lie
under an allowed package: an alias such as `lmexp.recipe.os.system` ends at `os` and is refused.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One argument of a constructor or function."""

    name: str
    annotation: ast.expr | None
    is_required: bool
    module: str  # whose names the annotation uses


class Target(NamedTuple):
    """A class or function as its source shows it."""

    path: str  # where it is defined, aliases followed
    module: str
    node: ast.ClassDef | ast.FunctionDef
    parameters: tuple[Parameter, ...]
    accepts_any: bool  # it takes **kwargs
    ancestors: tuple[str, ...]  # dotted names of all bases that the source shows, nearest first
    methods: frozenset[str]  # inherited ones too, as far as the source shows them
    constants: dict[str, Any]  # what class bodies bind to literals: `network_kind = "decoder"`
    is_dataclass: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.node.name


class UnknownNameError(ValueError):
    """There is no such class or function; `names` are those that the last module has."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


def is_allowed(path: str, packages: Sequence[str]) -> bool:
    """Whether a dotted name lies under one of the packages."""
    return any(path.startswith(package + ".") for package in packages)


@functools.cache
def module_file(module: str) -> Path | None:
    """The source file of a module, found without importing anything; None if there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        origin = spec.origin or ""
        return Path(origin) if origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if file.is_file():
                return file
    return None


@functools.cache
def definitions(module: str) -> dict[str, ast.stmt]:
    """Top-level names of a module and the statement that last binds each."""
    file = module_file(module)
    if file is None:
        return {}
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{file}:{error.lineno}: {error.msg}") from None
    return {name: statement for statement in _flat(tree.body) for name in _bound(statement)}


def _flat(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _flat(statement.body)
            yield from _flat(statement.orelse)


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` of a Name or Attribute, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return left and f"{left}.{node.attr}"
    return None


def origin(module: str, name: str) -> str:
    """The dotted name that `name`, as a module writes it, stands for; imports followed once."""
    first, _, rest = name.partition(".")
    statement = definitions(module).get(first)
    tail = f".{rest}" if rest else ""
    if isinstance(statement, ast.ImportFrom):
        source = _absolute(module, statement)
        imported = next(a.name for a in statement.names if (a.asname or a.name) == first)
        return f"{source}.{imported}{tail}"
    if isinstance(statement, ast.Import):
        alias = next(a for a in statement.names if first in (a.asname, a.name.split(".")[0]))
        return (alias.name if alias.asname else first) + tail
    if statement is not None:
        return f"{module}.{name}"
    return name


def _absolute(module: str, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    file = module_file(module)
    up = statement.level - (file is not None and file.name == "__init__.py")
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - up], *filter(None, [statement.module])])


def find(path: str, packages: Sequence[str]) -> Target:
    """The class or function that a dotted name leads to.

    Raises:
        PermissionError: the name, or where its aliases lead, lies outside `packages`.
        UnknownNameError: the source has no such class or function.
    """
    module, node = _definition(path, packages)
    if isinstance(node, ast.FunctionDef):
        parameters, accepts_any = _arguments(node, module, skip=0)
        path = f"{module}.{node.name}"
        return Target(path, module, node, parameters, accepts_any, (), frozenset(), {}, False)
    chain = list(_lineage(module, node))
    known = [(where, cls) for where, cls, _ in chain if cls is not None]
    body = [item for _, cls in reversed(known) for item in cls.body]
    parameters, accepts_any = _constructor(known)
    return Target(
        path=f"{module}.{node.name}",
        module=module,
        node=node,
        parameters=parameters,
        accepts_any=accepts_any,
        ancestors=tuple(name for _, _, name in chain[1:]),
        methods=frozenset(item.name for item in body if isinstance(item, ast.FunctionDef)),
        constants={name: value for item in body for name, value in _literals(item)},
        is_dataclass=any(_is_dataclass(cls) for _, cls in known),
    )


def _literals(statement: ast.stmt) -> Iterator[tuple[str, Any]]:
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        for name in _bound(statement):
            if isinstance(statement.value, ast.Constant):
                yield name, statement.value.value


def _definition(
    path: str, packages: Sequence[str] | None
) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    """Follow a dotted name to its definition; packages None: wherever it leads."""
    asked = path
    for _ in range(10):  # re-exports of re-exports
        if packages is not None and not is_allowed(path, packages):
            raise PermissionError(path)
        module, name = _split(path)
        statement = definitions(module).get(name.partition(".")[0])
        is_import = isinstance(statement, ast.Import | ast.ImportFrom)
        if statement is None or ("." in name and not is_import):
            raise UnknownNameError(f"{module} has no '{name}'", _public(module))
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            return module, statement
        following = origin(module, name)
        if isinstance(statement, ast.Assign):
            target = dotted(statement.value)
            following = origin(module, target) if target else following
        if following == path:
            raise UnknownNameError(f"{path} is neither a class nor a function", _public(module))
        path = following
    raise UnknownNameError(f"{asked} leads through too many aliases")


def _split(path: str) -> tuple[str, str]:
    """The longest prefix that is a module, and the rest."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        if module_file(module) is not None:
            return module, ".".join(parts[cut:])
    raise UnknownNameError(f"there is no module '{'.'.join(parts[:-1])}'")


def _public(module: str) -> list[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.ImportFrom
    return [n for n, s in definitions(module).items() if isinstance(s, kinds) and n[0] != "_"]


def _lineage(module: str, node: ast.ClassDef) -> Iterator[tuple[str, ast.ClassDef | None, str]]:
    """The class, then its bases depth first: (module, source if there is any, dotted name)."""
    yield module, node, f"{module}.{node.name}"
    for base in node.bases:
        name = dotted(base.value if isinstance(base, ast.Subscript) else base)
        if name is None:
            continue
        path = origin(module, name)
        try:
            where, definition = _definition(path, None)
        except UnknownNameError:
            yield module, None, path
            continue
        if isinstance(definition, ast.ClassDef):
            yield from _lineage(where, definition)


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = (dotted(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list)
    return any(name in ("dataclass", "dataclasses.dataclass") for name in names)


def _constructor(
    lineage: Sequence[tuple[str, ast.ClassDef]],
) -> tuple[tuple[Parameter, ...], bool]:
    """Parameters of the nearest __init__, or the fields if a dataclass comes first."""
    for index, (module, node) in enumerate(lineage):
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return _arguments(item, module, skip=1)
        if _is_dataclass(node):
            fields: dict[str, Parameter] = {}
            for where, cls in reversed(lineage[index:]):
                if _is_dataclass(cls):
                    fields.update({field.name: field for field in _fields(where, cls)})
            return tuple(fields.values()), False
    return (), False


def _fields(module: str, node: ast.ClassDef) -> Iterator[Parameter]:
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(item.annotation):
            continue
        is_required, value = item.value is None, item.value
        if isinstance(value, ast.Call) and dotted(value.func) in ("field", "dataclasses.field"):
            options = {keyword.arg: keyword.value for keyword in value.keywords}
            if "init" in options and ast.unparse(options["init"]) == "False":
                continue
            is_required = not options.keys() & {"default", "default_factory"}
        yield Parameter(item.target.id, item.annotation, is_required, module)


def _arguments(node: ast.FunctionDef, module: str, skip: int) -> tuple[tuple[Parameter, ...], bool]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = len(positional) - len(arguments.defaults)
    found = [
        Parameter(argument.arg, argument.annotation, index < without_default, module)
        for index, argument in enumerate(positional)
    ][skip:]
    found += [
        Parameter(argument.arg, argument.annotation, default is None, module)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return tuple(found), arguments.kwarg is not None
