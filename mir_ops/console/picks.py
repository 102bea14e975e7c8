"""A page with a picture of every pick, what the model saw on it, and why it was picked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from mir_ops.console.images.gallery import Card, Selection, Shape, drawable_layers, read_cards
from mir_ops.console.rendering import render, stylesheet
from mir_ops.console.report import Picture, inlined, write_whole
from mir_ops.mining import arm_of
from mir_ops.mining.arms import MINED, RANDOM
from mir_ops.mining.explaining import Choice, Explanation
from mir_ops.store import Store, Version
from mir_ops.store.schema import ASSET_ID, layer_kind

SURE: Final = 0.25  # boxes below are drawn thin and without a name
_AGAIN: Final = (MINED, RANDOM, "nearest_labelled")  # components that the page tells otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A picked image, and what is told beside it."""

    choice: Choice
    picture: Picture
    faint: tuple[Shape, ...]
    arm: str | None
    nearest: str  # the labelled image's picture; empty without one
    apart: float | None

    @property
    def numbers(self) -> dict[str, float]:
        """What the score was made of."""
        rest = {k: v for k, v in self.choice.components.items() if k not in _AGAIN}
        return {"score": self.choice.score, **rest}


def write_picks(
    store: Store, version: Version, explanation: Explanation, path: Path, *, title: str
) -> None:
    """One HTML file without scripts that loads nothing: pictures are inside it."""
    picks = list(_picks(store, version, explanation))
    html = render(
        "picks.html",
        style=stylesheet(),
        written_at=datetime.now(UTC),
        title=title,
        explanation=explanation,
        picks=picks,
        arms=[arm for arm in ("mined", "random", "both") if any(one.arm == arm for one in picks)],
        counts={arm: sum(one.arm == arm for one in picks) for arm in ("mined", "random", "both")},
        settings={
            name: value
            for name, value in explanation.settings.items()
            if isinstance(value, str | int | float)
        },
        squarish=bool(picks) and picks[0].picture.card.squarish,
        sure=SURE,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html)


def _picks(store: Store, version: Version, explanation: Explanation) -> Iterator[Pick]:
    ids = pa.array([bytes.fromhex(one.asset_id) for one in explanation.choices], ASSET_ID)
    models = [name for name in drawable_layers(version) if layer_kind(name) == "predictions"]
    layers = tuple(models[-1:])
    sure = read_cards(version, ids, Selection(layers=layers, confidence=SURE))
    whole = read_cards(version, ids, Selection(layers=layers, confidence=0.0))
    for choice, card, every in zip(explanation.choices, sure, whole, strict=True):
        yield Pick(
            choice=choice,
            picture=Picture(card=card, source=inlined(store, card.asset_id)),
            faint=_faint(every),
            arm=arm_of(dict(choice.components)),
            nearest=inlined(store, choice.nearest) if choice.nearest else "",
            apart=choice.components.get("nearest_labelled"),
        )


def _faint(card: Card) -> tuple[Shape, ...]:
    return tuple(shape for shape in card.shapes if (shape.confidence or 0.0) < SURE)
