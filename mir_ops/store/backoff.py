"""How long to wait before trying again."""

from __future__ import annotations

import random
import time
from typing import Final

_FIRST: Final = 0.05
_LONGEST: Final = 5.0


class Backoff:
    """Full jitter, from 50 ms to 5 s, until a deadline."""

    def __init__(self, deadline_seconds: float = 60) -> None:
        self._deadline = time.monotonic() + deadline_seconds
        self._ceiling = _FIRST

    def wait(self) -> bool:
        """Sleep a while; False when the deadline has passed and trying again is pointless."""
        if time.monotonic() > self._deadline:
            return False
        time.sleep(random.uniform(0, self._ceiling))
        self._ceiling = min(self._ceiling * 2, _LONGEST)
        return True
