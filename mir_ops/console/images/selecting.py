"""Which images of a version are looked at, in which order: the query string of their pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Query

from mir_ops.errors import InvalidInputError

UNASSIGNED: Final = "none"  # in addresses: images of no split
MARKS: Final = ("tp", "fp", "fn")
ARMS: Final = ("mined", "random", "both")
CONFIDENCE: Final = 0.25  # the least that is drawn where nobody says

_HINT: Final = "Take the filter out of the address, or choose it anew on the page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters, all of which an image passes; those of boxes are passed by one and the same box.

    Sides of a box are the root of its area, in pixels. `confidence_to` asks for a prediction
    between `confidence` and it; without it `confidence` is only what is drawn. Attributes and tags
    are `key` or `key=value`. `sort` is a layer of scores; without, what mining picked comes first.
    """

    layers: tuple[str, ...] | None = None  # none: the version's own
    class_id: int | None = None
    split: str | None = None
    attributes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    confidence: float = CONFIDENCE
    confidence_to: float | None = None
    side_from: float | None = None
    side_to: float | None = None
    mark: str | None = None
    picked: bool = False
    arm: str | None = None
    reason: str | None = None
    score_from: float | None = None
    score_to: float | None = None
    sort: str | None = None
    rising: bool = False
    page: int = 1

    @property
    def filters(self) -> Selection:
        """The same filters on the first page: one key for all pages."""
        return replace(self, page=1)

    @property
    def filtered(self) -> bool:
        """Whether anything but layers, confidence and order is asked."""
        asked = replace(self, layers=None, confidence=CONFIDENCE, sort=None, rising=False, page=1)
        return asked != Selection()

    def address(self, **changes: Any) -> str:
        """The query string of this selection, with some of it changed."""
        return "?" + urlencode(list(replace(self, **changes).pairs()))

    def pairs(self) -> Iterator[tuple[str, object]]:
        """Names and values, as they are in an address; what is not asked is left out."""
        if self.layers is not None:
            yield from (("layer", name) for name in self.layers or ("",))
        yield from (("attribute", each) for each in self.attributes)
        yield from (("tag", each) for each in self.tags)
        if self.confidence != CONFIDENCE:
            yield "confidence", f"{self.confidence:g}"
        for name in _PLAIN:
            value = getattr(self, _FIELDS.get(name, name))
            if value is not None:
                yield name, f"{value:g}" if isinstance(value, float) else value
        yield from ((name, 1) for name in ("picked", "rising") if getattr(self, name))
        if self.page > 1:
            yield "page", self.page


_FIELDS: Final = {"class": "class_id"}
_NUMBERS: Final = ("confidence_to", "side_from", "side_to", "score_from", "score_to")
_PLAIN: Final = ("class", "split", *_NUMBERS, "mark", "arm", "reason", "sort")


def _selection(
    layer: Annotated[list[str] | None, Query()] = None,
    class_id: Annotated[str, Query(alias="class")] = "",
    split: str = "",
    attribute: Annotated[list[str] | None, Query()] = None,
    tag: Annotated[list[str] | None, Query()] = None,
    confidence: str = "",
    confidence_to: str = "",
    side_from: str = "",
    side_to: str = "",
    mark: str = "",
    picked: str = "",
    arm: str = "",
    reason: str = "",
    score_from: str = "",
    score_to: str = "",
    sort: str = "",
    rising: str = "",
    page: str = "",
) -> Selection:
    # An empty `layer` says that a person chose; without any the version's own are drawn.
    numbers = (confidence_to, side_from, side_to, score_from, score_to)
    return Selection(
        layers=None if layer is None else tuple(layer),
        class_id=_whole("class", class_id),
        split=split or None,
        attributes=tuple(filter(None, attribute or ())),
        tags=tuple(filter(None, tag or ())),
        confidence=min(1.0, max(0.0, _or(_number("confidence", confidence), CONFIDENCE))),
        mark=_one_of("mark", mark, MARKS),
        picked=picked == "1",
        arm=_one_of("arm", arm, ARMS),
        reason=reason.strip() or None,
        sort=sort or None,
        rising=rising == "1",
        page=_whole("page", page) or 1,
        **{name: _number(name, text) for name, text in zip(_NUMBERS, numbers, strict=True)},
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _number(name: str, text: str) -> float | None:
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise _wrong(name, text, "is not a number")
    return value


def _whole(name: str, text: str) -> int | None:
    value = _number(name, text)
    if value is not None and (value % 1 or abs(value) > 2**31):
        raise _wrong(name, text, "is not a whole number")
    return None if value is None else int(value)


def _one_of(name: str, text: str, known: tuple[str, ...]) -> str | None:
    if text and text not in known:
        raise _wrong(name, text, f"is none of {', '.join(known)}")
    return text or None


def _wrong(name: str, text: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"The filter `{name}` of the address, `{text[:40]}`, {reason}",
        code="bad-filter",
        hint=_HINT,
    )


FromQuery = Annotated[Selection, Depends(_selection)]
