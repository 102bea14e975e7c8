"""Why each image was picked: what a version's scores say, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from mir_ops.errors import NotFoundError
from mir_ops.store.schema import layer_kind

if TYPE_CHECKING:
    from mir_ops.store import Operation, Store, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One picked image. `nearest` is the labelled image that looks most like it."""

    rank: int  # 1 was picked first
    asset_id: str
    name: str
    score: float
    components: Mapping[str, float]
    reason: str
    nearest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The picks of a version in their order, and how they came about."""

    layer: str
    scored: int
    strategy: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def explain(store: Store, version: Version, *, layer: str | None = None) -> Explanation:
    """What is known of each pick of this version, or of the one that it was picked from."""
    name = _scores_layer(version, layer)
    scores = version.layer(name)
    picked = scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")
    assets = version.assets(
        columns=["asset_id", "source_names"], ids=picked["asset_id"].combine_chunks()
    )
    names = {
        row["asset_id"]: row["source_names"][0] if row["source_names"] else ""
        for row in assets.to_pylist()
    }
    operation = _mining_of(store, version)
    said = dict(operation.parameters) if operation is not None else {}
    return Explanation(
        layer=name,
        scored=scores.num_rows,
        strategy=said.pop("strategy", None),
        notes=tuple(said.pop("notes", ())),
        settings=said,
        choices=tuple(
            Choice(
                rank=row["rank"] + 1,
                asset_id=row["asset_id"].hex(),
                name=names.get(row["asset_id"], ""),
                score=row["score"],
                components=dict(row["components"] or ()),
                reason=row["reason"] or "",
                nearest=row["nearest"].hex() if row["nearest"] else None,
            )
            for row in picked.to_pylist()
        ),
    )


def _scores_layer(version: Version, layer: str | None) -> str:
    found = [name for name in version.layers() if layer_kind(name) == "scores"]
    if layer is None and len(found) == 1:
        return found[0]
    if layer is not None and layer in found:
        return layer
    listed = ", ".join(f"`{name}`" for name in found)
    raise NotFoundError(
        f"Version `{version.id[:12]}` has no layer `{layer}`"
        if layer is not None
        else f"Version `{version.id[:12]}` has {len(found) or 'no'} layers of mining scores",
        code="no-scores",
        hint=f"Name one with `--layer`: {listed}"
        if found
        else "Name a version that `mir mining` or a round picked",
    )


def _mining_of(store: Store, version: Version) -> Operation | None:
    """The operation that scored: this version's, or that of what it was picked from."""
    commit = version.commit
    if commit.operation.kind == "subset" and commit.operation.inputs:
        commit = store.commit(commit.operation.inputs[0])
    return commit.operation if commit.operation.kind == "mine" else None
