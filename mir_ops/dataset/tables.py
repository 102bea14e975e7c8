"""The tables of an import: the images that decoded, and the annotations that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.imported import ImportedImages, Ints, Named
from mir_ops.dataset.report import Tally
from mir_ops.dataset.sources import ImportSource
from mir_ops.formats.images import TURNED
from mir_ops.formats.parsed import OBJECTS, Matched, Parsed, TextPairs
from mir_ops.store import rows, schema
from mir_ops.taxonomy import Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Version

Layer = tuple[pa.Table, pa.Array]  # the rows, and the assets that they cover
_LONGEST_CLASS_NAME = 200


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
    named = images.named(matched.rows)
    said = _rows_of(matched, images, named)
    _count_differing(matched, named, tally)
    covered = np.flatnonzero(said >= 0)
    numbers = np.full(parsed.images.num_rows, -1, np.int64)
    numbers[said[covered]] = covered
    objects, class_ids = _known_objects(parsed, numbers, taxonomy, tally, predictions=predictions)
    sources = np.full(len(images), "", object)
    sources[covered] = parsed.images["source"].take(pa.array(said[covered])).to_pylist()
    ids = images.ids
    frames = ImageFrames(
        asset_ids=ids,
        widths=images.column("width"),
        heights=images.column("height"),
        turns=_turns(parsed, images, said, tally),
        sources=sources,
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
    return table, ids.take(covered)


def _rows_of(matched: Matched, images: ImportedImages, named: Named) -> Ints:
    """What is said of each image: the row of its first name of which something is said, or -1."""
    said = np.full(len(images), -1, np.int64)
    said[named.images] = np.fromiter(matched.rows.values(), np.int64)[named.first]
    return said


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


def _count_differing(matched: Matched, named: Named, tally: Tally) -> None:
    """Count files that say of an image something else than the one that is taken."""
    parsed = matched.parsed
    compared = ["class_name", "x", "y", "w", "h", "angle", "polygon", "rle"]

    def objects(row: int) -> set[str]:
        its = parsed.objects.filter(pc.equal(parsed.objects["image"], row))
        return {repr(each) for each in its.select(compared).to_pylist()}

    names = list(matched.rows)
    for _, places in named.several():
        first, *others = (names[place] for place in places.tolist())
        row = matched.rows[first]
        for name in others:
            if matched.rows[name] != row and objects(matched.rows[name]) != objects(row):
                source = parsed.images["source"][matched.rows[name]].as_py()
                tally.add("annotation-differs", f"{source}: {name} = {first}")


def _turns(
    parsed: Parsed, images: ImportedImages, said: Ints, tally: Tally
) -> npt.NDArray[np.int8]:
    """How the boxes of each image must be turned: they may be of it before its EXIF rotation."""
    turns = np.ones(len(images), np.int8)
    covered = np.flatnonzero(said >= 0)
    stated = parsed.images.select(["width", "height", "source"]).take(pa.array(said[covered]))
    across, down = (pc.fill_null(stated[side], 0).to_numpy() for side in ("width", "height"))
    width, height, orientation = (
        images.column(name)[covered] for name in ("width", "height", "orientation")
    )
    differs = ((across != width) | (down != height)) & (across > 0) & (down > 0)
    turned = differs & np.isin(orientation, TURNED) & (across == height) & (down == width)
    turns[covered[turned]] = orientation[turned]
    for row in np.flatnonzero(differs).tolist():
        source = stated["source"][row].as_py()
        if turned[row]:
            tally.add("boxes-turned", source)
        else:
            here, real = f"{across[row]} x {down[row]}", f"{width[row]} x {height[row]}"
            tally.add("size-differs", f"{source}: {here}, the image has {real}")
    return turns


def asset_table(
    images: ImportedImages,
    before: Version | None,
    split: str | None,
    source: ImportSource,
    tally: Tally,
) -> pa.Table:
    """Rows of the images by their id; what the branch knows of them already is kept."""
    size = len(images)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        **dict(zip(images.facts.column_names, images.facts.columns, strict=True)),
        "source_names": images.names,
        "split": _splits(images, split, source, tally),
        "attributes": _attributes(images, source),
        "added_at": pa.repeat(pa.scalar(datetime.now(UTC), schema.TIME), size),
    }
    if before is not None and before.stats.assets:
        _keep_known(columns, before)
    table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    return rows.typed(rows.sort(table), schema.ASSETS)


def _keep_known(columns: dict[str, pa.Array | pa.ChunkedArray], before: Version) -> None:
    """Names, split, attributes and all else that the branch has of these images stay."""
    ids = columns["asset_id"].combine_chunks()
    known = before.assets(ids=ids)
    if not known.num_rows:
        return
    old = known.take(pc.index_in(ids, value_set=known["asset_id"].combine_chunks()))
    for name in schema.ASSETS.names:
        if name not in columns:
            columns[name] = old[name]
    columns["added_at"] = pc.coalesce(old["added_at"], columns["added_at"])
    columns["split"] = pc.coalesce(columns["split"], old["split"])
    places = np.flatnonzero(old["asset_id"].is_valid())
    columns["source_names"] = _joined(columns, old, "source_names", places, _all_names)
    columns["attributes"] = _joined(columns, old, "attributes", places, _all_attributes)


def _joined(
    columns: Mapping[str, pa.Array],
    old: pa.Table,
    name: str,
    places: Ints,
    join: Callable[[Any, Any], Any],
) -> pa.Array:
    """A column where, at these places, old and new values are joined."""
    new = columns[name]
    pairs = zip(old[name].take(places).to_pylist(), new.take(places).to_pylist(), strict=True)
    values = pa.array([join(earlier, later) for earlier, later in pairs], new.type)
    order = np.arange(len(new))
    order[places] = len(new) + np.arange(len(places))
    return pa.concat_arrays([new, values]).take(pa.array(order))


def _all_names(earlier: list[str] | None, later: list[str]) -> list[str]:
    return list(dict.fromkeys((*(earlier or ()), *later)))


def _all_attributes(earlier: TextPairs | None, later: TextPairs | None) -> TextPairs | None:
    return list((dict(earlier or ()) | dict(later or ())).items()) or None


def _splits(
    images: ImportedImages, split: str | None, source: ImportSource, tally: Tally
) -> pa.Array:
    """Of lists of images, else the one that was asked for, else what the annotations state."""
    if split:
        stated = pa.repeat(pa.scalar(split), len(images))
    else:
        stated = _stated(images, source, "split", lambda _, new: new)
    if not source.splits:
        return stated
    named, listed = images.named(source.splits), list(source.splits.values())
    splits = stated.to_pylist()
    for number, place in zip(named.images.tolist(), named.first.tolist(), strict=True):
        splits[number] = listed[place]
    for number, places in named.several():
        several = sorted({listed[place] for place in places.tolist()})
        if len(several) > 1:
            name = images.names[number].as_py()[0]
            tally.add("set-repeated", f"{name}: {', '.join(several)}")
    return pa.array(splits, pa.string())


def _attributes(images: ImportedImages, source: ImportSource) -> pa.Array:
    return _stated(images, source, "attributes", _all_attributes)


def _stated(
    images: ImportedImages, source: ImportSource, name: str, join: Callable[[Any, Any], Any]
) -> pa.Array:
    """A column of what the annotations say of images, ground truth over predictions."""
    kind = schema.ASSETS.field(name).type
    sets = [each for each in (source.predictions, source.ground_truth) if each is not None]
    said = [(each, each.parsed.images[name]) for each in sets]
    said = [(each, column) for each, column in said if column.null_count < len(column)]
    if not said:
        return pa.nulls(len(images), kind)
    found: list[Any] = [None] * len(images)
    for matched, column in said:
        spoken = _rows_of(matched, images, images.named(matched.rows))
        values = column.to_pylist()
        for number in np.flatnonzero(spoken >= 0).tolist():
            if value := values[spoken[number]]:
                found[number] = join(found[number], value)
    return pa.array(found, kind)
