"""The folders of an export: one that is interrupted leaves nothing in them, or is started over."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from mir_ops.errors import ConflictError

_MARK: Final = ".mir-export"  # is in a folder while an export writes there


@contextmanager
def export_places(folders: Iterable[Path], *, later: Iterable[Path]) -> Iterator[None]:
    """Make the folders of an export, some only when needed; refuses one that has files.

    A block that fails, or is interrupted, takes away what it wrote. What a killed process left is
    known by its mark, and taken away by the next export.
    """
    folders = list({os.path.realpath(folder): folder for folder in folders}.values())
    later = list(later)
    left = [folder for folder in folders if (folder / _MARK).exists()]
    for folder in (*folders, *(() if left else later)):
        if folder not in left:
            _refuse_files(folder)
    missing = [place for folder in folders for place in _missing(folder)]
    ours: list[Path] = []
    with ExitStack() as marks:
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                marks.enter_context(_marked(folder))
                ours.append(folder)
            ours += later
            if left:
                _clear(ours)
            yield
        except BaseException:
            _clear(ours)
            _unmark(ours)
            for place in (*later, *missing):
                with suppress(OSError):  # it was not made, or somebody else's files are in it
                    place.rmdir()
            raise
        _unmark(folders)


def _refuse_files(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(
            f"The folder `{folder}` is not empty",
            code="folder-not-empty",
            hint="Choose another folder: an export never mixes with other files",
        )


def _missing(folder: Path) -> Iterator[Path]:
    """The folder and those above it that are still to be made, innermost first."""
    for place in (folder, *folder.parents):
        if place.exists():
            return
        yield place


@contextmanager
def _marked(folder: Path) -> Iterator[None]:
    mark = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(mark)
        raise ConflictError(
            f"Another export is writing to `{folder}`",
            code="folder-in-use",
            hint="Wait for it, or choose another folder",
        ) from None
    try:
        yield
    finally:
        os.close(mark)


def _unmark(folders: Iterable[Path]) -> None:
    for folder in folders:
        (folder / _MARK).unlink(missing_ok=True)


def _clear(folders: Sequence[Path]) -> None:
    """Take away all but the marks: whoever is killed here too is followed by the next."""
    kept = {os.path.realpath(folder) for folder in folders}
    for folder in kept:
        if os.path.isdir(folder):
            _empty(folder, kept)


def _empty(folder: str, kept: set[str]) -> None:
    for entry in list(os.scandir(folder)):
        if not entry.is_dir(follow_symlinks=False):
            if entry.name != _MARK or folder not in kept:
                os.unlink(entry.path)
        elif entry.path not in kept:
            _empty(entry.path, kept)
            with suppress(OSError):  # one that is kept is below
                os.rmdir(entry.path)
