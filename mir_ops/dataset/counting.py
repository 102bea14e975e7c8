"""Numbers of a dataset version: counts from its commit, sizes from two columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

if TYPE_CHECKING:
    from mir_ops.store import LayerStats, Version
    from mir_ops.taxonomy import Taxonomy

_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test", "": "others"}


def statistics(version: Version) -> dict[str, Any]:
    """Images by split, size and format; for each layer covered images, boxes, and both by class."""
    stats = version.stats
    table = version.assets(columns=["media_type", "width", "height", "byte_size"])
    formats = table["media_type"].value_counts().to_pylist()
    return {
        "commit": version.id,
        "assets": stats.assets,
        "splits": {name: stats.splits.get(split, 0) for split, name in _SPLIT_NAMES.items()},
        "bytes": pc.sum(table["byte_size"]).as_py() or 0,
        "formats": {entry["values"]: entry["counts"] for entry in formats},
        "width": _range(table["width"]),
        "height": _range(table["height"]),
        "layers": {
            name: _layer(layer, version.taxonomy) for name, layer in sorted(stats.layers.items())
        },
    }


def _layer(layer: LayerStats, taxonomy: Taxonomy) -> dict[str, Any]:
    names = dict(zip(taxonomy.ids, taxonomy.names, strict=True))
    return {
        "assets": layer.assets,
        "rows": layer.rows,
        "classes": {
            names.get(class_id, f"#{class_id}"): {
                "boxes": boxes,
                "assets": layer.class_assets.get(class_id, 0),
            }
            for class_id, boxes in sorted(layer.classes.items())
        },
    }


def _range(column: Any) -> list[int] | None:
    found = pc.min_max(column).as_py()
    return None if found["min"] is None else [found["min"], found["max"]]
