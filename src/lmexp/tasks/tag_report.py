"""How well sentences are tagged: entities found, and tags of single words."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.label_scores import LabelCounts, Report, Row, entity_counts, spans, token_counts
from lmexp.ranks import Ranks

COUNTED = ("right", "given", "true")  # entities


class Tagged(NamedTuple):
    """Sentences that were tagged, as numbers of tags."""

    nll: float  # nats, of words whose tag some training text has
    known: int  # such words
    gold: list[list[int]]
    given: list[list[int]]
    numbers: list[int]  # of the sentences in their split

    def plus(self, other: "Tagged") -> "Tagged":
        """Both, one after the other."""
        return Tagged(
            self.nll + other.nll,
            self.known + other.known,
            self.gold + other.gold,
            self.given + other.given,
            self.numbers + other.numbers,
        )


class TagReport(NamedTuple):
    """What is to be known of how well sentences were tagged."""

    loss: float  # nats a word
    entities: LabelCounts
    tokens: LabelCounts
    groups: Mapping[str, str]  # see TokenLabels.entity_groups

    def entity_report(self) -> Report:
        """By type; the averages are of all entities, and of those of each group."""
        report = self.entities.report()
        return Report(report.rows, {**report.averages, **self._of_groups()})

    def _of_groups(self) -> dict[str, Row]:
        found: dict[str, Row] = {}
        left = dict(self.entities.hits)
        for name, pattern in self.groups.items():
            own = {type_: left.pop(type_) for type_ in list(left) if fnmatchcase(type_, pattern)}
            found[name] = LabelCounts(own).report().averages["micro avg"]
        return found

    def figures(self) -> dict[str, float]:
        """The averages, entities first: where most words have no tag, tokens flatter."""
        entities, tokens = self.entities.report().averages, self.tokens.report().averages
        found: dict[str, float] = {}
        for name, row in {"entity": entities["micro avg"], **self._of_groups()}.items():
            shares = zip(("f1", "precision", "recall"), (row.f1, *row[:2]), strict=True)
            found |= {f"{name}_{share}": value for share, value in shares}
        return {
            "loss": self.loss,
            **found,
            "token_accuracy": tokens["micro avg"].f1,
            "token_macro_f1": tokens["macro avg"].f1,
            "tokens": float(tokens["micro avg"].support),
        }


def tag_report(
    tagged: Tagged, names: list[str], groups: Mapping[str, str], ranks: Ranks
) -> TagReport:
    """Over the sentences of all ranks.

    Args:
        tagged: of this rank.
        names: of tags by number, those that the training split lacks included.
        groups: see TokenLabels.entity_groups.
        ranks: all of them.
    """
    gold, given = (
        [[names[n] for n in own] for own in part] for part in (tagged.gold, tagged.given)
    )
    mine = entity_counts(gold, given), token_counts(gold, given)
    entities, tokens = LabelCounts({}), LabelCounts({})
    for of_entities, of_tokens in ranks.gathered(mine):
        entities, tokens = entities.plus(of_entities), tokens.plus(of_tokens)
    nll, known = ranks.total(tagged.nll, tagged.known)
    return TagReport(nll / max(known, 1), entities, tokens, groups)


def of_sentences(
    tagged: Tagged, names: list[str], groups: Mapping[str, str]
) -> dict[str, NDArray[np.float64]]:
    """Counts of each sentence: entities right, given and true, and those of each group; words.

    Args:
        tagged: S sentences.
        names: of tags by number.
        groups: see TokenLabels.entity_groups.

    Returns:
        (S,) each, by the names of example_figures.
    """
    kinds = ("entity", *groups)
    counts = {f"{kind}_{what}": np.zeros(len(tagged.gold)) for kind in kinds for what in COUNTED}
    counts |= {name: np.zeros(len(tagged.gold)) for name in ("words_right", "words")}
    for place, (gold, given) in enumerate(zip(tagged.gold, tagged.given, strict=True)):
        true, found = (set(spans([names[n] for n in own])) for own in (gold, given))
        for what, own in zip(COUNTED, (true & found, found, true), strict=True):
            for span in own:
                group = next((n for n in groups if fnmatchcase(span.type, groups[n])), None)
                for kind in {"entity", group or "entity"}:
                    counts[f"{kind}_{what}"][place] += 1
        counts["words"][place] = len(gold)
        counts["words_right"][place] = sum(a == b for a, b in zip(gold, given, strict=True))
    return counts


def example_figures(groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Figures of TagReport that are computed of sums over sentences, and of which."""
    figures: dict[str, tuple[str, ...]] = {}
    for kind in ("entity", *groups):
        right, given, true = (f"{kind}_{what}" for what in COUNTED)
        figures[f"{kind}_f1"] = ("f1", right, given, true)
        figures[f"{kind}_precision"] = ("ratio", right, given)
        figures[f"{kind}_recall"] = ("ratio", right, true)
    return {**figures, "token_accuracy": ("ratio", "words_right", "words")}
