"""A dataset version as one zip file, written piece by piece: nothing but annotations is on disk."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from mir_ops.dataset.exporting import (
    INDEX,
    ExportFolders,
    ExportFormat,
    Names,
    export_dataset,
    exported_names,
)
from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

MOST_IMAGES: Final = 100_000
MOST_BYTES: Final = 8 << 30
REPORT: Final = "report.txt"
_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the same version gives the same bytes
_AHEAD: Final = 32
_THREADS: Final = 4
_PIECE: Final = 1 << 20


def fits_archive(version: Version) -> bool:
    """Whether a version is small enough to be sent as one file."""
    if version.stats.assets > MOST_IMAGES:
        return False
    sizes = version.assets(columns=["byte_size"])["byte_size"]
    return (pc.sum(sizes).as_py() or 0) <= MOST_BYTES


def archive(
    store: Store, version: Version, *, annotations: ExportFormat = "voc", names: Names = "original"
) -> Iterator[bytes]:
    """The bytes of a zip file that an import reads again.

    What the format has no place for, and images that the store lacks, are listed in `report.txt`.
    Raises InvalidInputError at once for a version that is too large.
    """
    if not fits_archive(version):
        raise InvalidInputError(
            f"Version {version.id[:12]} is too large for one file: more than {MOST_IMAGES} images "
            f"or {MOST_BYTES >> 30} GiB",
            code="too-large-to-send",
            hint="Export it where the store can be reached: `mir export REV --to FOLDER`",
        )
    return _pieces(store, version, annotations, names)


def _pieces(
    store: Store, version: Version, annotations: ExportFormat, names: Names
) -> Iterator[bytes]:
    sink = _Sink()
    with (
        TemporaryDirectory(prefix="mir-archive-") as folder,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as file,
    ):
        root = Path(folder) / "version"
        layout = ExportFolders.under(root, annotations)
        report = export_dataset(
            store,
            version.id,
            ExportFolders(ground_truth=layout.ground_truth, root=root),
            annotations=annotations,
            names=names,
        )
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name != INDEX:
                _put(file, path.relative_to(root).as_posix(), path.read_bytes(), packed=True)
                yield from sink.taken()
        missing: list[str] = []
        for name, content in _images(store, exported_names(store, version, annotations, names)):
            if content is None:
                missing.append(name)
                continue
            _put(file, f"images/{name}", content)
            yield from sink.taken()
        lines = [*report.lines(), *(f"not in the store: images/{name}" for name in missing)]
        _put(file, REPORT, "".join(f"{line}\n" for line in lines).encode(), packed=True)
    yield from sink.taken(last=True)


def _images(store: Store, named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bytes | None]]:
    """Names and bytes in order, a few read ahead; None where the store lacks an image."""

    def read(entry: tuple[str, str]) -> tuple[str, bytes | None]:
        sha256, name = entry
        try:
            return name, store.get_blob(sha256)
        except NotFoundError:
            return name, None

    waiting = iter(named)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(waiting, _AHEAD)):
            yield from pool.map(read, batch)


def _put(file: zipfile.ZipFile, name: str, content: bytes, *, packed: bool = False) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    file.writestr(entry, content)


class _Sink:
    """What a zip file is written to: it cannot go back, and is emptied as it fills."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self, *, last: bool = False) -> Iterator[bytes]:
        if self._held and (last or len(self._held) >= _PIECE):
            yield bytes(self._held)
            self._held.clear()
