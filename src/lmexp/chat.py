"""Command `chat`: talks with a text-to-text model that was trained on dialogues."""

import argparse
import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp import placement
from lmexp.errors import say, standard_input, typed
from lmexp.predict import PICTURES
from lmexp.translate import SEARCH, add_search_arguments, as_line, evaluation_asked_for

if TYPE_CHECKING:
    from lmexp.decoding.sampling import Sampling
    from lmexp.loading import Loaded

PROMPT = "> "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `chat`."""
    parser.epilog = (
        "Type a turn as turns are written in the data that the model learnt from, with the name of "
        "who speaks if they have one. /reset forgets the dialogue so far; /quit, Ctrl-D or Ctrl-C "
        "ends. Lines that are piped in give one line each, empty after an empty line and /reset. "
        "Where the turns are longer than data.max_length allows the oldest are left out; a single "
        "turn that still is gets cut at its end."
    )
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--history", type=int, help="turns that an answer is to (default data.corpus.history)")
    add_search_arguments(parser)
    add("--temperature", type=float, help="draw the answer instead of searching; 0 is greedy")
    add("--top-p", type=float, help="draw it, from the smallest set of tokens of this mass")
    add("--seed", type=int, help="of the draws (default 0); the n-th answer has its own")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `chat`; returns the exit status."""
    sampling = _sampling(args)
    if args.history is not None and args.history < 1:
        raise ValueError(f"--history {args.history}: at least 1, the turn that is answered")
    from lmexp.loading import load

    loaded = load(args.run, allow_targets=args.allow_targets)
    evaluation, history = _settings(loaded, args)
    context = placement.place(loaded.network, args.device, args.precision)
    answers = _Answers(loaded, args.history or history, evaluation, sampling)
    is_typed = standard_input().isatty()
    for text in _typed() if is_typed else _piped():
        line = text.strip()
        if line == "/quit":
            break
        if line == "/reset":
            answers.turns.clear()
        if line in ("", "/reset"):
            if not is_typed:
                _show("")
            continue
        with context:
            _show(answers.to(text))
    return 0


def _sampling(args: argparse.Namespace) -> "Sampling | None":
    """How tokens are drawn; None: answers are searched for."""
    from lmexp.decoding.sampling import Sampling

    knobs = {name: getattr(args, name) for name in ("temperature", "top_p", "seed")}
    given = {name: value for name, value in knobs.items() if value is not None}
    if not given.keys() - {"seed"}:
        if given:
            raise ValueError(
                f"--seed {args.seed}: a search draws nothing; write --temperature 0.8 as well"
            )
        return None
    for option in SEARCH:
        if (value := getattr(args, option)) is not None:
            raise ValueError(
                f"{typed(option)} {value} is of a search, and --temperature and "
                "--top-p draw instead: leave one of them out"
            )
    return Sampling(**given)


def _settings(loaded: "Loaded", args: argparse.Namespace) -> tuple[Any, int]:
    """The search, and the turns of a source, that the run was made with.

    Raises:
        ValueError: it was not trained on dialogues.
    """
    from lmexp.check import check
    from lmexp.loading import check_kind
    from lmexp.origins import of_file

    if loaded.task.text_kind == "text":
        raise ValueError(
            f"{loaded.path} is of a language model, which was trained on text, not on dialogues: "
            f"continue a text with lmexp generate {args.run}"
        )
    check_kind(loaded, "pairs", args.run)
    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), ("data",))
    history = loaded.recipe["data"]["corpus"].get("history")
    if history is None:
        raise ValueError(
            f"{loaded.path} was trained on {loaded.recipe['data']['corpus']['_target_']}, not on "
            f"turns of dialogues: put lines in with lmexp translate {args.run}"
        )
    return evaluation_asked_for(loaded, args), history


def _typed() -> Iterator[str]:
    """Turns from a terminal, until Ctrl-D, or Ctrl-C where one is awaited."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # arrow keys for input(), where Python has it
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    while True:
        try:
            yield input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            return


def _piped() -> Iterator[str]:
    """Turns from a file or another command, each as soon as it comes."""
    for line in sys.stdin.buffer:
        yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", errors="replace")


def _show(answer: str) -> None:
    """On one line, and without control characters where they could steer a terminal."""
    line = as_line(answer)
    print(line.translate(PICTURES) if sys.stdout.isatty() else line, flush=True)


class _Answers:
    """The dialogue so far, and what the network says next.

    Args:
        loaded: the network with its tokenizer.
        history: turns in a source, at most.
        evaluation: settings of the search.
        sampling: draws instead; None searches.
    """

    def __init__(
        self, loaded: "Loaded", history: int, evaluation: Any, sampling: "Sampling | None"
    ) -> None:
        self.turns: list[str] = []
        self._loaded, self._history = loaded, history
        self._evaluation, self._sampling = evaluation, sampling
        self._longest = loaded.recipe["data"]["max_length"] - 1  # and the end
        self._count = 0  # of answers: each has its own draws
        self._told: set[str] = set()

    def to(self, turn: str) -> str:
        """The answer to one more turn."""
        from lmexp.decoding.translate import sampled, translate

        self.turns.append(turn)
        source = self._source()
        network, evaluation = self._loaded.network, self._evaluation
        if self._sampling is None:
            ((best, *_),) = translate(
                network, [source], evaluation.beam, batch_tokens=evaluation.batch_tokens
            )
            ids: Sequence[int] = best.ids
        else:
            _, most = evaluation.beam.bounds(len(source) - 1)
            sampling = dataclasses.replace(self._sampling, max_new_tokens=max(1, most))
            (ids,) = sampled(network, [source], sampling, first_row=self._count)
        self._count += 1
        answer: str = self._loaded.tokenizer.target.decode(ids)
        self.turns = [*self.turns, answer][-self._history :]
        return answer

    def _source(self) -> list[int]:
        """Ids of the newest turns, as many as history and data.max_length allow, and the end."""
        from lmexp.tokenizers import EOS_ID

        self.turns = self.turns[-self._history :]
        ids = self._encoded()
        while len(ids) > self._longest and len(self.turns) > 1:
            self._tell(f"more than {self._longest} tokens of turns: the oldest are left out")
            del self.turns[0]
            ids = self._encoded()
        if len(ids) > self._longest:
            self._tell(f"a turn of more than {self._longest} tokens: its first are read")
        return [*ids[: self._longest], EOS_ID]

    def _encoded(self) -> list[int]:
        (ids,) = self._loaded.tokenizer.encode_sources(["\n".join(self.turns)])
        found: list[int] = ids.tolist()
        return found

    def _tell(self, text: str) -> None:
        """Once."""
        if text not in self._told:
            self._told.add(text)
            say(text)
