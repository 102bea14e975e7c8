"""What came from outside as a read-only tree of files, and what it may ask of this machine.

A tree hands out bytes by name and never writes, so no name in it can reach another place.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from mir_ops.errors import InvalidInputError

EXPECTED_TREE: Final = """\
    images/         JPEG, PNG or BMP files, also in sub-folders
        a.jpg
        b.jpg
    annotations/    a file for each labelled image; empty, or absent, without labels
        a.xml
        b.xml"""


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
