"""The check of a recipe: straight after composition, before data is touched or torch imported.

Every `_target_` lies under an allowed package and is what its section builds, every key is one of
its parameters, every value fits the annotation; the architecture builds the network that the task
needs. A message names file or override, key, value and the nearest right name.
"""

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

from annotated_types import Ge, Lt

from lmexp import signatures
from lmexp.budget import LENGTHS
from lmexp.models import article, builds, models_that_build
from lmexp.origins import COMMAND_LINE, Origins
from lmexp.rules import check_rules
from lmexp.secret_values import refuse_secrets
from lmexp.sections import MADE_OF, OF_CORPUS, SECTIONS, text_kind
from lmexp.signatures import Parameter, Target, UnknownNameError
from lmexp.targets import allowed_packages, refusal
from lmexp.values import convert, written


def _top(
    name: str | None,
    seed: Annotated[int, Ge(0), Lt(4_294_967_296)],
    resume: str | None,
    init_from: str | None,
) -> None:
    """Only its signature is used: the keys of a recipe that are no sections."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'right'?` if something like it exists, else nothing."""
    spelled = {right.lower(): right for right in names}
    close = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.6)
    return f"; did you mean '{spelled[close[0]]}'?" if close else ""


def check(
    recipe: Mapping[str, Any],
    allow_targets: Sequence[str] = (),
    origins: Origins | None = None,
    sections: Sequence[str] | None = None,
) -> None:
    """Refuse a recipe that cannot run as it is written.

    Args:
        recipe: frozen: plain, resolved.
        allow_targets: packages of the user's own.
        origins: which file gave what, for the messages.
        sections: those that will be built, where it is not all of them: a checkpoint that an older
            lmexp wrote can be used as long as these still mean something.

    Raises:
        ValueError: naming file or override, key, value and what to write instead.
    """
    checker = _Checker(origins or Origins(list, {}, {}, []), allow_targets)
    used = recipe if sections is None else {name: recipe.get(name) for name in sections}
    refuse_secrets(dict(used), checker.origins.where)
    if sections is not None:
        for name in sections:
            checker.section(recipe.get(name), name)
        return
    checker.top(recipe)
    checker.kinds(recipe)
    found = {name: checker.section(recipe[name], name) for name in SECTIONS if "." not in name}
    checker.combination(found["model"], found["task"])
    check_rules(recipe, found["model"], found["task"], checker.refuse)
    checker.lengths(recipe)


class _Checker:
    def __init__(self, origins: Origins, allow_targets: Sequence[str]) -> None:
        self.origins = origins
        self.allow_targets = tuple(allow_targets)
        self.packages = allowed_packages(allow_targets)

    def lengths(self, recipe: Mapping[str, Any]) -> None:
        """Refuse a number of steps that was typed beside a budget that decides it."""
        for typed in ("max_steps", "max_epochs"):
            for name in LENGTHS:
                steps = recipe["trainer"].get(typed)
                asked = (recipe.get("budget") or {}).get(name)
                is_typed = f"trainer.{typed}" in self.origins.overrides
                if is_typed and None not in (steps, asked):
                    self.refuse(
                        f"trainer.{typed}",
                        f"trainer.{typed}={steps} and budget.{name}={asked:g} both say how many "
                        "steps there are: write one of them",
                    )

    def refuse(self, key: str, message: str) -> NoReturn:
        """Raise: where the key came from, then the message."""
        raise ValueError(f"{self.origins.where(key)}: {message}")

    def top(self, recipe: Mapping[str, Any]) -> None:
        """The keys of the recipe itself."""
        sections = [name for name in SECTIONS if "." not in name]
        target = signatures.find("lmexp.check._top", ("lmexp",))
        plain = {parameter.name: parameter for parameter in target.parameters}
        for key, value in recipe.items():
            if key in plain:
                self.value(key, value, plain[key])
            elif key not in sections:
                names = [*plain, *sections]
                self.refuse(
                    key,
                    f"{self.assigned(key, value)}: a recipe takes no '{key}'"
                    f"{nearest(key, names) or '.'} It takes {', '.join(names)}.",
                )
        for name in plain:
            if name not in recipe:
                self.refuse(name, f"{name} is missing: write it as `train --cfg job` prints it")
        for name in sections:
            if not recipe.get(name):
                self.refuse(name, f"{name} is missing: choose a file of conf/{name}/ by {name}=…")

    def assigned(self, key: str, value: Any) -> str:
        """The key, with its value where the user typed both."""
        if self.origins.where(key) != COMMAND_LINE or isinstance(value, Mapping):
            return key
        return f"{key}={written(value)}"

    def without(self, key: str, value: Any) -> str:
        """How to do without a key that a chosen file sets, not the user.

        Hydra deletes none that is null.
        """
        if value is None or not self.origins.layers or self.origins.where(key) == COMMAND_LINE:
            return ""
        return f" '~{key}' on the command line takes it out."

    def section(self, section: Any, path: str) -> Target:
        """One section with a `_target_`, and those within it."""
        if not isinstance(section, Mapping) or not isinstance(section.get("_target_"), str):
            self.refuse(path, f"{path}={written(section)}: it needs keys and a _target_, a class")
        target = self.target(section["_target_"], path)
        rule = SECTIONS.get(path)
        if rule is not None and not rule.fits(target):
            self.refuse(
                f"{path}._target_",
                f"{path}._target_={section['_target_']}: {target.name} is not {rule.what}",
            )
        if rule is None and not self.may_be_nested(target):
            self.refuse(
                f"{path}._target_",
                f"{path}._target_={section['_target_']}: nothing is built at {path}, but for "
                "classes of a package that --allow-targets names",
            )
        self.keys(section, path, target, rule.supplied if rule else frozenset())
        return target

    def may_be_nested(self, target: Target) -> bool:
        """Whether a target may stand where SECTIONS says nothing.

        A user's class may nest others of the user's in its constructor. Ours never do: a function
        or a class of lmexp or torch there would be called with whatever the recipe says (and write
        a file, say), which a checkpoint from elsewhere must not get done.
        """
        is_class = isinstance(target.node, ast.ClassDef)
        return is_class and signatures.is_allowed(target.path, self.allow_targets)

    def target(self, name: str, path: str) -> Target:
        """What a `_target_` leads to, as its source shows it."""
        key = f"{path}._target_"
        try:
            return signatures.find(name, self.packages)
        except PermissionError as error:
            self.refuse(key, f"{key}={name} {refusal(name, str(error), self.allow_targets)}")
        except UnknownNameError as error:
            near = nearest(name.rpartition(".")[2], error.names)
            self.refuse(key, f"{key}={name}: {error}{near}")

    def keys(
        self, section: Mapping[str, Any], path: str, target: Target, supplied: frozenset[str]
    ) -> None:
        """Every key is a parameter, every value fits, none is missing."""
        known = {p.name: p for p in target.parameters if p.name not in supplied}
        for name, value in section.items():
            if name == "_target_":
                continue
            key = f"{path}.{name}"
            if name in supplied:
                self.refuse(key, f"{self.assigned(key, value)}: lmexp itself gives '{name}'")
            if name not in known and not target.accepts_any:
                near = nearest(name, [*known, *self.handed_on(section)])
                self.refuse(
                    key,
                    f"{self.assigned(key, value)}: {target.name} takes no '{name}'{near or '.'} "
                    f"It takes {', '.join(known)}.{'' if near else self.without(key, value)}",
                )
            if name in known:
                self.value(key, value, known[name])
            self.nested(value, key)
        for name, parameter in known.items():
            if parameter.is_required and name not in section:
                self.refuse(f"{path}._target_", f"{path}.{name} is missing: {target.name} needs it")

    def nested(self, value: Any, key: str) -> None:
        """Sections within a value, at any depth."""
        if isinstance(value, Mapping):
            if key in SECTIONS or "_target_" in value:
                self.section(value, key)
                return
            for name, part in value.items():
                self.nested(part, f"{key}.{name}")
        elif isinstance(value, list):
            for index, part in enumerate(value):
                self.nested(part, f"{key}[{index}]")

    def handed_on(self, section: Mapping[str, Any]) -> list[str]:
        """Keys that may be written in data and are meant for its corpus."""
        corpus = section.get("corpus")
        if not isinstance(corpus, Mapping) or "_target_" not in corpus:
            return []
        return [p.name for p in self.target(str(corpus["_target_"]), "data.corpus").parameters]

    def value(self, key: str, value: Any, parameter: Parameter) -> None:
        """The value is there and fits the annotation."""
        if value == "???":
            short = key.replace("data.corpus.", "data.")
            self.refuse(key, f"{short}=??? has to be given: write {short}=…")
        try:
            convert(value, parameter)
        except ValueError as error:
            self.refuse(key, f"{key}={written(value)}: {parameter.name} {error}")

    def kinds(self, recipe: Mapping[str, Any]) -> None:
        """Corpus, reading and evaluation are of the kind of text that the task reads."""
        built = {name: self.built(recipe[name], name) for name in ("task", "data", "eval")}
        corpus = self.built(recipe["data"].get("corpus"), "data.corpus")
        if built["task"] is None:
            return
        needed = text_kind(built["task"])
        reads = f"{self.origins.named('task', built['task'].name)} reads {needed}"
        methods = () if corpus is None else sorted(OF_CORPUS.keys() & corpus.methods)
        given = OF_CORPUS[methods[0]] if methods else None
        made_of = MADE_OF.get(needed, needed)
        if given is not None and given != made_of:
            named = self.origins.named("data", str(recipe["data"].get("_target_")))
            raise ValueError(f"{reads}; {named} is of {given}: choose another task= or data=")
        for section, group in (("data", "reading"), ("eval", "eval")):
            target = built[section]
            if target is not None and (given := text_kind(target)) != needed:
                named = self.origins.named(group, target.name)
                raise ValueError(f"{reads}; {named} is of {given}: choose another {group}=")

    def built(self, section: Any, path: str) -> Target | None:
        """What a section builds, if it says so."""
        if not isinstance(section, Mapping) or not isinstance(section.get("_target_"), str):
            return None
        return self.target(section["_target_"], path)

    def combination(self, model: Target, task: Target) -> None:
        """The architecture builds the network that the task asks for."""
        kind = task.constants["network_kind"]
        if kind in builds(model):
            return
        others = models_that_build(kind, self.origins.folders, self.packages)
        raise ValueError(
            f"{self.origins.named('task', task.name)} needs {article(kind)}; "
            f"{self.origins.named('model', model.name)} builds: {', '.join(builds(model))}. "
            f"Models that build one: {', '.join(others) or 'none'}."
        )
