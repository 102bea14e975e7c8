"""Read-only trees of files that came from outside: a zip archive, a folder, or an index file.

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

from mir_ops.errors import InvalidInputError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may ask of this machine."""

    entries: int = 4_000_000
    directory_bytes: int = 2**30  # the list of entries, which is read into memory at once
    total_bytes: int = 256 * 2**30
    file_bytes: int = 2**30
    ratio: int = 200  # unpacked to packed, of the whole archive
    ratio_from_bytes: int = 256 * 2**20  # a small archive may well be one flat, empty image


@dataclass(frozen=True, slots=True)
class FileTree:
    """Files by their relative name, and what had to be left out: (issue code, name) each."""

    sizes: Mapping[str, int]
    left_out: tuple[tuple[str, str], ...] = ()
    _read: Callable[[str], bytes] = field(kw_only=True)

    @property
    def names(self) -> list[str]:
        return sorted(self.sizes)

    def read(self, name: str) -> bytes:
        """The bytes of one file; safe to call from several threads."""
        try:
            return self._read(name)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DamagedEntryError(f"Cannot read `{name}`: {error}") from None


class DamagedEntryError(InvalidInputError):
    """One file of a tree cannot be read; the others may."""

    code = "entry-damaged"


@contextmanager
def open_tree(source: Path, limits: ArchiveLimits | None = None) -> Iterator[FileTree]:
    """Open a folder or a zip archive."""
    limits = limits or ArchiveLimits()
    if source.is_dir():
        yield _folder_tree(source, limits)
        return
    if not source.exists():
        raise NotFoundError(
            f"No file or folder `{source}`", code="no-such-source", hint="Check the path"
        )
    with source.open("rb") as file:
        _check_directory_size(file.fileno(), source, limits)
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, OverflowError, ValueError) as error:
            raise _not_a_zip(source, str(error)) from None
        with archive:
            yield _zip_tree(archive, source, limits)


def open_index(index: Path, limits: ArchiveLimits | None = None) -> FileTree:
    """The files that the first column of an index file names, under names relative to all."""
    limits = limits or ArchiveLimits()
    places: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    paths = _index_paths(index, limits)
    top = os.path.commonpath([path.parent for path in paths]) if paths else "/"
    for path in paths:
        name = path.relative_to(top).as_posix()
        try:
            status = path.stat()
        except OSError:
            left_out.append(("file-missing", str(path)))
            continue
        if not stat.S_ISREG(status.st_mode):
            # `find assets > index.tsv` lists the folders as well.
            if not stat.S_ISDIR(status.st_mode):
                left_out.append(("unsafe-name", str(path)))
        elif status.st_size > limits.file_bytes:
            left_out.append(("file-too-large", name))
        else:
            places[name], sizes[name] = path, status.st_size
    return FileTree(sizes, tuple(left_out), _read=lambda name: places[name].read_bytes())


def is_safe_name(name: str) -> bool:
    """Whether a name stays inside the folder that it is relative to, on every system."""
    parts = PurePosixPath(name).parts
    drive = len(name) > 1 and name[1] == ":"
    return bool(parts) and not (
        name.startswith("/") or drive or "\\" in name or "\x00" in name or ".." in parts
    )


def _folder_tree(root: Path, limits: ArchiveLimits) -> FileTree:
    top = root.resolve()
    sizes: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    for folder, folders, files in os.walk(top):
        here = Path(folder)
        folders.sort()
        links = [name for name in folders if (here / name).is_symlink()]
        left_out += [("unsafe-name", (here / name).relative_to(top).as_posix()) for name in links]
        for file in files:
            path = here / file
            name = path.relative_to(top).as_posix()
            code = _refusal(path, top, limits)
            if code:
                left_out.append((code, name))
            elif len(sizes) >= limits.entries:
                raise _too_large(root, f"more than {limits.entries} files")
            else:
                sizes[name] = path.stat().st_size
    return FileTree(sizes, tuple(left_out), _read=lambda name: (top / name).read_bytes())


def _refusal(path: Path, top: Path, limits: ArchiveLimits) -> str | None:
    try:
        status = path.stat()
        inside = not path.is_symlink() or path.resolve().is_relative_to(top)
    except OSError:
        return "entry-damaged"
    if not inside or not stat.S_ISREG(status.st_mode):
        return "unsafe-name"
    return "file-too-large" if status.st_size > limits.file_bytes else None


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
            kept[info.filename] = info
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
        raise _too_large(source, f"{len(infos)} entries, at most {limits.entries} are read")
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes:
        raise _too_large(source, f"{total} bytes unpacked, at most {limits.total_bytes} are read")
    packed = max(source.stat().st_size, 1)
    if total > limits.ratio_from_bytes and total > limits.ratio * packed:
        raise _too_large(source, f"it unpacks to {total // packed} times its size")


def _check_directory_size(file: int, source: Path, limits: ArchiveLimits) -> None:
    """Refuse a giant list of entries before `zipfile` reads it into memory."""
    size = os.fstat(file).st_size
    start = max(0, size - 22 - 0xFFFF)
    tail = os.pread(file, 22 + 0xFFFF, start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise _not_a_zip(source, "it has no list of entries at its end")
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    locator = os.pread(file, 20, max(0, start + at - 20))
    if locator[:4] == b"PK\x06\x07":
        (where,) = struct.unpack_from("<Q", locator, 8)
        record = os.pread(file, 56, where) if where < size else b""
        if len(record) == 56:
            (directory,) = struct.unpack_from("<Q", record, 40)
    if directory > limits.directory_bytes:
        raise _too_large(source, f"its list of entries takes {directory} bytes")


def _index_paths(index: Path, limits: ArchiveLimits) -> list[Path]:
    try:
        lines = index.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise NotFoundError(
            f"No index file `{index}`", code="no-such-source", hint="Check the path"
        ) from None
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"The index file `{index}` is not UTF-8 text",
            code="bad-index",
            hint="It holds one image path in each line, other columns follow after a tab",
        ) from None
    if len(lines) > limits.entries:
        raise _too_large(index, f"{len(lines)} lines, at most {limits.entries} are read")
    first = (line.split("\t", 1)[0].strip() for line in lines)
    here = index.absolute().parent
    return [Path(os.path.normpath(here / text)) for text in dict.fromkeys(first) if text]


def _not_a_zip(source: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{source}` is not a zip archive: {reason}",
        code="not-an-archive",
        hint="Give a `.zip` file or a folder",
    )


def _too_large(source: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{source}` is too large to import: {reason}",
        code="archive-too-large",
        hint="Split it into several sources and import them one after the other",
    )
