"""Where a command ends: a user's mistake is one line on stderr, a mistake of ours a traceback."""

import argparse
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TextIO

from lmexp.secret_values import hidden

PACKAGE = Path(__file__).resolve().parent


class Parser(argparse.ArgumentParser):
    """argparse's, whose usage stands in --help alone: a mistake is one line here too."""

    def error(self, message: str) -> NoReturn:
        """Ends with status 2."""
        self.exit(2, f"lmexp: {message}: {self.prog} --help says what there is\n")


def run_command(command: Callable[[], int]) -> int:
    """The exit status: 2 after a user's mistake, 130 after Ctrl-C, 141 if nobody reads on.

    A mistake is told from a defect by how it was raised: by a `raise` in lmexp or in a user's own
    module, or by the operating system.
    """
    if sys.stdout is None:
        say("standard output is closed: write > FILE, or > /dev/null to see nothing")
        return 2
    sys.excepthook = _without_secrets
    try:
        return command()
    except KeyboardInterrupt:
        print("lmexp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough: as of SIGPIPE, without a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end
        return 141
    except (ValueError, TypeError, ArithmeticError, MemoryError, OSError) as error:
        if not isinstance(error, OSError) and not _was_raised_on_purpose(error):
            raise
        print(f"lmexp: {one_line(error)}", file=sys.stderr)
        return 2


def _without_secrets(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A traceback as Python prints it, which may end in a log, but for secrets."""
    print(hidden("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """The message without line breaks or secrets; of the system's own errors the file first."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return hidden(f"{error.filename}: {error.strerror}")
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:  # of a DataLoader's process
        text = f"{text.strip().splitlines()[-1]} (in a process that data.num_workers= started)"
    return hidden(" ".join(text.split())) or type(error).__name__


def say(text: str) -> None:
    """A remark for people, beside what a command puts out."""
    print(f"lmexp: {text}", file=sys.stderr, flush=True)


def standard_input() -> TextIO:
    """sys.stdin.

    Raises:
        ValueError: it was closed by whoever started the command.
    """
    if sys.stdin is None:
        raise ValueError("standard input is closed: write < FILE, or < /dev/null for nothing")
    return sys.stdin


def typed(option: str) -> str:
    """An option of the command line as it is typed, from its name in the parsed arguments."""
    return f"--{option.replace('_', '-')}"


def not_utf8(source: Path | str, error: UnicodeDecodeError) -> ValueError:
    """The error of a text in another encoding: where it is wrong and what to do."""
    return ValueError(
        f"{source} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {error.start}: "
        "save or type it as UTF-8"
    )


def _was_raised_on_purpose(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    file = trace.tb_frame.f_code.co_filename
    if not linecache.getline(file, trace.tb_lineno).strip().startswith("raise "):
        return False
    path = Path(file).resolve()
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    return path.is_relative_to(PACKAGE) or not any(map(path.is_relative_to, libraries))
