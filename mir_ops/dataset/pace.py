"""How fast a long piece of work goes, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Counts things done and tells what people want to know: how many, how fast, how long still."""

    def __init__(
        self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._clock = clock
        self._start = clock()

    def add(self, count: int) -> None:
        self._done += count

    @property
    def share(self) -> float:
        return self._done / self._total if self._total else 1.0

    def __str__(self) -> str:
        counted = f"{self._what} {self._done}/{self._total}"
        seconds = self._clock() - self._start
        if not self._done or seconds <= 0:
            return counted
        rate = self._done / seconds
        left = (self._total - self._done) / rate
        return f"{counted}, {rate:.0f}/s, {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
