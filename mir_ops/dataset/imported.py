"""The images of an import in columns: gathered batch by batch, then one row for each content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.reading import ReadImage
from mir_ops.dataset.report import Tally
from mir_ops.formats.images import ImageFacts
from mir_ops.store import schema

Ints = npt.NDArray[np.int64]
FACTS: Final = pa.schema([schema.ASSETS.field(name) for name in ("asset_id", *ImageFacts._fields)])


class GatheredImages:
    """Images as they come, some of them several times."""

    def __init__(self) -> None:
        self._names: list[pa.Array] = []
        self._facts: list[pa.RecordBatch] = []

    def add(self, batch: Sequence[ReadImage]) -> None:
        if not batch:
            return
        columns = zip(
            *((bytes.fromhex(image.sha256), *image.facts) for image in batch), strict=True
        )
        arrays = [pa.array(each, kind) for each, kind in zip(columns, FACTS.types, strict=True)]
        self._names.append(pa.array([image.name for image in batch], pa.string()))
        self._facts.append(pa.record_batch(arrays, schema=FACTS))

    def by_content(self, tally: Tally) -> ImportedImages:
        """Equal bytes become one image; each name of one but its first is counted."""
        facts = pa.Table.from_batches(self._facts, FACTS)
        names = pa.chunked_array(self._names, pa.string()).combine_chunks()
        owners, first = _first_seen(facts["asset_id"].combine_chunks())
        if len(first) < len(owners):
            for row in np.flatnonzero(first[owners] != np.arange(len(owners))).tolist():
                same = names[int(first[owners[row]])]
                tally.add("image-twice", f"{names[row].as_py()} = {same.as_py()}")
            facts, names = facts.take(first), names.take(np.argsort(owners, kind="stable"))
        starts = np.append(0, np.cumsum(np.bincount(owners, minlength=len(first))))
        return ImportedImages(
            facts=facts,
            names=pa.ListArray.from_arrays(pa.array(starts, pa.int32()), names),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImages:
    """Images by content, as they were met: `facts` has the columns `FACTS`, `names` lists."""

    facts: pa.Table
    names: pa.ListArray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ids(self) -> pa.Array:
        return self.facts["asset_id"].combine_chunks()

    def column(self, name: str) -> Ints:
        """A number that is known of each image."""
        return np.asarray(self.facts[name].to_numpy())

    def named(self, by_name: Mapping[str, object]) -> Named:
        """Which images have a name that is in the mapping, and where there."""
        keys = pa.array(by_name.keys(), pa.string())
        places = pc.index_in(self.names.flatten(), value_set=keys)
        owners = np.repeat(np.arange(len(self)), np.diff(self.names.offsets))
        images, starts = np.unique(owners[np.asarray(places.is_valid())], return_index=True)
        places = places.drop_null().to_numpy()
        return Named(images=images, places=places, starts=np.append(starts, len(places)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Images of which a mapping has a name, or several: those of one from its start to the next."""

    images: Ints
    places: Ints  # in the mapping, of each such name
    starts: Ints

    @property
    def first(self) -> Ints:
        """The place of each image's first name."""
        return self.places[self.starts[:-1]]

    def several(self) -> Iterator[tuple[int, Ints]]:
        """Images with several of the names, and the places of these."""
        for number in np.flatnonzero(np.diff(self.starts) > 1).tolist():
            places = self.places[self.starts[number] : self.starts[number + 1]]
            yield int(self.images[number]), places


def _first_seen(ids: pa.Array) -> tuple[Ints, Ints]:
    """For each id its number among the distinct ones, and where each of those came first."""
    encoded = ids.dictionary_encode()
    owners = encoded.indices.to_numpy().astype(np.int64)
    first = np.zeros(len(encoded.dictionary), np.int64)
    first[owners[::-1]] = np.arange(len(owners))[::-1]
    return owners, first
