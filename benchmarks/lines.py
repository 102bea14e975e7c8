"""What a benchmark says: one comparison a line, as text or as a JSON object."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    ">": operator.gt,
    "times less": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison; what has neither a bar nor a limit is reported and not judged.

    `bar` holds for the ratio ours / other, or in the sense `times less` for other / ours; `limit`
    is the most that ours may be. `ours` is None where it could not be measured. A line that
    `failed`, for want of a peer or because results differ, is not ok whatever was measured.
    """

    name: str
    ours: float | None
    other: float | None = None
    bar: float | None = None
    sense: str = "<="
    limit: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        one, other = self.ours, self.other
        if self.sense == "times less":
            one, other = other, one
        return round(one / other, 3) if one is not None and other else None

    @property
    def ok(self) -> bool | None:
        if self.failed:
            return False
        if self.bar is None and self.limit is None:
            return None
        if self.bar is not None and (
            self.ratio is None or not _HOLDS[self.sense](self.ratio, self.bar)
        ):
            return False
        return self.limit is None or (self.ours is not None and self.ours <= self.limit)

    def to_json(self) -> str:
        values = {
            "name": self.name,
            "ours": None if self.ours is None else round(self.ours, 5),
            "other": None if self.other is None else round(self.other, 5),
            "ratio": self.ratio,
            "bar": self.bar,
            "ok": self.ok,
        }
        more = {"limit": self.limit, "note": self.note or None}
        return json.dumps(values | {name: one for name, one in more.items() if one is not None})

    def __str__(self) -> str:
        judged = {None: "", True: "ok", False: "MISSED"}[self.ok]
        bar = "" if self.bar is None else f"{self.sense} {self.bar:g}".replace("times less", ">=")
        limit = "" if self.limit is None else f"<= {self.limit:.4g}"
        columns = f"{self.name:60} {_text(self.ours):>12} {_text(self.other):>12}"
        return f"{columns} {_text(self.ratio):>8} {bar:8} {limit:9} {judged} {self.note}".rstrip()


def report(lines: Iterable[Line], *, as_json: bool) -> int:
    """Print each line as soon as it is known; the exit code: 1 where a bar or limit was missed."""
    missed = False
    for line in lines:
        print(line.to_json() if as_json else line, flush=True)
        missed |= line.ok is False
    return int(missed)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"
