"""Import images and annotations into a branch: everything usable in one commit, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.imported import GatheredImages, ImportedImages
from mir_ops.dataset.pace import Progress
from mir_ops.dataset.report import Report, Tally, listing
from mir_ops.dataset.sources import (
    AnnotationFormat,
    ImportSource,
    Reading,
    SourceFiles,
    open_files,
)
from mir_ops.dataset.storing import store_images
from mir_ops.dataset.tables import Layer, asset_table, is_class_name, layer_table
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, Store, Version, schema
from mir_ops.taxonomy import Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Commit
    from mir_ops.store.edits import Edit

UnknownClasses = Literal["stop", "ignore", "add"]
Declared = tuple[Taxonomy, tuple[str, ...]]  # the classes to read with, and those that are new

GROUND_TRUTH = "ground_truth"
IMPORTED_PREDICTIONS = "predictions:imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """The commit, what was taken and what was not, and the classes that `add` registered."""

    commit: Commit
    report: Report
    new_classes: tuple[str, ...] = ()


def import_dataset(
    store: Store,
    source: Path | SourceFiles,
    branch: str,
    *,
    op_id: str,
    annotations: AnnotationFormat = "auto",
    boxes_only: bool = False,
    image_sets: bool = False,
    link: bool = False,
    unknown_classes: UnknownClasses = "stop",
    split: str | None = None,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
    base: Commit | Version | None = None,
    parents: Sequence[Commit] = (),
    index_file: Path | None = None,
    gt_dir: Path | None = None,
    pred_dir: Path | None = None,
    taxonomy: Taxonomy | None = None,
    report_file: Path | None = None,
    on_progress: Progress = lambda _share, _message: None,
) -> ImportResult:
    """Import an archive, a folder or an index file on top of the branch.

    The same operation imports once: again, it returns the first commit and its report.
    `taxonomy` holds the declared classes (default: those of the branch and of the store).
    `image_sets` takes splits from `ImageSets/Main`; `link` makes image files of the store's file
    system blobs without a copy; `report_file` gets a JSON line for all that was not taken.
    """
    if done := store.find_operation(branch, op_id):
        return _result(done)
    _check_split(split)
    before = _content_before(store, branch, base)
    declared = taxonomy or Taxonomy.from_names(store.classes())
    declared = before.taxonomy.joined(declared) if before else declared
    wanted = _Wanted(unknown_classes=unknown_classes, split=split, link=link)
    with _opened(source, index_file, gt_dir, pred_dir) as files, listing(report_file) as tally:
        reading = Reading(
            files, tally, annotations=annotations, boxes_only=boxes_only, image_sets=image_sets
        )
        found = _gather(store, reading, tally, before, declared, wanted, on_progress)
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="import", parameters=found.parameters(files.name, wanted)),
        message=message or f"Import {files.name}",
        base=base,
        parents=tuple(parents),
        project=project,
        round=round,
        run=run,
    ) as edit:
        edit.put_taxonomy(found.taxonomy)
        _put_rows(edit, before, found.assets, found.layers)
    on_progress(1.0, "committed")
    return ImportResult(commit=edit.commit, report=found.report, new_classes=found.new_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How a source is to be taken."""

    unknown_classes: UnknownClasses
    split: str | None
    link: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is taken of a source, ready to be committed; its images are stored."""

    annotations: str
    taxonomy: Taxonomy
    new_classes: tuple[str, ...]
    assets: pa.Table
    layers: dict[str, Layer]
    report: Report

    def parameters(self, source: str, wanted: _Wanted) -> dict[str, Any]:
        return {
            "source": source,
            "annotations": self.annotations,
            "unknown_classes": wanted.unknown_classes,
            "split": wanted.split,
            "report": self.report.to_dict(),
            "new_classes": list(self.new_classes),
        }


def _gather(
    store: Store,
    reading: Reading,
    tally: Tally,
    before: Version | None,
    declared: Taxonomy,
    wanted: _Wanted,
    on_progress: Progress,
) -> _Found:
    try:
        images, source, (taxonomy, added) = _read_all(
            store,
            reading,
            tally,
            lambda source: _declare(store, source, declared, wanted.unknown_classes, tally),
            link=wanted.link,
            on_progress=on_progress,
        )
    finally:
        reading.stop()
    if not len(images):
        raise _nothing_taken(reading.name, tally)
    layers = _layers(source, images, taxonomy, tally)
    assets = asset_table(images, before, wanted.split, source, tally)
    return _Found(
        annotations=source.annotations,
        taxonomy=taxonomy,
        new_classes=added,
        assets=assets,
        layers=layers,
        report=tally.report(_taken(assets, layers)),
    )


@contextmanager
def _opened(
    source: Path | SourceFiles, index_file: Path | None, gt_dir: Path | None, pred_dir: Path | None
) -> Iterator[SourceFiles]:
    if isinstance(source, SourceFiles):
        yield source
        return
    with open_files(source, index_file=index_file, gt_dir=gt_dir, pred_dir=pred_dir) as files:
        yield files


def _read_all(
    store: Store,
    reading: Reading,
    tally: Tally,
    declare: Callable[[ImportSource], Declared],
    *,
    link: bool,
    on_progress: Progress,
) -> tuple[ImportedImages, ImportSource, Declared]:
    """Store the images while the annotations are parsed; unknown classes show as soon as known."""
    images = GatheredImages()

    def settled() -> tuple[ImportSource, Declared]:
        source = reading.finish()
        return source, declare(source)

    found = None if reading.is_parallel else settled()
    batches = store_images(
        store.blobs,
        reading.images,
        reading.image_names,
        tally,
        link=link,
        on_progress=lambda share, message: on_progress(0.05 + 0.85 * share, message),
    )
    with closing(batches):
        for batch in batches:
            images.add(batch)
            if found is None and reading.is_done:
                found = settled()
    source, declared = found or settled()
    return images.by_content(tally), source, declared


def _put_rows(
    edit: Edit, before: Version | None, assets: pa.Table, layers: dict[str, Layer]
) -> None:
    if not _is_known(before, "assets", assets, assets["asset_id"]):
        edit.put_assets(assets)
    for layer, (table, covered) in layers.items():
        if not _is_known(before, layer, table, covered):
            edit.put_layer(layer, table, assets=covered)


def _is_known(before: Version | None, name: str, table: pa.Table, covered: pa.Array) -> bool:
    """Whether the branch says exactly this already, as when a source is imported again."""
    if before is None:
        return False
    if name != "assets" and not pc.all(pc.is_in(covered, before.layer_assets(name))).as_py():
        return False
    known = before.assets(ids=covered) if name == "assets" else before.layer(name, ids=covered)
    keys = [key for key in ("asset_id", "annotation_id") if key in table.column_names]
    return bool(table.sort_by([(key, "ascending") for key in keys]).equals(known))


def _check_split(split: str | None) -> None:
    if split is not None and split not in schema.SPLITS:
        raise InvalidInputError(
            f"No split is called `{split}`",
            code="bad-split",
            hint=f"Use one of {', '.join(schema.SPLITS)}",
        )


def _layers(
    source: ImportSource, images: ImportedImages, declared: Taxonomy, tally: Tally
) -> dict[str, Layer]:
    sets = {GROUND_TRUTH: source.ground_truth, IMPORTED_PREDICTIONS: source.predictions}
    return {
        name: layer_table(found, images, declared, tally, predictions=name != GROUND_TRUTH)
        for name, found in sets.items()
        if found is not None
    }


def _content_before(store: Store, branch: str, base: Commit | Version | None) -> Version | None:
    tip = store.branch(branch).find_tip()
    if base is None:
        return store.read(tip) if tip else None
    return base if isinstance(base, Version) else store.read(base)


def _result(commit: Commit) -> ImportResult:
    parameters = commit.operation.parameters
    return ImportResult(
        commit=commit,
        report=Report.from_dict(parameters["report"]),
        new_classes=tuple(parameters["new_classes"]),
    )


def _declare(
    store: Store,
    source: ImportSource,
    declared: Taxonomy,
    unknown_classes: UnknownClasses,
    tally: Tally,
) -> Declared:
    """The taxonomy to read objects with; stops, or registers, when classes are unknown."""
    objects: Counter[str] = Counter()
    places: dict[str, str] = {}
    for matched in filter(None, (source.ground_truth, source.predictions)):
        for name, count in matched.class_counts().items():
            if is_class_name(name) and declared.id_of(name) is None:
                objects[normalise(name)] += count
                places.setdefault(normalise(name), matched.parsed.source_of_class(name))
    if not objects:
        return declared, ()
    unknown = sorted(objects)
    if unknown_classes == "stop":
        raise _unknown_classes(objects, places)
    code = "class-added" if unknown_classes == "add" else "class-unknown"
    for name in unknown:
        tally.add(code, f"{name} ({objects[name]} objects)", count=objects[name])
    if unknown_classes == "ignore":
        return declared, ()
    registry = store.register_classes(unknown)
    new = Taxonomy.from_names({name: registry[name] for name in unknown})
    return declared.joined(new), tuple(unknown)


def _unknown_classes(objects: Counter[str], places: dict[str, str]) -> InvalidInputError:
    listed = [f"`{name}` ({count})" for name, count in objects.most_common(20)]
    more = f" and {len(objects) - 20} more" if len(objects) > 20 else ""
    first = objects.most_common(1)[0][0]
    return InvalidInputError(
        f"Nobody declared these classes: {', '.join(listed)}{more}; "
        f"`{first}` is for example in `{places[first]}`",
        code="unknown-classes",
        hint="Declare them in `labels.yaml` (or as an alias), or import with"
        " `--unknown-types-strategy add`, or `ignore` to leave these objects out",
    )


def _nothing_taken(source: str, tally: Tally) -> InvalidInputError:
    report = tally.report({})
    reasons = "; ".join(f"{issue}, such as {issue.examples[0]}" for issue in report.issues)
    return InvalidInputError(
        f"No image could be taken from `{source}`: {reasons or 'it has none'}",
        code="no-images",
        hint="Put JPEG, PNG or BMP files into a folder `images`",
    )


def _taken(assets: pa.Table, layers: dict[str, Layer]) -> dict[str, int]:
    taken = {"images": assets.num_rows}
    for layer, (table, covered) in layers.items():
        name = "labelled" if layer == GROUND_TRUTH else "predicted"
        taken |= {f"{name}_images": len(covered), f"{name}_boxes": table.num_rows}
    return taken
