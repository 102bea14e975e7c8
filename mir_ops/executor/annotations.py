"""The annotations of a training job, in the format that its image asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import ExecutorImage, Job
from mir_ops.executor.media import asset_names
from mir_ops.formats.texts import (
    Part,
    by_image,
    decimals,
    floats,
    joined_texts,
    of_stated,
    shortest,
    whole,
)
from mir_ops.formats.voc import escaped
from mir_ops.formats.voc_texts import heads
from mir_ops.store.file_systems import write_file

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
_DEGREES: Final = 180.0
_TOGETHER: Final = 1 << 16  # images whose texts are in memory at once


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
    owners = pc.index_in(boxes["asset_id"], value_set=assets["asset_id"].combine_chunks())
    order = np.argsort(owners.to_numpy(), kind="stable")
    boxes = boxes.take(order)
    starts = np.searchsorted(owners.to_numpy()[order], np.arange(len(assets) + 1))
    for first in range(0, len(assets), _TOGETHER):
        last = min(first + _TOGETHER, len(assets))
        part = boxes.slice(starts[first], starts[last] - starts[first])
        if export_format == "voc":
            objects = _voc_objects(part, classes)
        else:
            objects = _ark_lines(part, classes, old=export_format == "old-ark")
        texts = by_image(objects, starts[first : last + 1] - starts[first])
        if export_format == "voc":
            texts = _voc_texts(assets.slice(first, last - first), image_names[first:last], texts)
        # Folder by folder, which costs file systems less.
        for name, text in sorted(zip(names[first:last], texts.to_pylist(), strict=True)):
            write_file(f"{inputs}/{folder}/{name}", text.encode())
    return [f"/in/{folder}/{name}" for name in names]


def _voc_texts(assets: pa.Table, image_names: Sequence[str], objects: pa.Array) -> pa.Array:
    """The XML of each image, as `write_voc` has it."""
    names = joined_texts("/in/assets/", pa.array(image_names, pa.string()))
    return joined_texts(*heads(names, assets, "0"), objects, "</annotation>\n")


def _voc_objects(boxes: pa.Table, classes: Mapping[int, str]) -> pa.Array:
    quality, confidence = boxes["quality"], boxes["confidence"]
    x, y, last_x, last_y = (whole(side) for side in _corners(boxes))
    return joined_texts(
        "  <object>\n    <name>",
        pa.array([escaped(name) for name in classes.values()], pa.string()).take(
            _class_numbers(boxes, classes)
        ),
        "</name>\n    <pose>unknown</pose>\n    <truncated>unknown</truncated>\n"
        "    <occluded>0</occluded>\n    <difficult>0</difficult>\n    <bndbox>\n      <xmin>",
        x,
        "</xmin>\n      <ymin>",
        y,
        "</ymin>\n      <xmax>",
        last_x,
        "</xmax>\n      <ymax>",
        last_y,
        "</ymax>\n",
        of_stated(
            boxes["angle"],
            "      <rotate_angle>",
            lambda: decimals(floats(boxes["angle"]) / _DEGREES),
            "</rotate_angle>\n",
        ),
        "    </bndbox>\n",
        of_stated(quality, "    <box_quality>", lambda: shortest(quality), "</box_quality>\n"),
        of_stated(confidence, "    <confidence>", lambda: shortest(confidence), "</confidence>\n"),
        "  </object>\n",
    )


def _ark_lines(boxes: pa.Table, classes: Mapping[int, str], *, old: bool) -> pa.Array:
    """`class, xmin, ymin, xmax, ymax, quality, angle in units of pi`, corners inclusive."""
    columns: list[Part] = [", "] * 9
    columns[::2] = [whole(_class_numbers(boxes, classes)), *map(whole, _corners(boxes))]
    if not old:
        quality = pc.fill_null(boxes["quality"], -1.0).to_numpy()
        angle = floats(boxes["angle"]) / _DEGREES
        columns += [", ", _four_places(quality), ", ", _four_places(angle)]
    return joined_texts(*columns, "\n")


def _four_places(values: npt.NDArray[Any]) -> pa.Array:
    return pa.array(np.char.mod("%.4f", values), pa.string())


def _corners(boxes: pa.Table) -> list[npt.NDArray[np.int64]]:
    """First column and row of each box, and its last ones."""
    x, y, w, h = (boxes[side].to_numpy() for side in "xywh")
    return [x, y, x + w - 1, y + h - 1]


def _class_numbers(boxes: pa.Table, classes: Mapping[int, str]) -> pa.Array:
    value_set = pa.array(list(classes), boxes["class_id"].type)
    return pc.index_in(boxes["class_id"].combine_chunks(), value_set=value_set)


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
