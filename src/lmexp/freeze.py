"""From a composed configuration to a recipe: plain values, every default filled in."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmexp import signatures
from lmexp.inheritance import INHERITED, bring_vocabulary, inherit
from lmexp.origins import Origins
from lmexp.rules import carries_state
from lmexp.secret_values import refuse_secrets
from lmexp.signatures import Target, UnknownNameError
from lmexp.targets import allowed_packages


def freeze(
    config: Any, origins: Origins, allow_targets: Sequence[str], typed: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...], Origins]:
    """The recipe, the packages that it may use beside ours, and the origins of its keys.

    What depends on choices is filled in: the name, data.lanes=auto, the keys of `data` that are
    its corpus' own (`data.files` for `data.corpus.files`), model and tokenizer of the run that
    init_from names. The environment is left unread.

    Args:
        config: as Hydra composed it.
        origins: of its keys.
        allow_targets: packages that the command line allows; config may allow more.
        typed: key or group -> the override that the user typed.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError

    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    follows = [f"{name}.{key}" for name in INHERITED for key in _follow_data(config.get(name))]
    try:
        with _environment_unread():
            recipe: Any = OmegaConf.to_container(config, resolve=True)
    except InterpolationToMissingValueError as error:
        key = str(error).splitlines()[0].rpartition(" ")[2]
        raise ValueError(f"{origins.where(key)}: {key} has to be given: write {key}=…") from None
    refuse_secrets(recipe, origins.where)  # before a message could show one
    allowed = (*allow_targets, *(recipe.pop("allow_targets", None) or []))
    packages = allowed_packages(allowed)
    origins = inherit(recipe, origins, typed, follows, packages)
    if recipe.get("init_from") is None:
        bring_vocabulary(recipe, typed, packages)
    if recipe.get("name") is None:
        recipe["name"] = "-".join(_chosen(group, recipe, origins) for group in ("model", "data"))
    handed = _hand_to_corpus(recipe, packages)
    _resolve_lanes(recipe, packages)
    return recipe, allowed, origins._replace(overrides=_renamed(origins.overrides, handed))


def _follow_data(section: Any) -> list[str]:
    """Keys of a section that are written as ${data.…}."""
    from omegaconf import DictConfig

    if not isinstance(section, DictConfig):
        return []
    raw = section._content
    assert isinstance(raw, dict)
    return [str(key) for key, node in raw.items() if str(node._value()).startswith("${data.")]


def _chosen(group: str, recipe: Mapping[str, Any], origins: Origins) -> str:
    """The file that was chosen; of a model that came with weights, its class."""
    section = recipe.get(group)
    if group in origins.choices or not isinstance(section, Mapping):
        return origins.choices.get(group, "none")
    return str(section.get("_target_")).rpartition(".")[2].lower()


@contextlib.contextmanager
def _environment_unread() -> Iterator[None]:
    """${oc.env:NAME} stays as it is written, for the check to refuse: it may be a secret."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    def unread(*arguments: Any) -> str:
        return "${oc.env:" + ",".join("null" if a is None else str(a) for a in arguments) + "}"

    OmegaConf.register_new_resolver("oc.env", unread, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _target(section: Any, packages: Sequence[str]) -> Target | None:
    """What a section builds; None where the check will have something to say."""
    if not isinstance(section, Mapping):
        return None
    try:
        return signatures.find(str(section.get("_target_")), packages)
    except (PermissionError, UnknownNameError):
        return None


def _hand_to_corpus(recipe: Mapping[str, Any], packages: Sequence[str]) -> list[str]:
    """Move keys of data that only its corpus takes there; their names."""
    data = recipe.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("corpus"), dict):
        return []
    module, corpus = _target(data, packages), _target(data["corpus"], packages)
    if module is None or corpus is None:
        return []
    own = {parameter.name for parameter in module.parameters}
    names = [p.name for p in corpus.parameters if p.name in data and p.name not in own]
    for name in names:
        data["corpus"][name] = data.pop(name)
    return names


def _renamed(overrides: Mapping[str, str], handed: Sequence[str]) -> dict[str, str]:
    places = {f"data.{name}": f"data.corpus.{name}" for name in handed}
    return {places.get(key, key): line for key, line in overrides.items()}


def _resolve_lanes(recipe: Mapping[str, Any], packages: Sequence[str]) -> None:
    """data.lanes=auto: as many as a step has rows, for a language model that carries state."""
    data, model, task = (recipe.get(name) for name in ("data", "model", "task"))
    if not isinstance(data, dict) or data.get("lanes") != "auto":
        return
    architecture, objective = _target(model, packages), _target(task, packages)
    if architecture is None or objective is None:
        return
    rows, tokens, length = (data.get(k) for k in ("batch_size", "batch_tokens", "max_length"))
    if rows is None and isinstance(tokens, int) and isinstance(length, int) and length > 0:
        rows = tokens // length
    carries = carries_state(architecture) and objective.constants.get("network_kind") == "decoder"
    data["lanes"] = rows if carries else None
