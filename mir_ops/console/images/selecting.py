"""Which images a page shows, as its query string says it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from mir_ops.console.images.gallery import Selection
from mir_ops.errors import InvalidInputError


def _selection(
    layer: Annotated[list[str] | None, Query()] = None,
    class_id: Annotated[str, Query(alias="class")] = "",
    split: Annotated[str, Query()] = "",
    confidence: Annotated[str, Query()] = "",
    picked: Annotated[str, Query()] = "",
    page: Annotated[str, Query()] = "",
) -> Selection:
    # An empty `layer` says that a person chose; without any the version's own are drawn.
    try:
        return Selection(
            layers=tuple(layer) if layer is not None else None,
            class_id=int(class_id) if class_id else None,
            split=split or None,
            confidence=min(1.0, max(0.0, float(confidence or 0.25))),
            picked=picked == "1",
            page=int(page or 1),
        )
    except ValueError:
        raise InvalidInputError("A filter in the address is not a number") from None


FromQuery = Annotated[Selection, Depends(_selection)]
