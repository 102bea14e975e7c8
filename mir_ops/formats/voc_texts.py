"""Pascal VOC files of many images at once, the same as `write_voc` makes of one.

What other tools do not read they skip: `polygon` for shapes, `mask` for the number of the object's
mask in `SegmentationObject`, `rle` for a mask that no picture shows whole, `area` and `iscrowd`,
and `unstated`, which names the flags that are written as 0 because readers want a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats.mask_images import PaintedMasks
from mir_ops.formats.texts import (
    ExportedImages,
    Part,
    by_image,
    decimals,
    floats,
    joined_texts,
    of_maps,
    of_stated,
    of_unique,
    shortest,
    where,
    whole,
)
from mir_ops.formats.voc import IMAGE_QUALITY, POSE, escaped, is_xml_name, map_lines

# What an object's element holds, in columns of a layer.
CARRIED: Final = frozenset(
    {"class_id", "x", "y", "w", "h", "angle", "polygon", "rle", "area", "iscrowd", "difficult"}
    | {"truncated", "occluded", "quality", "tags", "confidence", "kind"}
)
_WRITTEN_AS_ZERO: Final = ("occluded", "difficult")
_DEGREES: Final = 180.0


def voc_texts(images: ExportedImages, masks: PaintedMasks) -> pa.Array:
    """The XML of each image; `masks` are those that are pictures beside it."""
    assets = images.assets
    segmented = np.zeros(len(assets), np.bool_)
    segmented[images.owners[masks.numbers > 0]] = True
    names = [escaped(name.rpartition("/")[2]) for name in images.file_names.to_pylist()]
    return joined_texts(
        *heads(pa.array(names, pa.string()), assets, where(pa.array(segmented), "1", "0")),
        of_maps(assets["attributes"], _attributes),
        by_image(_objects(images, masks), images.starts),
        "</annotation>\n",
    )


def heads(names: pa.Array, assets: pa.Table, segmented: Part) -> tuple[Part, ...]:
    """What stands before the attributes and objects of each image; `names` are escaped."""
    return (
        "<annotation>\n  <folder>folder</folder>\n  <filename>",
        names,
        "</filename>\n  <source><database>unknown</database><annotation>unknown</annotation>"
        "<image>unknown</image></source>\n  <size><width>",
        whole(assets["width"]),
        "</width><height>",
        whole(assets["height"]),
        "</height><depth>",
        whole(assets["channels"]),
        "</depth></size>\n  <segmented>",
        segmented,
        "</segmented>\n",
    )


def _objects(images: ExportedImages, masks: PaintedMasks) -> pa.Array:
    rows = images.objects
    if rows.num_rows == 0:
        return pa.array([], pa.string())
    x, y, w, h = (floats(rows[side]) for side in "xywh")
    return joined_texts(
        "  <object>\n    <name>",
        of_unique(images.class_names, escaped),
        "</name>\n    <pose>",
        _poses(rows["tags"]),
        "</pose>\n    <truncated>",
        _flag(rows, "truncated", "unknown"),
        "</truncated>\n    <occluded>",
        _flag(rows, "occluded", "0"),
        "</occluded>\n    <difficult>",
        _flag(rows, "difficult", "0"),
        "</difficult>\n",
        _unstated(rows),
        "    <bndbox>\n      <xmin>",
        decimals(x),
        "</xmin>\n      <ymin>",
        decimals(y),
        "</ymin>\n      <xmax>",
        decimals(x + w - 1),
        "</xmax>\n      <ymax>",
        decimals(y + h - 1),
        "</ymax>\n",
        _angle(rows["angle"]),
        "    </bndbox>\n",
        *_shapes(rows, images, masks),
        of_maps(rows["tags"], _tags),
        _number(rows, "quality", "    ", "box_quality"),
        _number(rows, "confidence", "    ", "confidence"),
        "  </object>\n",
    )


def _shapes(rows: pa.Table, images: ExportedImages, masks: PaintedMasks) -> Iterable[Part]:
    yield _polygons(rows["polygon"])
    if masks.numbers.any():
        body = joined_texts("    <mask>", whole(masks.numbers), "</mask>\n")
        yield where(pa.array(masks.numbers > 0), body)
    inline = np.asarray(rows["rle"].is_valid().to_numpy(), np.bool_) & ~masks.whole
    if inline.any():
        owners = pa.array(images.owners)
        width, height = (whole(images.assets[s].take(owners)) for s in ("width", "height"))
        start = joined_texts('    <rle width="', width, '" height="', height, '">')
        text = of_unique(pc.fill_null(rows["rle"].combine_chunks(), b"").cast(pa.string()), escaped)
        body = joined_texts(start, text, "</rle>\n")
        yield where(pa.array(inline), body)
    derived = floats(rows["w"]) * floats(rows["h"])
    usual = np.isclose(floats(rows["area"]), derived, rtol=1e-6) & pc.equal(rows["kind"], "box")
    area = pc.if_else(pa.array(usual), pa.scalar(None, pa.float32()), rows["area"])
    yield _number(rows.set_column(0, "area_", area), "area_", "    ", "area")
    crowd = rows["iscrowd"]
    start, end = "    <iscrowd>", "</iscrowd>\n"
    yield of_stated(crowd, start, lambda: where(crowd.combine_chunks(), "1", "0"), end)


def _number(rows: pa.Table, name: str, indent: str, element: str) -> Part:
    if name not in rows.column_names:
        return ""
    column = rows[name]
    start, end = f"{indent}<{element}>", f"</{element}>\n"
    return of_stated(column, start, lambda: shortest(column), end)


def _angle(column: pa.ChunkedArray) -> Part:
    start, end = "      <rotate_angle>", "</rotate_angle>\n"
    return of_stated(column, start, lambda: decimals(floats(column) / _DEGREES), end)


def _flag(rows: pa.Table, name: str, unknown: str) -> Part:
    column = rows[name].combine_chunks()
    if column.null_count == len(column):
        return unknown
    return pc.fill_null(where(column, "1", "0"), unknown)


def _unstated(rows: pa.Table) -> Part:
    occluded, difficult = (rows[name].combine_chunks().is_null() for name in _WRITTEN_AS_ZERO)
    both = pc.and_(occluded, difficult)
    names = where(both, " ".join(_WRITTEN_AS_ZERO), where(occluded, "occluded", "difficult"))
    body = joined_texts("    <unstated>", names, "</unstated>\n")
    return where(pc.or_(occluded, difficult), body)


def _polygons(column: pa.ChunkedArray) -> Part:
    """`<polygon><x1>..<y1>..` for each ring; a loop over objects that have one."""
    if column.null_count == len(column):
        return ""
    return pa.array([_rings(rings or ()) for rings in column.to_pylist()], pa.string())


def _rings(rings: Iterable[list[float]]) -> str:
    lines = []
    for ring in rings:
        texts = shortest(pa.array(ring, pa.float32())).to_pylist()
        points = zip(texts[::2], texts[1::2], strict=True)
        inner = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(points, 1))
        lines.append(f"    <polygon>{inner}</polygon>\n")
    return "".join(lines)


def _poses(column: pa.ChunkedArray) -> Part:
    if column.null_count == len(column):
        return "unknown"
    poses = (dict(pairs or ()).get(POSE, "unknown") for pairs in column.to_pylist())
    return pa.array([escaped(pose) for pose in poses], pa.string())


def _tags(pairs: list[tuple[str, str]]) -> str:
    rest = {key: value for key, value in pairs if key != POSE}
    return "".join(f"{line}\n" for line in map_lines("tags", rest, "    "))


def _attributes(pairs: list[tuple[str, str]]) -> str:
    rest = dict(pairs)
    quality = rest.pop(IMAGE_QUALITY, None)
    lines = list(map_lines("cks", rest, "  "))
    if quality:
        lines.append(f"  <{IMAGE_QUALITY}>{escaped(quality)}</{IMAGE_QUALITY}>")
    return "".join(f"{line}\n" for line in lines)


def lost_keys(column: pa.ChunkedArray) -> int:
    """How many keys of these maps cannot be the name of an element."""
    if column.null_count == len(column):
        return 0
    keys = column.combine_chunks().keys.dictionary_encode()
    bad = [not is_xml_name(key) for key in keys.dictionary.to_pylist()]
    return int(np.asarray(bad, np.bool_)[keys.indices.to_numpy()].sum()) if bad else 0
