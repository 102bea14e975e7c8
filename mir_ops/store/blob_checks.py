"""Checking the blobs of a store: which versions need, in which root they are, and their bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mir_ops.errors import MirError
from mir_ops.store import keys, rows
from mir_ops.store.audits import AuditReport, batches
from mir_ops.store.objects import Entry, ObjectStore
from mir_ops.store.reachability import Problem, Reached, Use
from mir_ops.store.segment_checks import local_file
from mir_ops.store.segments import read_segment

if TYPE_CHECKING:
    from mir_ops.store.store import Store

_THREADS: Final = 8
_BATCH: Final = 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NeededBlobs:
    """The media that versions need: asset ids, ascending, and the segment that names each."""

    ids: npt.NDArray[np.bytes_]
    places: npt.NDArray[np.int32]
    uses: tuple[Use, ...]
    found: npt.NDArray[np.bool_]

    def find(self, digests: list[str]) -> npt.NDArray[np.int64]:
        """The place of each digest among the ids, -1 for one that no version needs."""
        wanted = np.array([bytes.fromhex(digest) for digest in digests], "S32")
        places = np.searchsorted(self.ids, wanted)
        inside = np.minimum(places, max(0, len(self.ids) - 1))
        known = self.ids[inside] == wanted if len(self.ids) else np.zeros(len(wanted), bool)
        return np.where(known, inside, -1)

    def referrer(self, place: int) -> str:
        use = self.uses[self.places[place]]
        return f"segment {use.segment.id[:12]} of {use.referrer}"

    def missing(self) -> Iterator[tuple[str, str]]:
        """Digest and referrer of each that was not found."""
        for place in np.flatnonzero(~self.found):
            yield self.ids[place].ljust(32, b"\0").hex(), self.referrer(int(place))


def needed_blobs(objects: ObjectStore, reached: Reached) -> NeededBlobs:
    """Every asset of every version that was reached; unreadable segments are left out."""
    uses = tuple(use for use in reached.segments.values() if use.table == rows.ASSETS)
    ids: list[npt.NDArray[np.bytes_]] = [np.zeros(0, "S32")]
    places = [np.zeros(0, np.int32)]
    for number, use in enumerate(uses):
        try:
            table = read_segment(objects, use.segment, ["asset_id", rows.STATE])
        except MirError:
            continue  # reported as a segment
        column = rows.as_ids(rows.rows_only(table)["asset_id"])
        if len(column):
            ids.append(np.array(rows.to_numpy(column)))
            places.append(np.full(len(column), number, np.int32))
    unique, first = np.unique(np.concatenate(ids), return_index=True)
    return NeededBlobs(unique, np.concatenate(places)[first], uses, np.zeros(len(unique), bool))


def check_blobs(
    store: Store, reached: Reached, report: AuditReport, add: Callable[[Problem], None]
) -> None:
    """Re-hash all blobs of the store's own place, and those that it needs of shared roots."""
    needed = needed_blobs(store.objects, reached)
    for root in store.blobs.roots:
        own = root is store.objects
        with ThreadPoolExecutor(_THREADS) as pool:
            for entries in batches(root.entries("blobs/"), _BATCH):
                blobs = blobs_among(entries)
                places = needed.find([digest_of(entry) for entry in blobs])
                needed.found[places[places >= 0]] = True
                if own:
                    report.seen["blobs that no version names"] += int((places < 0).sum())
                jobs = [
                    (root, needed, entry, int(place))
                    for entry, place in zip(blobs, places, strict=True)
                    if own or place >= 0
                ]
                report.seen["blobs"] += len(jobs)
                for problem in pool.map(_check, jobs):
                    if problem is not None:
                        add(problem)
    _report_missing(store.objects, needed, report, add)


def blobs_among(entries: Iterable[Entry]) -> list[Entry]:
    """Those that are where a blob of their name would be."""
    return [
        entry
        for entry in entries
        if _DIGEST.fullmatch(digest_of(entry)) and entry.key in keys.blob_places(digest_of(entry))
    ]


def digest_of(entry: Entry) -> str:
    """The hash that a blob is named by."""
    return entry.key.rpartition("/")[2]


def _report_missing(
    objects: ObjectStore,
    needed: NeededBlobs,
    report: AuditReport,
    add: Callable[[Problem], None],
) -> None:
    for digest, referrer in needed.missing():
        if objects.size(keys.purged(digest)) is not None:
            report.seen["purged blobs"] += 1
            continue
        reason = "the blob is in none of the store's places"
        add(Problem(kind="missing", key=keys.blob(digest), reason=reason, referrer=referrer))


def _check(job: tuple[ObjectStore, NeededBlobs, Entry, int]) -> Problem | None:
    root, needed, entry, place = job
    with local_file(root, entry.key) as path:
        if path is None:
            return None  # removed meanwhile
        reason = _damage(path, digest_of(entry), is_image=place >= 0)
    if reason is None:
        return None
    referrer = needed.referrer(place) if place >= 0 else "no version"
    key = f"{entry.key} in `{root.url}`"
    return Problem(kind="corrupt", key=key, reason=reason, referrer=referrer)


def _damage(path: Path, digest: str, *, is_image: bool) -> str | None:
    from PIL import Image

    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            return "its content does not have this hash"
        if is_image:
            file.seek(0)
            try:
                with Image.open(file) as image:
                    image.load()
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                return f"its image cannot be decoded: {error}"
    return None
