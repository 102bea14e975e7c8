"""Signals that ask a command to end: it ends what it started, and then itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ASK_TO_END: Final = (signal.SIGTERM, signal.SIGHUP)


class SignalledError(KeyboardInterrupt):
    """Somebody sent this signal: like Ctrl-C, only a command's cleaning up stands in its way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt what runs, once: the cleaning up goes on undisturbed.

    A signal that whoever started us ignores (`nohup`) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in _ASK_TO_END if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in _ASK_TO_END:
        if signal.getsignal(each) is _interrupt:
            signal.signal(each, signal.SIG_IGN)
    raise SignalledError(number)
