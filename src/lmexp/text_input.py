"""Texts that are given to a command: arguments, files, lines of standard input."""

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence

from lmexp.errors import not_utf8, say, standard_input


def argument(text: str, name: str) -> str:
    """A text of the command line.

    Args:
        text: as Python hands it on; bytes that are no UTF-8 are surrogates in it.
        name: of the argument.

    Raises:
        ValueError: it is not UTF-8.
    """
    return decoded(os.fsencode(text), name)


def decoded(given: bytes, source: str) -> str:
    """Bytes as text, without a byte order mark.

    Raises:
        ValueError: they are not UTF-8.
    """
    try:
        return given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(source, error) from None


def lines_of(arguments: Sequence[str] | None) -> Iterator[str]:
    """Each argument as a line; without any, those of standard input.

    U+FFFD stands for what is not UTF-8, which is said at the end; a byte order mark is left out.
    """
    given: Iterable[bytes] = map(os.fsencode, arguments) if arguments else standard_input().buffer
    invalid = 0
    for number, line in enumerate(given):
        whole = line.rstrip(b"\r\n")
        if number == 0:
            whole = whole.removeprefix(codecs.BOM_UTF8)
        text = whole.decode("utf-8", errors="replace")
        invalid += text.encode() != whole
        yield text
    if invalid:
        say(f"{invalid} lines are not UTF-8 throughout: U+FFFD stands for what could not be read")
