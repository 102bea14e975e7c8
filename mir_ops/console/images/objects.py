"""Everything that is known of the annotations on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mir_ops.console.images.gallery import Shape, ring_texts
from mir_ops.console.images.lookups import Lookup
from mir_ops.console.images.matching import TRUTH, evaluated
from mir_ops.evaluation.marks import MARK, MISSED, MISTAKE
from mir_ops.store import Version, rows

_FLAGS: Final = ("iscrowd", "difficult", "truncated", "occluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation; `flags` are those of its yes-or-no columns that are yes."""

    layer: str
    annotation_id: int
    shape: Shape
    area: float
    flags: tuple[str, ...]
    quality: float | None
    tags: Mapping[str, str]
    annotator: str | None
    rle: bytes | None

    @property
    def plain_tags(self) -> Mapping[str, str]:
        """Those that are not an evaluation's."""
        return {key: value for key, value in self.tags.items() if not key.startswith("eval_")}

    @property
    def mistake(self) -> str | None:
        """The kind of mistake of a prediction that is wrong."""
        return self.tags.get(MISTAKE) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a version says of one image, but for its annotations."""

    attributes: Mapping[str, str]
    source_names: tuple[str, ...]
    group_id: str | None
    capture_time: str | None


def read_facts(lookup: Lookup, version: Version) -> Facts:
    """Attributes, names and the like."""
    table = lookup.read(version.table("assets"))
    row = table.to_pylist()[0] if table is not None else {}
    taken = row.get("capture_time")
    return Facts(
        attributes=dict(row.get("attributes") or ()),
        source_names=tuple(row.get("source_names") or ()),
        group_id=row.get("group_id"),
        capture_time=taken.isoformat() if taken else None,
    )


def read_annotations(lookup: Lookup, version: Version, layers: tuple[str, ...]) -> list[Annotation]:
    """All annotations of these layers, the most certain predictions of each first."""
    names = dict(zip(version.taxonomy.ids, version.taxonomy.names, strict=True))
    found: list[Annotation] = []
    for layer in layers:
        table = lookup.read(version.table(layer))
        if table is None:
            continue
        missed = _missed(version, lookup) if layer == TRUTH else frozenset()
        each = [_annotation(layer, row, names, missed) for row in rows.rows_only(table).to_pylist()]
        found += sorted(each, key=lambda one: -(one.shape.confidence or 0.0))
    return found


def _missed(version: Version, lookup: Lookup) -> frozenset[int]:
    """Annotation ids of the ground truth that a model of this version missed."""
    found: set[int] = set()
    for layer in version.layers():
        scores = evaluated(version, layer) if layer.startswith("predictions") else None
        table = lookup.read(version.table(scores)) if scores else None
        for row in table.to_pylist() if table is not None else ():
            keys = (key for key, _ in row.get("components") or ())
            found |= {int(key[len(MISSED) :]) for key in keys if key.startswith(MISSED)}
    return frozenset(found)


def _annotation(
    layer: str, row: Mapping[str, Any], names: Mapping[int, str], missed: frozenset[int]
) -> Annotation:
    tags = dict(row.get("tags") or ())
    shape = Shape(
        class_id=row["class_id"],
        name=names.get(row["class_id"], f"class {row['class_id']}"),
        confidence=row.get("confidence"),
        kind=row["kind"],
        **{name: round(float(row[name] or 0), 2) for name in ("x", "y", "w", "h")},
        angle=round(float(row.get("angle") or 0), 2),
        rings=tuple(ring_texts(row.get("polygon"))),
        mark="fn" if row["annotation_id"] in missed else _mark(tags),
    )
    return Annotation(
        layer=layer,
        annotation_id=row["annotation_id"],
        shape=shape,
        area=float(row.get("area") or shape.w * shape.h),
        flags=tuple(flag for flag in _FLAGS if row.get(flag)),
        quality=row.get("quality"),
        tags=tags,
        annotator=row.get("annotator"),
        rle=row.get("rle"),
    )


def _mark(tags: Mapping[str, str]) -> str | None:
    return tags[MARK] if tags.get(MARK) in ("tp", "fp") else None
