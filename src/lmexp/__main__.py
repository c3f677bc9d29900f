"""`python -m lmexp <command>`, and `lmexp <command>` once installed."""

import importlib
import sys
from collections.abc import Sequence

from lmexp.errors import Parser, run_command
from lmexp.forwarding import deaf

COMMANDS = {
    "train": ("recipe", "train.py with the configuration that comes with lmexp"),
    "run": ("launch", "start a run from a frozen recipe.yaml"),
    "slurm": ("slurm", "the batch file that trains on a SLURM cluster and goes on when requeued"),
    "plan": ("plan", "what a run would do, before any compute"),
    "check": ("checks.command", "the test-suite for a model or data of your own"),
    "models": ("models", "which architecture does which task"),
    "evaluate": ("evaluate", "score a split or a file with a trained model"),
    "generate": ("predict", "continue prompts with a trained model"),
    "translate": ("translate", "a line out for every line in, with a trained text-to-text model"),
    "replay": ("replay", "the step whose loss or gradient was not finite, alone"),
    "average": ("average", "one checkpoint whose weights are the mean of several"),
    "consolidate": ("consolidate", "one file out of a checkpoint that is a folder"),
    "fill": ("fill", "what a masked language model puts in the place of [MASK]"),
    "label": ("label", "tags of words or labels of texts, with confidences"),
    "answer": ("answer", "what of a text answers a question"),
    "sample": ("sample", "sentences from a sentence VAE"),
    "interpolate": ("interpolate", "sentences between two, from a sentence VAE"),
    "match": ("match", "which of many texts fit a text best"),
    "attend": ("attend", "maps of where a trained model looks, as PNG"),
    "chat": ("chat", "talk with a model trained on dialogues"),
    "sweep": ("sweep.command", "how a sweep stands and goes on; sweeps of W&B"),
    "compare": ("compare.command", "groups of runs beside each other, with tests and costs"),
    "sync": ("sync", "upload what was mirrored to Weights & Biases offline"),
    "show": ("show", "curves, samples and counts of a run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        print(f"lmexp: {_unknown(name)}", file=sys.stderr)
        return 2
    return run_command(lambda: _run(name, rest))


def _run(name: str, rest: Sequence[str]) -> int:
    module = importlib.import_module(f"lmexp.{COMMANDS[name][0]}")
    if name == "train":
        return int(module.main(rest))
    parser = Parser(prog=f"lmexp {name}", description=COMMANDS[name][1])
    module.add_arguments(parser)
    return int(module.main(parser.parse_intermixed_args(rest)))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        ["usage: lmexp <command> …; lmexp <command> --help says more", "", "commands:", *lines]
    )


def _unknown(name: str) -> str:
    from lmexp.check import nearest

    return f"there is no command '{name}'{nearest(name, COMMANDS) or '.'} There are " + ", ".join(
        COMMANDS
    )


if __name__ == "__main__":
    raise SystemExit(deaf(main()))
