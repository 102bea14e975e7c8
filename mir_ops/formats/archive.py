"""Read-only trees of files that came from outside: a zip or tar archive, or a folder.

A tree hands out bytes by name and never writes, so no name in it can reach another place.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.store.file_systems import read_file

EXPECTED_TREE: Final = """\
    images/         JPEG, PNG or BMP files, also in sub-folders
        a.jpg
        b.jpg
    annotations/    a file for each labelled image; empty, or absent, without labels
        a.xml
        b.xml"""
# How archives begin that people bring and that we do not read.
_FOREIGN: Final = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"MSCF", "a cabinet archive"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may ask of this machine."""

    entries: int = 4_000_000
    directory_bytes: int = 2**30  # the list of entries, which is read into memory at once
    total_bytes: int = 256 * 2**30
    file_bytes: int = 2**30
    ratio: int = 200  # unpacked to packed, of the whole archive
    ratio_from_bytes: int = 256 * 2**20  # a small archive may well be one flat, empty image


def _no_file(_: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class FileTree:
    """Files by their relative name, and what had to be left out: (issue code, name) each."""

    sizes: Mapping[str, int]
    left_out: tuple[tuple[str, str], ...] = ()
    times: Mapping[str, int] = field(default_factory=dict)  # of files: nanoseconds since 1970
    _read: Callable[[str], bytes] = field(kw_only=True)
    _file: Callable[[str], str | None] = field(default=_no_file, kw_only=True)

    @property
    def names(self) -> list[str]:
        return sorted(self.sizes)

    def read(self, name: str) -> bytes:
        """The bytes of one file; safe to call from several threads."""
        try:
            return self._read(name)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DamagedEntryError(f"Cannot read `{name}`: {error}") from None

    def file(self, name: str) -> str | None:
        """The path where the bytes lie as a file of their own; None in an archive."""
        return self._file(name)


class DamagedEntryError(InvalidInputError):
    """One file of a tree cannot be read; the others may."""

    code = "entry-damaged"


@contextmanager
def open_tree(source: Path, limits: ArchiveLimits | None = None) -> Iterator[FileTree]:
    """Open a folder, a zip archive, or a tar archive, compressed or not."""
    from mir_ops.formats.tarballs import find_compression, is_tar, open_tar

    limits = limits or ArchiveLimits()
    if source.is_dir():
        yield _folder_tree(source, limits)
        return
    if not source.exists():
        raise NotFoundError(
            f"No file or folder `{source}`", code="no-such-source", hint="Check the path"
        )
    with source.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if find_compression(head) or is_tar(head):
            with open_tar(file, source, limits) as tree:
                yield tree
            return
        with _open_zip(file, head, source, limits) as archive:
            yield _zip_tree(archive, source, limits)


def is_safe_name(name: str) -> bool:
    """Whether a name stays inside the folder that it is relative to, on every system."""
    parts = PurePosixPath(name).parts
    drive = len(name) > 1 and name[1] == ":"
    return bool(parts) and not (
        name.startswith("/") or drive or "\\" in name or "\x00" in name or ".." in parts
    )


def readable_name(name: str) -> str:
    """A name as text that can be stored: bytes that are not UTF-8 are taken as Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name


def not_an_archive(source: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{source}` is neither a zip nor a tar archive: {reason}",
        code="not-an-archive",
        hint=f"Give a folder, or a `.zip` or `.tar.gz` file, of this shape:\n{EXPECTED_TREE}",
    )


def too_large(source: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{source}` is too large to import: {reason}",
        code="archive-too-large",
        hint="Split it into several sources and import them one after the other",
    )


def check_ratio(source: Path, unpacked: int, limits: ArchiveLimits) -> None:
    """Refuse an archive that unpacks to far more than it is, or than this machine takes."""
    if unpacked > limits.total_bytes:
        raise too_large(source, f"{unpacked} bytes unpacked, at most {limits.total_bytes} are read")
    packed = max(source.stat().st_size, 1)
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * packed:
        raise too_large(source, f"it unpacks to {unpacked // packed} times its size")


def _folder_tree(root: Path, limits: ArchiveLimits) -> FileTree:
    top = str(root.resolve())
    paths: dict[str, str] = {}
    sizes: dict[str, int] = {}
    times: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    for entry in _walk(top, left_out):
        name = readable_name(entry.path[len(top) + 1 :])
        status = _status(entry, top)
        code = _refusal(status, limits, seen=name in paths)
        if code or status is None:
            left_out.append((code or "entry-damaged", name))
        elif len(sizes) >= limits.entries:
            raise too_large(root, f"more than {limits.entries} files")
        else:
            paths[name], sizes[name] = entry.path, status.st_size
            times[name] = status.st_mtime_ns
    return FileTree(
        sizes,
        tuple(left_out),
        times,
        _read=lambda name: read_file(paths[name], sizes[name]),
        _file=lambda name: paths[name],
    )


def _walk(top: str, left_out: list[tuple[str, str]]) -> Iterator[os.DirEntry[str]]:
    """Every entry below a folder that is no folder; links to folders are left out."""
    folders = [top]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            left_out.append(("entry-damaged", readable_name(str(error.filename)[len(top) + 1 :])))
            continue
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                left_out.append(("unsafe-name", readable_name(entry.path[len(top) + 1 :])))
            else:
                yield entry


def _status(entry: os.DirEntry[str], top: str) -> os.stat_result | None:
    """None where there is nothing to read; a link may only lead to a file in the same folder."""
    try:
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(top):
            return entry.stat(follow_symlinks=False)
        return entry.stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return None


def _refusal(status: os.stat_result | None, limits: ArchiveLimits, *, seen: bool) -> str | None:
    if status is None:
        return "entry-damaged"
    if not stat.S_ISREG(status.st_mode):
        return "unsafe-name"
    if seen:
        return "entry-repeated"
    return "file-too-large" if status.st_size > limits.file_bytes else None


@contextmanager
def _open_zip(
    file: BinaryIO, head: bytes, source: Path, limits: ArchiveLimits
) -> Iterator[zipfile.ZipFile]:
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            raise not_an_archive(source, f"it is {kind}")
    _check_directory_size(file.fileno(), source, limits)
    try:
        archive = zipfile.ZipFile(file)
    # `zipfile` raises all of these on lists of entries that were made up.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, ArithmeticError, struct.error,
            LookupError, OSError) as error:  # fmt: skip
        raise not_an_archive(source, str(error)) from None
    with archive:
        yield archive


def _zip_tree(archive: zipfile.ZipFile, source: Path, limits: ArchiveLimits) -> FileTree:
    infos = archive.infolist()
    _check_bounds(infos, source, limits)
    kept: dict[str, zipfile.ZipInfo] = {}
    left_out: list[tuple[str, str]] = []
    for info in infos:
        if info.is_dir() and is_safe_name(info.filename):
            continue
        code = _entry_refusal(info, limits, seen=info.filename in kept)
        if code:
            left_out.append((code, info.orig_filename))
        else:
            kept[readable_name(info.filename)] = info
    sizes = {name: info.file_size for name, info in kept.items()}
    return FileTree(sizes, tuple(left_out), _read=lambda name: archive.read(kept[name]))


def _entry_refusal(info: zipfile.ZipInfo, limits: ArchiveLimits, *, seen: bool) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    # `filename` is already cut at a NUL byte; what the archive really said is `orig_filename`.
    if not is_safe_name(info.orig_filename) or kind not in (0, stat.S_IFREG):
        return "unsafe-name"
    if info.flag_bits & 0x1:
        return "entry-encrypted"
    if seen:
        return "entry-repeated"
    return "file-too-large" if info.file_size > limits.file_bytes else None


def _check_bounds(infos: list[zipfile.ZipInfo], source: Path, limits: ArchiveLimits) -> None:
    if len(infos) > limits.entries:
        raise too_large(source, f"{len(infos)} entries, at most {limits.entries} are read")
    check_ratio(source, sum(info.file_size for info in infos), limits)


def _check_directory_size(file: int, source: Path, limits: ArchiveLimits) -> None:
    """Refuse a giant list of entries before `zipfile` reads it into memory."""
    size = os.fstat(file).st_size
    start = max(0, size - 22 - 0xFFFF)
    tail = os.pread(file, 22 + 0xFFFF, start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise not_an_archive(source, "it has no list of entries at its end")
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    locator = os.pread(file, 20, max(0, start + at - 20))
    if locator[:4] == b"PK\x06\x07":
        (where,) = struct.unpack_from("<Q", locator, 8)
        record = os.pread(file, 56, where) if where < size else b""
        if len(record) == 56:
            (directory,) = struct.unpack_from("<Q", record, 40)
    if directory > limits.directory_bytes:
        raise too_large(source, f"its list of entries takes {directory} bytes")
