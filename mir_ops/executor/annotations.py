"""The annotations of a training job, in the format that its image asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import ExecutorImage, Job
from mir_ops.executor.media import asset_names
from mir_ops.formats.voc import VocFile, VocObject, write_voc

if TYPE_CHECKING:
    from mir_ops.store import Version

# Spellings of YMIR's images; a missing or empty value means VOC, as with YMIR's own host.
_FORMATS: Final = {
    **dict.fromkeys(("", "voc", "det-voc"), "voc"),
    **dict.fromkeys(("ark", "det-ark"), "ark"),
    **dict.fromkeys(("coco", "seg-coco"), "coco"),
}
_SUFFIXES: Final = {"voc": ".xml", "ark": ".txt", "old-ark": ".txt"}
_COCO_FILE: Final = "coco-annotations.json"
_COLUMNS: Final = ["asset_id", "class_id", "x", "y", "w", "h", "angle", "quality"]
_SHAPES: Final = ["kind", "polygon", "rle", "area", "iscrowd"]
_FOLDERS: Final = {"ground_truth": "annotations"}


def check_export_format(settings: Mapping[str, Any], image: ExecutorImage) -> str:
    """`voc`, `ark` or `coco`, from `<annotations>:<images>`.

    An image of YMIR 1.1.0's protocol reads ARK whatever it says, with five columns: `old-ark`.
    """
    if image.protocol.startswith("0."):
        return "old-ark"
    asked = str(settings.get("export_format") or "voc:raw")
    annotations, _, images = asked.partition(":")
    if annotations not in _FORMATS or images not in ("raw", ""):
        raise InvalidInputError(
            f"Setting `export_format` is `{asked}`, which is not written here",
            code="export-format",
            hint="Choose `voc:raw`, `ark:raw` or `coco:raw`, or another executor",
        )
    if image.object_type in (3, 4) and _FORMATS[annotations] != "coco":
        raise InvalidInputError(
            f"Setting `export_format` is `{asked}`, which has no shapes for segmentation",
            code="export-format",
            hint="Set `export_format: seg-coco:raw`",
        )
    return _FORMATS[annotations]


def write_annotations(
    version: Version,
    job: Job,
    assets: pa.Table,
    classes: Mapping[int, str],
    *,
    export_format: str,
    layer: str = "ground_truth",
) -> list[str]:
    """What the layer says about the assets; returns the file of each as the executor sees it.

    VOC and ARK have a file per asset, also where nothing is on it; COCO has one for all.
    """
    folder = _FOLDERS.get(layer, "predictions")
    (job.inputs / folder).mkdir(exist_ok=True)
    boxes = _boxes(version, assets, classes, layer, shapes=export_format == "coco")
    if export_format == "coco":
        content = _coco(assets, boxes, list(classes.values()), classes)
        (job.inputs / folder / _COCO_FILE).write_text(json.dumps(content), encoding="utf-8")
        return [f"/in/{folder}/{_COCO_FILE}"] * assets.num_rows
    return _write_files(job.inputs, folder, assets, boxes, classes, export_format)


def _boxes(
    version: Version, assets: pa.Table, classes: Mapping[int, str], layer: str, *, shapes: bool
) -> pa.Table:
    """The wanted classes' boxes in whole pixels, because that is all that older images read."""
    scored = layer != "ground_truth"
    columns = [*_COLUMNS, *(_SHAPES if shapes else ()), *(["confidence"] if scored else ())]
    boxes = version.layer(layer, columns=columns, ids=assets["asset_id"].combine_chunks())
    wanted = pa.array(list(classes), boxes["class_id"].type)
    boxes = boxes.filter(pc.is_in(boxes["class_id"], value_set=wanted)).sort_by("asset_id")
    for side, length in (("x", "w"), ("y", "h")):
        first = np.floor(boxes[side].to_numpy() + 0.5)
        last = np.floor(boxes[side].to_numpy() + boxes[length].to_numpy() + 0.5)
        for name, values in ((side, first), (length, np.maximum(last - first, 1))):
            place = boxes.schema.get_field_index(name)
            boxes = boxes.set_column(place, name, pa.array(values.astype(np.int64)))
    return boxes if scored else boxes.append_column("confidence", pa.nulls(len(boxes)))


def _write_files(
    inputs: Path,
    folder: str,
    assets: pa.Table,
    boxes: pa.Table,
    classes: Mapping[int, str],
    export_format: str,
) -> list[str]:
    image_names = asset_names(assets)
    names = [name.rpartition(".")[0] + _SUFFIXES[export_format] for name in image_names]
    for shelf in {name[:2] for name in names}:
        (inputs / folder / shelf).mkdir(exist_ok=True)
    objects = _objects_by_asset(boxes, classes)
    rows = assets.select(["asset_id", "width", "height", "channels"]).to_pylist()
    order = {name: number for number, name in enumerate(classes.values())}
    for row, name, image_name in zip(rows, names, image_names, strict=True):
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
            old = export_format == "old-ark"
            content = "".join(_ark_line(entry, order, old=old) for entry in found).encode()
        (inputs / folder / name).write_bytes(content)
    return [f"/in/{folder}/{name}" for name in names]


def _objects_by_asset(
    boxes: pa.Table, classes: Mapping[int, str]
) -> dict[bytes, tuple[VocObject, ...]]:
    found: dict[bytes, list[VocObject]] = {}
    for row in boxes.to_pylist():
        found.setdefault(row["asset_id"], []).append(
            VocObject(
                name=classes[row["class_id"]],
                box=(row["x"], row["y"], row["w"], row["h"]),
                angle=row["angle"],
                quality=row["quality"],
                confidence=row["confidence"],
            )
        )
    return {asset_id: tuple(entries) for asset_id, entries in found.items()}


def _ark_line(entry: VocObject, order: Mapping[str, int], *, old: bool) -> str:
    """`class, xmin, ymin, xmax, ymax, quality, angle in units of pi`, corners inclusive."""
    assert entry.box is not None
    x, y, w, h = (int(side) for side in entry.box)
    corners = f"{order[entry.name]}, {x}, {y}, {x + w - 1}, {y + h - 1}"
    if old:
        return f"{corners}\n"
    quality = -1.0 if entry.quality is None else entry.quality
    angle = (entry.angle or 0.0) / 180.0
    return f"{corners}, {quality:.4f}, {angle:.4f}\n"


def _coco(
    assets: pa.Table, boxes: pa.Table, names: Sequence[str], classes: Mapping[int, str]
) -> dict[str, Any]:
    """The contract's COCO: categories count from 0 in the order asked for, no background."""
    files = [name.rpartition("/")[2] for name in asset_names(assets)]
    rows = assets.select(["asset_id", "width", "height"]).to_pylist()
    numbers = {row["asset_id"]: number for number, row in enumerate(rows, start=1)}
    order = {class_id: number for number, class_id in enumerate(classes)}
    return {
        "images": [
            {"id": number, "file_name": file, "width": row["width"], "height": row["height"]}
            | {"date_captured": "0", "license": 1, "coco_url": "", "flickr_url": ""}
            for number, (row, file) in enumerate(zip(rows, files, strict=True), start=1)
        ],
        "licenses": [{"id": 1, "name": "unknown", "url": ""}],
        "categories": [
            {"id": number, "name": name, "supercategory": "object"}
            for number, name in enumerate(names)
        ],
        "annotations": list(_coco_annotations(boxes, numbers, order, rows)),
    }


def _coco_annotations(
    boxes: pa.Table,
    numbers: Mapping[bytes, int],
    order: Mapping[int, int],
    assets: Sequence[Mapping[str, Any]],
) -> Iterable[dict[str, Any]]:
    for number, row in enumerate(boxes.to_pylist(), start=1):
        image = numbers[row["asset_id"]]
        area = row["w"] * row["h"] if row["area"] is None else row["area"]
        yield {
            "id": number,
            "image_id": image,
            "category_id": order[row["class_id"]],
            "iscrowd": int(bool(row["iscrowd"])),
            "bbox": [row["x"], row["y"], row["w"], row["h"]],
            "confidence": -1.0 if row["confidence"] is None else row["confidence"],
            "area": area,
            "segmentation": _segmentation(row, assets[image - 1]),
        }


def _segmentation(row: Mapping[str, Any], asset: Mapping[str, Any]) -> Any:
    """Run lengths, rings, or the empty mapping that YMIR writes for a box without a shape."""
    if row["rle"] is not None:
        return {"counts": row["rle"].decode(), "size": [asset["height"], asset["width"]]}
    return row["polygon"] or {}
