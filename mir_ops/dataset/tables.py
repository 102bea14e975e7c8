"""The tables of an import: the images that decoded, and the annotations that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.reading import ReadImage
from mir_ops.dataset.report import Tally
from mir_ops.dataset.sources import ImportSource
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

    def add(self, batch: Sequence[ReadImage], tally: Tally) -> None:
        for image in batch:
            asset_id = bytes.fromhex(image.sha256)
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
    objects, class_ids = _known_objects(parsed, numbers, taxonomy, tally, predictions=predictions)
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
    images: ImportedImages,
    before: Version | None,
    split: str | None,
    source: ImportSource,
    tally: Tally,
) -> pa.Table:
    """Rows of the images; what the branch knows of them already is kept."""
    facts, size = images.facts, len(images.ids)
    columns: dict[str, Any] = {
        "asset_id": images.ids,
        "media_type": [f.media_type for f in facts],
        "width": [f.width for f in facts],
        "height": [f.height for f in facts],
        "channels": [f.channels for f in facts],
        "byte_size": [f.byte_size for f in facts],
        "orientation": [f.orientation for f in facts],
        "source_names": images.names,
        "split": _splits(images, split, source, tally),
        "attributes": _attributes(images, source),
        "added_at": pa.repeat(pa.scalar(datetime.now(UTC), schema.TIME), size),
        "ymir_sha1": [f.ymir_sha1 for f in facts],
    }
    if before is not None and before.stats.assets:
        _keep_known(columns, images.ids, before)
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(size, field.type)
        for field in schema.ASSETS
    ]
    return pa.Table.from_arrays(arrays, schema=schema.ASSETS)


def _keep_known(columns: dict[str, Any], ids: list[bytes], before: Version) -> None:
    """Names, split, attributes and all else that the branch has of these images stay."""
    known = before.assets(ids=pa.array(ids, schema.ASSET_ID))
    if not known.num_rows:
        return
    place = {asset_id: row for row, asset_id in enumerate(known["asset_id"].to_pylist())}
    rows = [place.get(asset_id) for asset_id in ids]
    old = known.take(pa.array(rows, pa.int64()))
    for name in schema.ASSETS.names:
        if name not in columns:
            columns[name] = old[name].combine_chunks()
    columns["added_at"] = pc.coalesce(old["added_at"].combine_chunks(), columns["added_at"])
    new_names, new_splits = columns["source_names"], columns["split"]
    columns["source_names"] = [
        list(dict.fromkeys((*(earlier or ()), *names)))
        for names, earlier in zip(new_names, old["source_names"].to_pylist(), strict=True)
    ]
    columns["split"] = [
        split or earlier
        for split, earlier in zip(new_splits, old["split"].to_pylist(), strict=True)
    ]
    columns["attributes"] = [
        list((dict(earlier or ()) | dict(attributes or ())).items()) or None
        for attributes, earlier in zip(
            columns["attributes"], old["attributes"].to_pylist(), strict=True
        )
    ]


def _splits(
    images: ImportedImages, split: str | None, source: ImportSource, tally: Tally
) -> list[str | None]:
    """Of lists of images, else the one that was asked for, else what the annotations state."""
    stated = [split] * len(images.ids) if split else _stated(images, source, "split")
    if not source.splits:
        return stated
    for number, names in enumerate(images.names):
        listed = [source.splits[name] for name in names if name in source.splits]
        if len(set(listed)) > 1:
            tally.add("set-repeated", f"{names[0]}: {', '.join(sorted(set(listed)))}")
        stated[number] = listed[0] if listed else stated[number]
    return stated


def _attributes(images: ImportedImages, source: ImportSource) -> list[Any]:
    return _stated(
        images, source, "attributes", lambda old, new: list({**dict(old), **dict(new)}.items())
    )


def _stated(
    images: ImportedImages,
    source: ImportSource,
    name: str,
    join: Callable[[Any, Any], Any] = lambda _, new: new,
) -> list[Any]:
    """A column of what the annotations say of images, ground truth over predictions."""
    found: list[Any] = [None] * len(images.ids)
    for matched in filter(None, (source.predictions, source.ground_truth)):
        column = matched.parsed.images[name]
        if column.null_count == len(column):
            continue
        said = column.to_pylist()
        for number, names in enumerate(images.names):
            row = next((matched.rows[each] for each in names if each in matched.rows), None)
            if row is not None and said[row]:
                found[number] = join(found[number] or (), said[row])
    return found
