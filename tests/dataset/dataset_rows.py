"""Dataset versions made of rows: images that nobody decodes, with boxes, splits and attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from mir_ops.store import Operation, Store, Version
from mir_ops.taxonomy import ClassName, Taxonomy

CLASSES = ("cat", "dog", "bird")
_ADDED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image: the classes of its boxes; `predicted` None is not looked at."""

    name: str
    boxes: Sequence[str] | None = ()
    predicted: Sequence[str] | None = None
    split: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (64, 48)
    byte_size: int = 1000
    group: str | None = None
    hashed: int | None = None

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode()).digest()


def put(store: Store, branch: str, images: Sequence[Row]) -> Version:
    """Commit these images to a new branch."""
    known = store.register_classes(CLASSES)
    with store.edit(
        branch,
        op_id=hashlib.sha256(f"put {branch}".encode()).hexdigest(),
        operation=Operation(kind="import"),
        message="Put",
    ) as edit:
        edit.put_taxonomy(
            Taxonomy(tuple(ClassName(number, name) for name, number in known.items()))
        )
        edit.put_assets(asset_table(images))
        for layer, of in (("ground_truth", "boxes"), ("predictions:m", "predicted")):
            covered = [image for image in images if getattr(image, of) is not None]
            if covered:
                labels = {image.id: getattr(image, of) for image in covered}
                edit.put_layer(layer, box_table(labels, known, layer), assets=list(labels))
    return store.read(branch)


def asset_table(images: Sequence[Row]) -> pa.Table:
    return pa.table(
        {
            "asset_id": [image.id for image in images],
            "media_type": ["image/jpeg"] * len(images),
            "width": [image.size[0] for image in images],
            "height": [image.size[1] for image in images],
            "channels": [3] * len(images),
            "byte_size": [image.byte_size for image in images],
            "orientation": [1] * len(images),
            "source_names": [[image.name] for image in images],
            "split": pa.array([image.split for image in images], pa.string()),
            "attributes": pa.array(
                [list(image.attributes.items()) for image in images],
                pa.map_(pa.string(), pa.string()),
            ),
            "added_at": [_ADDED] * len(images),
            "ymir_sha1": [image.id[:20] for image in images],
            "perceptual_hash": pa.array([image.hashed for image in images], pa.uint64()),
            "group_id": pa.array([image.group for image in images], pa.string()),
        }
    )


def box_table(labels: dict[bytes, Sequence[str]], known: dict[str, int], layer: str) -> pa.Table:
    boxes = [(key, n, known[name]) for key, names in labels.items() for n, name in enumerate(names)]
    columns = {
        "asset_id": pa.array([key for key, _, _ in boxes], pa.binary(32)),
        "annotation_id": pa.array([n for _, n, _ in boxes], pa.uint64()),
        "class_id": pa.array([class_id for _, _, class_id in boxes], pa.int32()),
        "kind": pa.array(["box"] * len(boxes), pa.string()),
        **{side: pa.array([10.0] * len(boxes), pa.float32()) for side in ("x", "y", "w", "h")},
    }
    if layer.startswith("predictions"):
        columns["confidence"] = pa.array([0.5] * len(boxes), pa.float32())
    return pa.table(columns)


def names(version: Version) -> list[str]:
    """The names of a version's images."""
    column = version.assets(columns=["source_names"])["source_names"]
    return sorted(found[0] for found in column.to_pylist())
