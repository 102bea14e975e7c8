"""Index files: lists of image paths, one in each line, as `find … > index.tsv` writes them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats.trees import (
    ArchiveLimits,
    FileTree,
    readable_name,
    too_large,
)
from mir_ops.store.file_systems import read_file

INDEX_SUFFIXES: Final = (".txt", ".tsv", ".csv")
_MOST_BYTES: Final = 2**30
_BLANK: Final = " \t\r\v\f"


def open_index(
    index: Path, limits: ArchiveLimits | None = None, *, inside: Path | None = None
) -> FileTree:
    """The files that the first column of an index file names, by names relative to all of them.

    Folders, the index itself and other lists are left out, as are files outside of `inside`.
    """
    limits = limits or ArchiveLimits()
    found: dict[str, os.stat_result] = {}
    left_out: list[tuple[str, str]] = []
    for path, status in _listed(index, limits):
        if code := _refusal(path, status, inside, limits):
            left_out.append((code, readable_name(path)))
        elif status is not None:
            found[path] = status
    top = len(_common_folder(list(found)))
    paths = {readable_name(path[top:].lstrip("/")): path for path in found}
    return FileTree(
        {name: found[path].st_size for name, path in paths.items()},
        tuple(left_out),
        {name: found[path].st_mtime_ns for name, path in paths.items()},
        _read=lambda name: read_file(paths[name], found[paths[name]].st_size),
        _file=lambda name: paths[name],
    )


def _listed(index: Path, limits: ArchiveLimits) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every path once, and what lies there."""
    here = os.path.dirname(os.path.abspath(index))
    seen: set[str] = set()
    for line in _lines(index, limits):
        path = _joined(here, line.partition("\t")[0].strip())
        status = _status(path)
        if status is None:
            # What follows a tab is another column, unless a file has the tab in its name.
            others = (_joined(here, text) for text in (line.strip(), line))
            looked = ((other, _status(other)) for other in others)
            path, status = next((found for found in looked if found[1]), (path, None))
        if path not in seen:
            seen.add(path)
            yield path, status


def _joined(here: str, text: str) -> str:
    usual = text.startswith("/") and "//" not in text and "/." not in text and text[-1] != "/"
    return text if usual else os.path.normpath(os.path.join(here, text))


def _lines(index: Path, limits: ArchiveLimits) -> Iterator[str]:
    try:
        if index.stat().st_size > _MOST_BYTES:
            raise too_large(index, f"it has more than {_MOST_BYTES} bytes")
        content = index.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"No index file `{index}`", code="no-such-source", hint="Check the path"
        ) from None
    except OSError as error:
        raise _bad_index(index, f"cannot be read: {error.strerror}") from None
    if b"\0" in content:
        raise _bad_index(index, "is not a text file")
    if content.count(b"\n") > limits.entries:
        raise too_large(index, f"it has more than {limits.entries} lines")
    for line in os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n"):
        if line.strip(_BLANK):
            yield line.removesuffix("\r")


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _refusal(
    path: str, status: os.stat_result | None, inside: Path | None, limits: ArchiveLimits
) -> str | None:
    if inside is not None and not Path(path).resolve().is_relative_to(inside.resolve()):
        return "unsafe-name"
    if status is None:
        return "file-missing"
    if stat.S_ISDIR(status.st_mode) or path.lower().endswith(INDEX_SUFFIXES):
        return "index-not-an-image"
    if not stat.S_ISREG(status.st_mode):
        return "unsafe-name"
    return "file-too-large" if status.st_size > limits.file_bytes else None


def _common_folder(paths: list[str]) -> str:
    folders = {path.rpartition("/")[0] or "/" for path in paths}
    # What the first and the last of them have in common, all have.
    return os.path.commonpath([min(folders), max(folders)]) if folders else ""


def _bad_index(index: Path, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"The index file `{index}` {what}",
        code="bad-index",
        hint="It holds one image path in each line, other columns follow after a tab",
    )
