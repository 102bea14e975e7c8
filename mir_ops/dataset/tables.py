"""The tables of an import: the images that decoded, and the annotations that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mir_ops.dataset.annotations import ImageFrames, ObjectColumns, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.dataset.sources import AnnotationSet, ImportSource, ReadImage
from mir_ops.formats.images import TURNED, ImageFacts
from mir_ops.formats.voc import VocFile, VocObject
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
    annotation_set: AnnotationSet,
    images: ImportedImages,
    taxonomy: Taxonomy,
    tally: Tally,
    *,
    predictions: bool,
) -> Layer:
    """The table of a layer, and the assets that it covers."""
    columns = ObjectColumns()
    covered: list[bytes] = []
    turns = [1] * len(images.ids)
    for number, names in enumerate(images.names):
        annotated = [name for name in names if name in annotation_set.names]
        if not annotated:
            continue
        covered.append(images.ids[number])
        source = annotation_set.names[annotated[0]]
        file = annotation_set.files[source]
        _count_differing(annotation_set, annotated, tally)
        turns[number] = _turn(file, images.facts[number], source, tally)
        for entry in file.objects:
            class_id = _class_id(entry, source, taxonomy, tally)
            if class_id is not None:
                columns.add(number, source, class_id, entry)
                if predictions and entry.confidence is None:
                    tally.add("prediction-without-confidence", source)
    frames = ImageFrames(
        asset_ids=images.ids,
        widths=[facts.width for facts in images.facts],
        heights=[facts.height for facts in images.facts],
        turns=turns,
    )
    return annotation_table(columns, frames, tally, predictions=predictions), covered


def is_class_name(name: str) -> bool:
    return 0 < len(normalise(name)) <= _LONGEST_CLASS_NAME and name.isprintable()


def _class_id(entry: VocObject, source: str, taxonomy: Taxonomy, tally: Tally) -> int | None:
    if not is_class_name(entry.name):
        tally.add("object-without-class", source)
        return None
    if entry.box is None:
        tally.add("object-without-box", f"{source}: {entry.name}")
        return None
    return taxonomy.id_of(entry.name)


def _count_differing(annotation_set: AnnotationSet, names: Sequence[str], tally: Tally) -> None:
    def boxes(name: str) -> set[tuple[object, ...]]:
        file = annotation_set.of(name)
        return {(normalise(o.name), o.box, o.angle) for o in file.objects} if file else set()

    first = boxes(names[0])
    for name in names[1:]:
        if boxes(name) != first:
            tally.add("annotation-differs", f"{annotation_set.names[name]}: {name} = {names[0]}")


def _turn(file: VocFile, facts: ImageFacts, source: str, tally: Tally) -> int:
    """How the boxes must be turned: they may be of the image before its EXIF rotation."""
    displayed = (facts.width, facts.height)
    if file.size is None or file.size == displayed:
        return 1
    if facts.orientation in TURNED and file.size == displayed[::-1]:
        tally.add("boxes-turned", source)
        return facts.orientation
    stated, real = (f"{w} x {h}" for w, h in (file.size, displayed))
    tally.add("size-differs", f"{source}: {stated}, the image has {real}")
    return 1


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
    for annotation_set in filter(None, (source.predictions, source.ground_truth)):
        file = next(filter(None, map(annotation_set.of, names)), None)
        found |= file.attributes if file else {}
    return found
