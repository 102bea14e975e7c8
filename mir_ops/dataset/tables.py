"""The tables of an import: the images that decoded, and the annotations that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.dataset.sources import ImportSource, ReadImage
from mir_ops.formats.images import TURNED, ImageFacts
from mir_ops.formats.parsed import OBJECTS, Matched, Parsed
from mir_ops.store import schema
from mir_ops.taxonomy import Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Version

Layer = tuple[pa.Table, list[bytes]]  # the rows, and the assets that they cover
_LONGEST_CLASS_NAME = 200


@dataclass(slots=True)
class ImportedImages:
    """Images by content: equal bytes are one asset, whatever their names."""

    ids: list[bytes] = field(default_factory=list)
    facts: list[ImageFacts] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, batch: Sequence[ReadImage], blobs: Sequence[str], tally: Tally) -> None:
        for image, blob in zip(batch, blobs, strict=True):
            asset_id = bytes.fromhex(blob)
            number = self._numbers.setdefault(asset_id, len(self.ids))
            if number < len(self.ids):
                tally.add("image-twice", f"{image.name} = {self.names[number][0]}")
                self.names[number].append(image.name)
            else:
                self.ids.append(asset_id)
                self.facts.append(image.facts)
                self.names.append([image.name])


def layer_table(
    matched: Matched,
    images: ImportedImages,
    taxonomy: Taxonomy,
    tally: Tally,
    *,
    predictions: bool,
) -> Layer:
    """The table of a layer, and the assets that it covers."""
    parsed = matched.parsed
    numbers = np.full(parsed.images.num_rows, -1, np.int64)
    rows = np.full(len(images.ids), -1, np.int64)
    for number, names in enumerate(images.names):
        annotated = [name for name in names if name in matched.rows]
        if annotated:
            rows[number] = matched.rows[annotated[0]]
            if len(annotated) > 1:
                _count_differing(matched, annotated, tally)
    covered = np.flatnonzero(rows >= 0)
    numbers[rows[covered]] = covered
    objects, class_ids = _known_objects(
        parsed, numbers, taxonomy, tally, predictions=predictions
    )
    sources = np.full(len(rows), "", object)
    sources[covered] = parsed.images["source"].take(pa.array(rows[covered])).to_pylist()
    frames = ImageFrames(
        asset_ids=images.ids,
        widths=[facts.width for facts in images.facts],
        heights=[facts.height for facts in images.facts],
        turns=_turns(parsed, images, rows, tally),
        sources=sources.tolist(),
    )
    table = annotation_table(
        objects,
        class_ids,
        frames,
        tally,
        relative=parsed.relative,
        boxes_only=parsed.boxes_only,
        predictions=predictions,
    )
    return table, [images.ids[number] for number in covered.tolist()]


def is_class_name(name: str) -> bool:
    return 0 < len(normalise(name)) <= _LONGEST_CLASS_NAME and name.isprintable()


def _known_objects(
    parsed: Parsed,
    numbers: npt.NDArray[np.int64],
    taxonomy: Taxonomy,
    tally: Tally,
    *,
    predictions: bool,
) -> tuple[pa.Table, npt.NDArray[np.int32]]:
    """Objects of images that were taken and of classes that are known, with the classes' ids."""
    objects = parsed.objects.combine_chunks()
    image = numbers[objects["image"].to_numpy()]
    names = objects["class_name"].combine_chunks().dictionary_encode()
    texts = names.dictionary.to_pylist()
    ids = np.asarray([_class_id(text, taxonomy) for text in texts], np.int32)
    class_ids = ids[names.indices.to_numpy()] if len(ids) else np.zeros(0, np.int32)
    nameless = pc.take(parsed.images["source"], objects["image"].filter(pa.array(class_ids == -2)))
    tally.add_all("object-without-class", nameless.to_pylist())
    kept = (image >= 0) & (class_ids >= 0)
    if predictions:
        unsure = pc.and_(pa.array(kept), pc.is_null(objects["confidence"]))
        said = pc.take(parsed.images["source"], objects["image"].filter(unsure))
        tally.add_all("prediction-without-confidence", said.to_pylist())
    objects = objects.set_column(0, OBJECTS.field("image"), pa.array(image))
    return objects.filter(pa.array(kept)), class_ids[kept]


def _class_id(name: str, taxonomy: Taxonomy) -> int:
    """The id; -1 for a class that nobody declared, -2 for a name that can be none."""
    if not is_class_name(name):
        return -2
    found = taxonomy.id_of(name)
    return -1 if found is None else found


def _count_differing(matched: Matched, names: Sequence[str], tally: Tally) -> None:
    parsed = matched.parsed
    places = ["class_name", "x", "y", "w", "h", "angle", "polygon", "rle"]

    def objects(name: str) -> set[str]:
        its = parsed.objects.filter(pc.equal(parsed.objects["image"], matched.rows[name]))
        return {repr(row) for row in its.select(places).to_pylist()}

    first = objects(names[0])
    for name in names[1:]:
        if matched.rows[name] != matched.rows[names[0]] and objects(name) != first:
            source = parsed.images["source"][matched.rows[name]].as_py()
            tally.add("annotation-differs", f"{source}: {name} = {names[0]}")


def _turns(
    parsed: Parsed, images: ImportedImages, rows: npt.NDArray[np.int64], tally: Tally
) -> list[int]:
    """How the boxes of each image must be turned: they may be of it before its EXIF rotation."""
    turns = [1] * len(images.ids)
    covered = np.flatnonzero(rows >= 0)
    stated = parsed.images.select(["width", "height", "source"]).take(pa.array(rows[covered]))
    across, down = (pc.fill_null(stated[side], 0).to_numpy() for side in ("width", "height"))
    facts = [images.facts[number] for number in covered.tolist()]
    agree = (across == [f.width for f in facts]) & (down == [f.height for f in facts])
    for row in np.flatnonzero(~agree & (across > 0) & (down > 0)).tolist():
        image, source = facts[row], stated["source"][row].as_py()
        if image.orientation in TURNED and (across[row], down[row]) == (image.height, image.width):
            tally.add("boxes-turned", source)
            turns[int(covered[row])] = image.orientation
        else:
            said, real = f"{across[row]} x {down[row]}", f"{image.width} x {image.height}"
            tally.add("size-differs", f"{source}: {said}, the image has {real}")
    return turns


def asset_table(
    images: ImportedImages, before: Version | None, split: str | None, source: ImportSource
) -> pa.Table:
    """Rows of the images; what the branch knows of them already is kept."""
    known = _known_assets(images.ids, before)
    now = datetime.now(UTC)
    facts = images.facts
    earlier = [known.get(asset_id, {}) for asset_id in images.ids]
    columns: dict[str, list[object]] = {
        "asset_id": list(images.ids),
        "media_type": [f.media_type for f in facts],
        "width": [f.width for f in facts],
        "height": [f.height for f in facts],
        "channels": [f.channels for f in facts],
        "byte_size": [f.byte_size for f in facts],
        "orientation": [f.orientation for f in facts],
        "source_names": [
            list(dict.fromkeys((*old.get("source_names", ()), *names)))
            for names, old in zip(images.names, earlier, strict=True)
        ],
        "split": [split or old.get("split") for old in earlier],
        "attributes": [
            list((dict(old.get("attributes") or ()) | _attributes(names, source)).items()) or None
            for names, old in zip(images.names, earlier, strict=True)
        ],
        "added_at": [old.get("added_at", now) for old in earlier],
        "ymir_sha1": [f.ymir_sha1 for f in facts],
    }
    rest = [name for name in schema.ASSETS.names if name not in columns]
    columns |= {name: [old.get(name) for old in earlier] for name in rest}
    return pa.table({name: columns[name] for name in schema.ASSETS.names}, schema=schema.ASSETS)


def _known_assets(ids: list[bytes], before: Version | None) -> dict[bytes, dict[str, Any]]:
    if before is None or before.stats.assets == 0:
        return {}
    rows = before.assets(ids=pa.array(ids, schema.ASSET_ID)).to_pylist()
    return {row["asset_id"]: row for row in rows}


def _attributes(names: Sequence[str], source: ImportSource) -> dict[str, str]:
    found: dict[str, str] = {}
    for matched in filter(None, (source.predictions, source.ground_truth)):
        row = next((matched.rows[name] for name in names if name in matched.rows), None)
        if row is not None:
            found |= dict(matched.parsed.images["attributes"][row].as_py() or ())
    return found
