"""Numbers of a dataset version: counts from its commit, sizes from two columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mir_ops.store import LayerStats, Version
    from mir_ops.taxonomy import Taxonomy

_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test", "": "others"}


def counts(version: Version) -> dict[str, Any]:
    """Images by split; for each layer covered images, boxes, and both by class. Reads no row."""
    stats = version.stats
    return {
        "commit": version.id,
        "images": stats.assets,
        "splits": {name: stats.splits.get(split, 0) for split, name in _SPLIT_NAMES.items()},
        "layers": {
            name: _layer(layer, version.taxonomy) for name, layer in sorted(stats.layers.items())
        },
    }


def statistics(version: Version) -> dict[str, Any]:
    """The counts, and what two columns say: sizes and formats of the images."""
    import pyarrow.compute as pc

    table = version.assets(columns=["media_type", "width", "height", "byte_size"])
    formats = table["media_type"].value_counts().to_pylist()
    return {
        **counts(version),
        "bytes": pc.sum(table["byte_size"]).as_py() or 0,
        "formats": {entry["values"]: entry["counts"] for entry in formats},
        "width": _range(table["width"]),
        "height": _range(table["height"]),
    }


def _layer(layer: LayerStats, taxonomy: Taxonomy) -> dict[str, Any]:
    names = dict(zip(taxonomy.ids, taxonomy.names, strict=True))
    return {
        "images": layer.assets,
        "rows": layer.rows,
        "classes": {
            names.get(class_id, f"#{class_id}"): {
                "boxes": boxes,
                "images": layer.class_assets.get(class_id, 0),
            }
            for class_id, boxes in sorted(layer.classes.items())
        },
    }


def _range(column: Any) -> list[int] | None:
    import pyarrow.compute as pc

    found = pc.min_max(column).as_py()
    return None if found["min"] is None else [found["min"], found["max"]]
