"""How fast a long piece of work goes, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[float, str], None]  # the share that is done, and a word about it


class Pace:
    """Counts things done and tells what people want to know: how many, how fast, how long still.

    What is counted as `MB` is given in bytes. A total of 0 is one that nobody knows.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`before` of the total were done at another time, and say nothing of the pace."""
        self._what = what
        self._total = total
        self._before = before
        self._done = before
        self._clock = clock
        self._start = clock()

    def add(self, count: int) -> None:
        self._done += count

    def reach(self, done: int) -> None:
        """So many are done, or more as was known before."""
        self._done = max(self._done, done)

    @property
    def share(self) -> float:
        return self._done / self._total if self._total else 1.0

    def __str__(self) -> str:
        counted = f"{self._what} {self._shown(self._done)}"
        if self._total:
            counted += f"/{self._shown(self._total)}"
        seconds, done = self._clock() - self._start, self._done - self._before
        if not done or seconds <= 0:
            return counted
        rate = done / seconds
        counted = f"{counted}, {self._shown(rate)}/s"
        if not self._total:
            return counted
        return f"{counted}, {_duration((self._total - self._done) / rate)} left"

    def _shown(self, count: float) -> str:
        return f"{count / 1e6:.1f}" if self._what == "MB" else f"{count:.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
