"""Opening a folder, a zip or a tar archive that came from outside as a read-only tree."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats.trees import (
    ArchiveLimits,
    FileTree,
    check_ratio,
    is_safe_name,
    not_an_archive,
    readable_name,
    too_large,
)
from mir_ops.store.file_systems import read_file

# How archives begin that people bring and that we do not read.
_FOREIGN: Final = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"MSCF", "a cabinet archive"),
)
_REPOSITORIES: Final = (".mir", ".git")  # folders that nobody means to import


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


def _folder_tree(root: Path, limits: ArchiveLimits) -> FileTree:
    top = str(root.resolve())
    renamed: dict[str, str] = {}  # paths of the few files whose names nobody could read
    sizes: dict[str, int] = {}
    times: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    for entry in _walk(top, left_out):
        inside = entry.path[len(top) + 1 :]
        name = readable_name(inside)
        status = _status(entry, top)
        code = _refusal(status, limits, seen=name in sizes)
        if code or status is None:
            left_out.append((code or "entry-damaged", name))
        elif len(sizes) >= limits.entries:
            raise too_large(root, f"more than {limits.entries} files")
        else:
            sizes[name], times[name] = status.st_size, status.st_mtime_ns
            if name != inside:
                renamed[name] = entry.path

    def path(name: str) -> str:
        if name not in sizes:
            raise KeyError(name)
        return renamed.get(name) or f"{top}/{name}"

    return FileTree(
        sizes,
        tuple(left_out),
        times,
        _read=lambda name: read_file(path(name), sizes[name]),
        _file=path,
    )


def _walk(top: str, left_out: list[tuple[str, str]]) -> Iterator[os.DirEntry[str]]:
    """Every entry below a folder that is no folder; links to folders are left out."""
    os.scandir(top).close()  # of the folder itself it is an error if it may not be read
    folders = [top]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                found = sorted(entries, key=attrgetter("name"))
        except OSError as error:
            left_out.append(("entry-damaged", readable_name(str(error.filename)[len(top) + 1 :])))
            continue
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.is_dir(follow_symlinks=False):
                if entry.name not in _REPOSITORIES:
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
    _check_directory_size(file.fileno(), head, source, limits)
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


def _check_directory_size(file: int, head: bytes, source: Path, limits: ArchiveLimits) -> None:
    """Refuse a giant list of entries before `zipfile` reads it into memory."""
    size = os.fstat(file).st_size
    start = max(0, size - 22 - 0xFFFF)
    tail = os.pread(file, 22 + 0xFFFF, start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        if not head.startswith(b"PK"):
            raise not_an_archive(source, "it begins and ends like none")
        raise InvalidInputError(
            f"`{source}` is cut short: a zip archive ends with the list of its entries",
            code="not-an-archive",
            hint="Copy or download it again, or pack it anew",
        )
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    locator = os.pread(file, 20, max(0, start + at - 20))
    if locator[:4] == b"PK\x06\x07":
        (where,) = struct.unpack_from("<Q", locator, 8)
        record = os.pread(file, 56, where) if where < size else b""
        if len(record) == 56:
            (directory,) = struct.unpack_from("<Q", record, 40)
    if directory > limits.directory_bytes:
        raise too_large(source, f"its list of entries takes {directory} bytes")
