"""Copy a dataset version from one store into another: images, attributes, every layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.dataset.frozen_copies import copy_frozen
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, rows
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.diffs import read_covered
from mir_ops.taxonomy import ClassName, Taxonomy

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version

UnknownClasses = Literal["stop", "ignore", "add"]
Progress = Callable[[float, str], None]

_GONE: Final = -1
_THREADS: Final = 8
_BATCH_IMAGES: Final = 256
_BATCH_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """The commit, annotations left out by the name of their class, and tags of frozen test sets."""

    commit: Commit
    left_out: Mapping[str, int]
    frozen: tuple[str, ...]


def copy_dataset(
    source: Store,
    rev: str,
    store: Store,
    branch: str,
    *,
    unknown_classes: UnknownClasses = "stop",
    drop_annotations: bool = False,
    taxonomy: Taxonomy | None = None,
    op_id: str,
    message: str | None = None,
    on_progress: Progress = lambda _share, _message: None,
) -> CopyResult:
    """Commit a version of `source` to a branch of `store`, in place of what is there.

    Images that the store lacks are copied, and checked against their hashes. Classes are matched by
    name and alias with those of the branch, of `taxonomy` and of the store; for others see
    `unknown_classes`. Layers keep their names, so predictions stay with their models. Images that
    `source` has frozen for tests are frozen here too. The same operation copies once.
    """
    if done := store.find_operation(branch, op_id):
        return _result(done)
    version = source.read(rev)
    tip = store.branch(branch).find_tip()
    layers = [] if drop_annotations else version.layers()
    matched = _match(store, version, layers, _known(store, tip, taxonomy), unknown_classes)
    _copy_blobs(source, store, version, on_progress)

    def changes(part: Version, before: Commit | None) -> ChangeSet:
        return _changes(store.read(before) if before else None, part, layers, matched)

    frozen = copy_frozen(source, version, store, changes, op_id=op_id)
    asked = {"unknown_classes": unknown_classes, "drop_annotations": drop_annotations}
    found = {
        "origin": _origin(source, version),
        "left_out": dict(matched.left_out),
        "frozen": frozen,
    }
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="copy", parameters=asked | found),
        message=message or f"Copy {rev}",
        keywords=version.commit.keywords,
        start=tip,
    ) as edit:
        edit.take(changes(version, tip))
    on_progress(1.0, "committed")
    return _result(edit.commit)


def _changes(
    before: Version | None, version: Version, layers: list[str], matched: _Matched
) -> ChangeSet:
    """All rows of a version, under the other store's class ids, in place of what was before."""
    changes = ChangeSet(taxonomy=matched.taxonomy)
    if before is not None:
        changes.dropped |= {rows.ASSETS, *before.layers()}
    for name in (rows.ASSETS, *layers):
        table = read_covered(version, name, None)
        if table is not None:
            changes.add(name, table if name == rows.ASSETS else matched.translate(table))
    return changes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matched:
    """Class ids there by class ids here, and the taxonomy to commit."""

    taxonomy: Taxonomy
    ids: Mapping[int, int]
    left_out: Mapping[str, int]

    def translate(self, table: pa.Table) -> pa.Table:
        """The rows under the other store's class ids; assets without any left are covered."""
        same = not self.left_out and all(there == here for here, there in self.ids.items())
        if same or "class_id" not in table.column_names:
            return table
        column = table["class_id"]
        present = rows.one_array(column).fill_null(_GONE).to_numpy()
        translated = self._translated(present)
        place = table.column_names.index("class_id")
        moved = pa.array(translated, pa.int32(), mask=translated == _GONE)
        table = table.set_column(place, table.schema.field(place), moved)
        if "class_probs" in table.column_names:
            place = table.column_names.index("class_probs")
            shares = self._shares(rows.one_array(table["class_probs"]))
            table = table.set_column(place, table.schema.field(place), shares)
        gone = (present != _GONE) & (translated == _GONE)
        if not gone.any():
            return table
        kept = table.filter(pa.array(~gone))
        left = rows.without(rows.distinct(table), rows.distinct(kept))
        plain = kept.schema.remove(kept.schema.get_field_index(rows.STATE))
        empty = rows.markers(left, plain, rows.MARKER).cast(kept.schema)
        return rows.sort(pa.concat_tables([kept, empty]))

    def _translated(self, classes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        found, inverse = np.unique(classes, return_inverse=True)
        there = [self.ids.get(class_id, _GONE) for class_id in found.tolist()]
        return np.array(there, np.int32)[inverse]

    def _shares(self, maps: pa.MapArray) -> pa.MapArray:
        """Class probabilities under the other class ids."""
        if maps.null_count == len(maps):
            return maps
        entries = maps.cast(pa.list_(pa.struct([("key", pa.int32()), ("value", pa.float32())])))
        keys, values = entries.flatten().flatten()
        parents = entries.value_parent_indices().to_numpy()
        translated = self._translated(keys.to_numpy())
        kept = translated != _GONE
        counts = np.bincount(parents[kept], minlength=len(maps))
        offsets = pa.array(
            np.append(0, np.cumsum(counts)).astype(np.int32),
            mask=np.append(maps.is_null().to_numpy(zero_copy_only=False), False),
        )
        return pa.MapArray.from_arrays(
            offsets, pa.array(translated[kept]), values.filter(pa.array(kept))
        )


def _match(
    store: Store,
    version: Version,
    layers: list[str],
    known: Taxonomy,
    unknown_classes: UnknownClasses,
) -> _Matched:
    """Which class there is which here; stops, leaves out or registers the ones nobody knows."""
    used: Counter[int] = Counter()
    for layer in layers:
        used.update(dict(version.stats.layers[layer].classes))
    classes = {entry.id: entry for entry in version.taxonomy.classes}
    classes |= {number: ClassName(number, f"#{number}") for number in used if number not in classes}
    ids = {
        number: there
        for number, entry in classes.items()
        for name in reversed((entry.name, *entry.aliases))
        if (there := known.id_of(name)) is not None
    }
    unknown = {classes[number]: count for number, count in used.items() if number not in ids}
    left_out = {entry.name: count for entry, count in unknown.items()}
    if unknown and unknown_classes == "stop":
        raise _unknown(left_out)
    if unknown and unknown_classes == "add":
        registry = store.register_classes(list(left_out))
        ids |= {entry.id: registry[entry.name] for entry in unknown}
        known = known.joined(_renumbered(unknown, registry, known))
        left_out = {}
    return _Matched(taxonomy=known, ids=ids, left_out=left_out)


def _renumbered(
    unknown: Mapping[ClassName, int], registry: Mapping[str, int], known: Taxonomy
) -> Taxonomy:
    """The new classes, with the aliases that mean nothing else there."""
    return Taxonomy(
        tuple(
            ClassName(
                registry[entry.name],
                entry.name,
                tuple(alias for alias in entry.aliases if known.id_of(alias) is None),
            )
            for entry in unknown
        )
    )


def _known(store: Store, tip: Commit | None, declared: Taxonomy | None) -> Taxonomy:
    """The classes of the branch, those that are declared, and those of the store."""
    known = store.read(tip).taxonomy if tip else Taxonomy()
    return known.joined(declared or Taxonomy()).joined(_registered(store, known, declared))


def _registered(store: Store, known: Taxonomy, declared: Taxonomy | None) -> Taxonomy:
    """Classes that the store knows under names that mean nothing else here."""
    taken = {*known.ids, *(declared.ids if declared else ())}
    names = known.joined(declared) if declared else known
    return Taxonomy.from_names(
        {
            name: number
            for name, number in store.classes().items()
            if number not in taken and names.id_of(name) is None
        }
    )


def _unknown(left_out: Mapping[str, int]) -> InvalidInputError:
    most = sorted(left_out.items(), key=lambda item: -item[1])[:20]
    listed = ", ".join(f"`{name}` ({count})" for name, count in most)
    more = f" and {len(left_out) - 20} more" if len(left_out) > 20 else ""
    return InvalidInputError(
        f"Nobody declared these classes here: {listed}{more}",
        code="unknown-classes",
        hint="Declare them in `labels.yaml` (or as an alias), or copy with"
        " `--unknown-types-strategy add`, or `ignore` to leave their annotations out",
    )


def _copy_blobs(source: Store, store: Store, version: Version, on_progress: Progress) -> None:
    """Copy the images that the store lacks, some at a time."""
    table = version.assets(columns=["asset_id", "byte_size"])
    digests = [key.hex() for key in table["asset_id"].to_pylist()]
    sizes = dict(zip(digests, table["byte_size"].to_pylist(), strict=True))
    there = store.has_blobs(digests)
    missing = [digest for digest in digests if digest not in there]
    copied = 0
    with ThreadPoolExecutor(_THREADS) as pool, store.blobs.writer() as writer:
        for batch in _batches(missing, sizes):
            writer.put(list(zip(batch, pool.map(source.get_blob, batch), strict=True)))
            copied += len(batch)
            on_progress(0.9 * copied / len(missing), f"{copied} of {len(missing)} images copied")


def _batches(digests: list[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    held = 0
    for digest in digests:
        if batch and (len(batch) == _BATCH_IMAGES or held + sizes[digest] > _BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(digest)
        held += sizes[digest]
    if batch:
        yield batch


def _origin(source: Store, version: Version) -> dict[str, Any]:
    """Where the rows come from, and what had made them there."""
    before = version.commit.operation
    return {
        "store": source.id,
        "commit": version.id,
        "operation": before.kind,
        "parameters": dict(before.parameters),
        "executor": before.executor,
        "seed": before.seed,
    }


def _result(commit: Commit) -> CopyResult:
    said = commit.operation.parameters
    return CopyResult(
        commit=commit, left_out=said["left_out"], frozen=tuple(said.get("frozen", ()))
    )
