"""Our own beam search, for benchmarks/translation.py."""

import dataclasses
from collections.abc import Sequence

from _peer import BEAM, LONGER, PENALTY, Ids, Options, Questions, measure, run

import lmexp
from lmexp import placement
from lmexp.decoding.prepacked import prepack
from lmexp.decoding.translate import translate as searched
from lmexp.targets import build


def translate(options: Options, questions: Questions) -> None:
    """As `lmexp translate` does, after tokenising."""
    loaded = lmexp.load(options["run"])
    asked = {"beam_size": BEAM, "length_penalty": PENALTY, "max_ratio": 1.0, "max_extra": LONGER}
    evaluation = dataclasses.replace(build(loaded.recipe["eval"]), **asked)
    context = placement.place(loaded.network, "cpu", options["precision"])
    prepack(loaded.network)

    def search(sources: Sequence[Ids]) -> list[Ids]:
        found = searched(
            loaded.network, sources, evaluation.beam, batch_tokens=evaluation.batch_tokens
        )
        return [texts[0].ids for texts in found]

    with context:
        measure(search, options, questions)


if __name__ == "__main__":
    run(translate)
