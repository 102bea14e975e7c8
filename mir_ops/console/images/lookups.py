"""The rows of one image in any version, found without reading those of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.console.images.memory import Memory
from mir_ops.store import rows, segments, sidecars
from mir_ops.store.manifests import Segment, TableSegments
from mir_ops.store.objects import ObjectStore
from mir_ops.store.schema import ASSET_ID
from mir_ops.store.sidecars import Wanted

_THREADS: Final = 8


class Lookup:
    """Looks for one image in segments; which assets small segments name is kept in memory."""

    def __init__(self, memory: Memory, objects: ObjectStore, asset_id: str) -> None:
        self.memory, self.objects = memory, objects
        self._ids = pa.array([bytes.fromhex(asset_id)], ASSET_ID)
        self._wanted = Wanted.of(self._ids)
        self._key = int(self._wanted.keys[0])
        self._named: dict[str, bool] = {}

    def prepare(self, held: Iterable[Segment]) -> None:
        """Look whether these segments name it; those never looked into several at a time."""
        asked = [one for one in held if one.id not in self._named]
        near = [one for one in asked if one.min_key <= self._key <= one.max_key]
        unknown = [
            one for one in near if one.sidecar is None and ("keys", one.id) not in self.memory
        ]
        if unknown:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(self._keys, unknown))
        self._named |= dict.fromkeys((one.id for one in asked), False)
        self._named |= {one.id: self._names(one) for one in near}

    def decider(self, table: TableSegments) -> Segment | None:
        """The segment that says what the table holds of the image: the newest that names it."""
        return next((one for one in reversed(table.all) if self._named[one.id]), None)

    def rows(self, segment: Segment, columns: Sequence[str] | None = None) -> pa.Table:
        """What a segment says of the image, with its state; also that it is gone."""
        needed = None if columns is None else [*columns, "asset_id", "annotation_id", rows.STATE]
        return self.memory.get(
            ("rows", segment.id, self._key, None if columns is None else tuple(columns)),
            lambda: segments.read_segment(self.objects, segment, needed, self._ids),
        )

    def read(self, table: TableSegments) -> pa.Table | None:
        """The image's rows in a table, with their state; None where it does not cover it."""
        self.prepare(table.all)
        segment = self.decider(table)
        if segment is None:
            return None
        found = rows.covered_only(self.rows(segment))
        return found if found.num_rows else None

    def _names(self, segment: Segment) -> bool:
        if segment.sidecar is not None:
            _, found = sidecars.read(self.objects, segment.sidecar).find(self._wanted)
            return bool(found[0])
        keys = self._keys(segment)
        place = int(np.searchsorted(keys, np.uint64(self._key)))
        return place < len(keys) and int(keys[place]) == self._key

    def _keys(self, segment: Segment) -> npt.NDArray[np.uint64]:
        return self.memory.get(("keys", segment.id), lambda: _read_keys(self.objects, segment))


def _read_keys(objects: ObjectStore, segment: Segment) -> npt.NDArray[np.uint64]:
    table = segments.read_segment(objects, segment, ["asset_id"])
    return rows.prefixes(rows.distinct(table))
