"""How well sentences are tagged: entities found, and tags of single words."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from lmexp.label_scores import LabelCounts, Report, Row, entity_counts, token_counts
from lmexp.ranks import Ranks


class Tagged(NamedTuple):
    """Sentences that were tagged, as numbers of tags."""

    nll: float  # nats, of words whose tag some training text has
    known: int  # such words
    gold: list[list[int]]
    given: list[list[int]]

    def plus(self, other: "Tagged") -> "Tagged":
        """Both, one after the other."""
        return Tagged(
            self.nll + other.nll,
            self.known + other.known,
            self.gold + other.gold,
            self.given + other.given,
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
    gold, given = ([[names[n] for n in own] for own in part] for part in tagged[2:])
    mine = entity_counts(gold, given), token_counts(gold, given)
    entities, tokens = LabelCounts({}), LabelCounts({})
    for of_entities, of_tokens in ranks.gathered(mine):
        entities, tokens = entities.plus(of_entities), tokens.plus(of_tokens)
    nll, known = ranks.total(tagged.nll, tagged.known)
    return TagReport(nll / max(known, 1), entities, tokens, groups)
