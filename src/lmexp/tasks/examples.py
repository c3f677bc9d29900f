"""What a test keeps of each example, so that runs can be compared example by example.

Shapes: N examples of a split, M of them on a rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lmexp.example_scores import ExampleScores, Metric
from lmexp.scored_examples import ExampleSums, ScoredExamples
from lmexp.tasks.accumulation import Accumulating


class ExampleKeeping(Accumulating):
    """A task whose tests can be told apart by example. A subclass says what it adds up.

    Args:
        network: see Accumulating.
        seed: see Accumulating.
    """

    keeps_examples: ClassVar[bool] = False  # whether a test leaves scores of each example
    example_sums: tuple[str, ...] = ()  # names of what is added up of each meanwhile
    example_metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # of each figure its formula
    # (example_scores.WIDTHS) and the names that it is computed of

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__(network, seed)
        self.examples: ScoredExamples | None = None  # of a test whose examples are told apart
        self.by_example = ExampleSums(0, ())

    def keep_examples(self, data: Any, split: str) -> None:
        """From here on keep what is scored of each example of a split as well.

        Args:
            data: the data module.
            split: that the next test is of.
        """
        if self.keeps_examples:
            self.examples = data.scored_examples(split)
            self.by_example = ExampleSums(len(self.examples.keys), self.example_sums)

    def example_scores(self, data: Any, split: str) -> ExampleScores | None:
        """What has been kept of the test that has just ended; every rank has to ask."""
        if self.examples is None:
            return None
        table = self.ranks.summed(self.by_example.table)
        statistics = {
            **dict(zip(self.by_example.names, table, strict=True)),
            **self.examples.known,
            **self.example_outputs(data, split),
        }
        metrics = {
            name: Metric(formula=formula, of=of)
            for name, (formula, *of) in self.metrics_of_examples().items()
            if statistics.keys() >= set(of)
        }
        return ExampleScores(self.examples.keys, statistics, metrics, self.examples.unit)

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """Statistics of each example beside example_sums, of all ranks' examples."""
        return {}

    def in_order(
        self, examples: Sequence[int], found: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        """What ranks have found of examples, in the order of the split.

        Args:
            examples: numbers of this rank's.
            found: (M,) of each of these, by name.
        """
        assert self.examples is not None
        sums = ExampleSums(len(self.examples.keys), tuple(found))
        sums.add(np.array(examples, dtype=np.int64), **found)
        return dict(zip(sums.names, self.ranks.summed(sums.table), strict=True))

    def metrics_of_examples(self) -> Mapping[str, tuple[str, ...]]:
        """As example_metrics; some know more of them when they are built."""
        return self.example_metrics
