"""Command `generate`: continues prompts with a trained language model."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp import placement, text_input
from lmexp.errors import typed

if TYPE_CHECKING:
    from lmexp.decoding.sampling import Sampling
    from lmexp.decoding.text_stream import TextStream

LONG_PROMPT = 10_000  # tokens; reading them takes seconds
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}  # ESC becomes ␛
PICTURES |= dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)  # DEL, and U+009B, which begins what ESC does


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `generate`."""
    parser.add_argument("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--prompt", action="append", help="text to continue; repeatable; '' starts from nothing"
    )
    source.add_argument(
        "--prompts-file", type=Path, help="one prompt a line; without either: standard input"
    )
    add = parser.add_argument
    add("--max-new-tokens", type=int, default=200, help="at most so many (default %(default)s)")
    add("--temperature", type=float, help="0 is greedy (default 0.8)")
    add("--top-k", type=int, help="draw among the k most probable tokens (default all)")
    add("--top-p", type=float, help="draw from the smallest set of this mass (default 0.95)")
    add("--greedy", action="store_true", help="the most probable token every time")
    add("--repetition-penalty", type=float, default=1.0, help="try 1.2 (default %(default)s: none)")
    add("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    add("--stop", action="append", default=[], help="end before this string; repeatable")
    add("--num-samples", type=int, default=1, help="continuations of each prompt (default 1)")
    add("--batch-size", type=int, default=16, help="rows at a time (default %(default)s)")
    add("--no-cache", action="store_true", help="read the whole text again for every token")
    add("--json", action="store_true", help="one JSON object a line instead of text")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `generate`; returns the exit status."""
    texts = [text for text in _prompts(args) for _ in range(_positive(args, "num_samples"))]
    size = _positive(args, "batch_size")
    from lmexp.decoding.generate import generate
    from lmexp.decoding.prepacked import prepack
    from lmexp.decoding.text_stream import TextStream
    from lmexp.loading import load_language_model

    loaded = load_language_model(args.run, allow_targets=args.allow_targets)
    prompts = [[loaded.vocab.bos_id, *loaded.tokenizer.encode(text)] for text in texts]
    _say_how_long(prompts, getattr(loaded.network, "max_length", None))
    sampling = _sampling(args)
    printer = _JsonLines(args.seed) if args.json else _Terminal(len(texts))
    context = placement.place(loaded.network, args.device, args.precision)
    if args.precision != "bf16-mixed":
        prepack(loaded.network)
    started, count = time.perf_counter(), 0
    for first in range(0, len(texts), size):
        batch = prompts[first : first + size]
        streams = [TextStream(loaded.tokenizer.decode, ids, sampling.stop) for ids in batch]
        printer.begin(first, texts[first : first + size], streams)
        with context:
            rows = generate(
                loaded.network,
                batch,
                sampling,
                eos_id=loaded.vocab.eos_id,
                pad_id=loaded.vocab.pad_id,
                decode=loaded.tokenizer.decode,
                on_token=printer.take,
                cached=not args.no_cache,
                first_row=first,
            )
        printer.end(rows, sampling.max_new_tokens)
        count += sum(map(len, rows))
    seconds = time.perf_counter() - started
    print(f"{count} tokens in {seconds:.1f} s: {count / seconds:.0f} a second", file=sys.stderr)
    return 0


def _positive(args: argparse.Namespace, name: str) -> int:
    value: int = getattr(args, name)
    if value < 1:
        raise ValueError(f"{typed(name)} {value}: at least 1")
    return value


def _prompts(args: argparse.Namespace) -> list[str]:
    """The texts to continue; an empty text where standard input is a terminal or empty."""
    if args.prompt:
        return [text_input.argument(prompt, "--prompt") for prompt in args.prompt]
    if args.prompts_file is not None:
        text = text_input.decoded(args.prompts_file.read_bytes(), str(args.prompts_file))
        if not text:
            raise ValueError(f"{args.prompts_file} is empty: write one prompt a line")
    else:
        is_silent = sys.stdin is None or sys.stdin.isatty()
        text = "" if is_silent else text_input.decoded(sys.stdin.buffer.read(), "standard input")
    lines = text.replace("\r\n", "\n").removesuffix("\n")
    return lines.split("\n")


def _say_how_long(prompts: Sequence[Sequence[int]], max_length: int | None) -> None:
    longest = max(map(len, prompts))
    if max_length is not None and longest > max_length:
        which = "the prompt has" if len(prompts) == 1 else "the longest prompt has"
        print(
            f"lmexp: {which} {longest} tokens, and the network has learned {max_length} positions: "
            f"it reads the newest {max_length}",
            file=sys.stderr,
        )
    elif longest > LONG_PROMPT:
        print(f"lmexp: reading {longest:,} tokens before the first new one", file=sys.stderr)


def _sampling(args: argparse.Namespace) -> "Sampling":
    from lmexp.decoding.sampling import Sampling

    knobs = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    given = {name: value for name, value in knobs.items() if value is not None}
    if args.greedy and given:
        name, value = next(iter(given.items()))
        raise ValueError(
            f"--greedy and {typed(name)} {value} exclude each other: "
            "greedy always takes the most probable token"
        )
    return Sampling(
        **({"temperature": 0.0} if args.greedy else {"temperature": 0.8, "top_p": 0.95} | given),
        repetition_penalty=args.repetition_penalty,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        stop=tuple(args.stop),
    )


class _Rows:
    """Texts of a batch as its tokens come."""

    def begin(self, first: int, prompts: Sequence[str], streams: Sequence["TextStream"]) -> None:
        """A batch begins; `first` is the number of its first row."""
        self.first, self.prompts, self.streams = first, prompts, streams
        self.texts = [""] * len(prompts)

    def take(self, row: int, token_id: int) -> None:
        """One more token of a row."""
        self.texts[row - self.first] += self.streams[row - self.first].push(token_id)

    def finish(self) -> None:
        """No token follows."""
        self.texts = [
            text + stream.finish() for text, stream in zip(self.texts, self.streams, strict=True)
        ]


class _Terminal(_Rows):
    """Prompt and continuation; the first row of a batch as it comes, the others after it."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.is_terminal = sys.stdout.isatty()

    def begin(self, first: int, prompts: Sequence[str], streams: Sequence["TextStream"]) -> None:
        super().begin(first, prompts, streams)
        self._head(0)

    def take(self, row: int, token_id: int) -> None:
        known = len(self.texts[0])
        super().take(row, token_id)
        self._write(self.texts[0][known:])

    def end(self, new_ids: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        """Writes what has not been written yet."""
        known = len(self.texts[0])
        self.finish()
        self._write(self.texts[0][known:] + "\n")
        for row in range(1, len(self.texts)):
            self._head(row)
            self._write(self.texts[row] + "\n")

    def _head(self, row: int) -> None:
        if self.rows > 1:
            self._write(f"--- {self.first + row + 1} of {self.rows} ---\n")
        prompt = self._visible(self.prompts[row])
        self._write(f"\x1b[1m{prompt}\x1b[0m" if self.is_terminal else prompt, is_safe=True)

    def _visible(self, text: str) -> str:
        """Control characters as pictures: a text cannot steer the terminal it is shown in."""
        return text.translate(PICTURES) if self.is_terminal else text

    def _write(self, text: str, *, is_safe: bool = False) -> None:
        if text:
            sys.stdout.write(text if is_safe else self._visible(text))
            sys.stdout.flush()


class _JsonLines(_Rows):
    """One object a row: prompt, text, ids, what ended it, the seed and the row of its draws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def end(self, new_ids: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        """Writes the batch."""
        self.finish()
        for row, ids in enumerate(new_ids):
            ended = "max_new_tokens" if len(ids) == max_new_tokens else "eos"
            fields: dict[str, Any] = {
                "prompt": self.prompts[row],
                "text": self.texts[row],
                "ids": list(ids),
                "ended_by": "stop" if self.streams[row].is_stopped else ended,
                "seed": self.seed,
                "row": self.first + row,
            }
            print(json.dumps(fields, ensure_ascii=False), flush=True)
