"""The annotations of a training job, in the format that its image asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import Job
from mir_ops.executor.media import asset_names
from mir_ops.formats.voc import VocFile, VocObject, write_voc

if TYPE_CHECKING:
    from mir_ops.store import Version

# Spellings of YMIR's images; a missing or empty value means VOC, as with YMIR's own host.
_FORMATS: Final = {"voc": "voc", "det-voc": "voc", "": "voc", "ark": "ark", "det-ark": "ark"}
_SUFFIXES: Final = {"voc": ".xml", "ark": ".txt"}
_COLUMNS: Final = ["asset_id", "class_id", "x", "y", "w", "h", "angle", "quality"]


def check_export_format(settings: Mapping[str, Any]) -> str:
    """`voc` or `ark`, from `<annotations>:<images>`."""
    asked = str(settings.get("export_format") or "voc:raw")
    annotations, _, images = asked.partition(":")
    if annotations not in _FORMATS or images not in ("raw", ""):
        raise InvalidInputError(
            f"Setting `export_format` is `{asked}`, which is not written here",
            code="export-format",
            hint="Choose `voc:raw` or `ark:raw`, or another executor",
        )
    return _FORMATS[annotations]


def write_annotations(
    version: Version,
    job: Job,
    assets: pa.Table,
    classes: Mapping[int, str],
    *,
    export_format: str,
) -> list[str]:
    """One file per asset, also where nothing is on it; returns the paths the executor sees."""
    names = [name.rpartition(".")[0] + _SUFFIXES[export_format] for name in asset_names(assets)]
    folder = job.inputs / "annotations"
    for shelf in {name[:2] for name in names}:
        (folder / shelf).mkdir(exist_ok=True)
    objects = _objects_by_asset(version, assets, classes)
    rows = assets.select(["asset_id", "width", "height", "channels"]).to_pylist()
    order = {name: number for number, name in enumerate(classes.values())}
    for row, name, image_name in zip(rows, names, asset_names(assets), strict=True):
        found = objects.get(row["asset_id"], ())
        if export_format == "voc":
            content = write_voc(
                VocFile(
                    filename=f"/in/assets/{image_name}",
                    size=(row["width"], row["height"]),
                    channels=row["channels"],
                    objects=found,
                )
            )
        else:
            content = "".join(_ark_line(entry, order) for entry in found).encode()
        (folder / name).write_bytes(content)
    return [f"/in/annotations/{name}" for name in names]


def _objects_by_asset(
    version: Version, assets: pa.Table, classes: Mapping[int, str]
) -> dict[bytes, tuple[VocObject, ...]]:
    """The wanted classes' boxes; whole pixels, because that is all that older images read."""
    boxes = version.layer("ground_truth", columns=_COLUMNS, ids=assets["asset_id"].combine_chunks())
    wanted = pa.array(list(classes), boxes["class_id"].type)
    boxes = boxes.filter(pc.is_in(boxes["class_id"], value_set=wanted)).sort_by("asset_id")
    left, top = (np.floor(boxes[side].to_numpy() + 0.5) for side in "xy")
    right = np.floor(boxes["x"].to_numpy() + boxes["w"].to_numpy() + 0.5)
    bottom = np.floor(boxes["y"].to_numpy() + boxes["h"].to_numpy() + 0.5)
    sides = np.stack(
        (left, top, np.maximum(right - left, 1), np.maximum(bottom - top, 1)), axis=1
    ).tolist()
    found: dict[bytes, list[VocObject]] = {}
    rows = boxes.select(["asset_id", "class_id", "angle", "quality"]).to_pylist()
    for row, (x, y, w, h) in zip(rows, sides, strict=True):
        found.setdefault(row["asset_id"], []).append(
            VocObject(
                name=classes[row["class_id"]],
                box=(x, y, w, h),
                angle=row["angle"],
                quality=row["quality"],
            )
        )
    return {asset_id: tuple(entries) for asset_id, entries in found.items()}


def _ark_line(entry: VocObject, order: Mapping[str, int]) -> str:
    """`class, xmin, ymin, xmax, ymax, quality, angle in units of pi`, corners inclusive."""
    assert entry.box is not None
    x, y, w, h = (int(side) for side in entry.box)
    quality = -1.0 if entry.quality is None else entry.quality
    angle = (entry.angle or 0.0) / 180.0
    return f"{order[entry.name]}, {x}, {y}, {x + w - 1}, {y + h - 1}, {quality:.4f}, {angle:.4f}\n"
