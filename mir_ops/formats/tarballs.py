"""Tar archives as read-only trees; what is compressed is unpacked once, into an unnamed file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mir_ops.errors import StoreError
from mir_ops.formats.trees import (
    ArchiveLimits,
    FileTree,
    check_ratio,
    is_safe_name,
    not_an_archive,
    readable_name,
    too_large,
)

_CHUNK: Final = 2**20
_LONGEST_HEADER: Final = 2**20  # of names and attributes, which `tarfile` reads into memory


def _zstd(file: BinaryIO) -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(file)


_COMPRESSIONS: Final[tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...]] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", _zstd),
)


def find_compression(head: bytes) -> Callable[[BinaryIO], Any] | None:
    """What opens a file that begins so, if it is compressed as a tar archive may be."""
    return next((opens for magic, opens in _COMPRESSIONS if head.startswith(magic)), None)


def is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:512].ljust(512, b"?"), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def open_tar(file: BinaryIO, source: Path, limits: ArchiveLimits) -> Iterator[FileTree]:
    """The regular files of a tar archive."""
    opens = find_compression(file.read(16))
    file.seek(0)
    if opens is None:
        yield _tar_tree(file, source, limits)
        return
    with tempfile.TemporaryFile(prefix="mir-import-") as plain:
        _unpack(opens(file), cast("BinaryIO", plain), source, limits)
        plain.seek(0)
        yield _tar_tree(cast("BinaryIO", plain), source, limits)


def _unpack(packed: Any, plain: BinaryIO, source: Path, limits: ArchiveLimits) -> None:
    total = 0
    while chunk := _next_chunk(packed, source):
        total += len(chunk)
        check_ratio(source, total, limits)
        try:
            plain.write(chunk)
            plain.flush()
        except OSError as error:
            raise StoreError(
                f"Cannot unpack `{source}`: {error}",
                code="disk-full",
                hint=f"Free some space below `{tempfile.gettempdir()}`, or unpack it yourself and "
                "import the folder",
            ) from None


def _next_chunk(packed: Any, source: Path) -> bytes:
    try:
        chunk: bytes = packed.read(_CHUNK)
    except Exception as error:  # noqa: BLE001 - each decompressor has errors of its own
        raise not_an_archive(source, f"it cannot be unpacked: {error}") from None
    return chunk


def _tar_tree(file: BinaryIO, source: Path, limits: ArchiveLimits) -> FileTree:
    places: dict[str, tuple[int, int]] = {}
    left_out: list[tuple[str, str]] = []
    total = 0
    for member in _members(file, source):
        total += max(member.size, 0)
        check_ratio(source, total, limits)
        name = readable_name(member.name.removeprefix("./"))
        if member.isdir() and (is_safe_name(name) or name in (".", "")):
            continue
        if code := _refusal(member, name, limits, seen=name in places):
            left_out.append((code, name))
        elif len(places) >= limits.entries:
            raise too_large(source, f"more than {limits.entries} entries")
        else:
            places[name] = (member.offset_data, member.size)

    def read(name: str) -> bytes:
        start, size = places[name]
        data = os.pread(file.fileno(), size, start)
        if len(data) < size:
            raise EOFError("the archive ends before it")
        return data

    sizes = {name: size for name, (_, size) in places.items()}
    return FileTree(sizes, tuple(left_out), _read=read)


def _refusal(
    member: tarfile.TarInfo, name: str, limits: ArchiveLimits, *, seen: bool
) -> str | None:
    if not is_safe_name(name) or not member.isreg() or member.issparse():
        return "unsafe-name"
    if seen:
        return "entry-repeated"
    return "file-too-large" if member.size > limits.file_bytes else None


def _members(file: BinaryIO, source: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=cast("Any", _Headers(file)), mode="r:") as archive:
            while (member := archive.next()) is not None:
                yield member
                cast("Any", archive).members.clear()  # it keeps all that it read
    # `tarfile` raises all of these on headers that were made up.
    except (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, LookupError) as error:
        raise not_an_archive(source, str(error) or "it is damaged") from None


class _Headers:
    """The archive as `tarfile` may read it: headers, and none larger than it has to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header has {size} bytes")
        return self._file.read(size)
