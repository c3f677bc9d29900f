"""Signals handed on to the processes that a command has started."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A signal that comes so soon after another is the same request: whoever ends a job tells all of its
# processes, and those that started others pass it on.
SAME_SECONDS = 1.0


def take_over(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install a handler of OBEYED, but of no SIGHUP that nohup ignores; the handlers before."""
    is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in OBEYED if number != signal.SIGHUP or not is_nohup]
    return {number: signal.signal(number, handler) for number in numbers}


def hand_back(before: dict[int, Any]) -> None:
    """Put the handlers that take_over found back."""
    for number, handler in before.items():
        signal.signal(number, handler)
    before.clear()


def deaf(status: int) -> int:
    """A command's exit status; from now on signals are ignored.

    Nothing is left to be saved, and an interpreter that has loaded torch takes a second to end.
    """
    for number in OBEYED:
        signal.signal(number, signal.SIG_IGN)
    return status


class Forwarder:
    """Hands each signal on to the processes under way, once.

    They are in sessions of their own: of Ctrl-C, which a terminal sends to everybody in the group
    of the one that started them, they would see two, and a second one makes a run quit without
    saving.
    """

    def __init__(self) -> None:
        self.received: int | None = None  # the first one
        self._since = 0.0  # when it came, by time.monotonic
        self.urged: float | None = None  # when the second one came, by time.monotonic
        self._processes: tuple[subprocess.Popen[bytes], ...] = ()
        self._waiting: list[int] = []
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take them over, until restore(); nohup stays in force."""
        self._before = take_over(self._handle)

    def restore(self) -> None:
        """Give the signals back to who had them."""
        hand_back(self._before)

    def send_to(self, *processes: "subprocess.Popen[bytes]") -> None:
        """From now on, and what came while they were being started; none: signals wait."""
        self._processes = processes
        self._send()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = number, now
        elif now < self._since + SAME_SECONDS:
            return
        elif self.urged is None:
            self.urged = now
        self._waiting.append(number)
        self._send()

    def _send(self) -> None:
        while self._processes and self._waiting:
            with contextlib.suppress(IndexError):  # another signal came, and was sent, meanwhile
                number = self._waiting.pop(0)
                for process in self._processes:
                    process.send_signal(number)
