"""Archives that a browser sends: streamed into the sharing folder, whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

from mir_ops.errors import InvalidInputError, StoreError

FOLDER: Final = "uploads"
MOST_BYTES: Final = 32 << 30
_SPARE: Final = 1 << 30  # stays free on the disk
_PIECE: Final = 4 << 20
_ABANDONED: Final = 24 * 3600.0
_NAME: Final = re.compile(r"[^\w.-]+")
_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz")


async def keep_upload(
    sharing_dir: Path | None, project: str, name: str, pieces: AsyncIterator[bytes]
) -> str:
    """Write what arrives to a new file; its path in the sharing folder."""
    folder = await run_in_threadpool(_folder, sharing_dir, project, name)
    ending = next(suffix for suffix in _SUFFIXES if name.lower().endswith(suffix))
    stem = _NAME.sub("_", Path(name).name[: -len(ending)])[:80].strip("._") or "archive"
    path = folder / f"{stem}-{secrets.token_hex(6)}{ending}"
    partial = path.with_name(f".{path.name}.part")
    try:
        await _write(partial, pieces)
        await run_in_threadpool(partial.rename, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    assert sharing_dir is not None
    return path.relative_to(os.path.realpath(sharing_dir)).as_posix()


def _folder(sharing_dir: Path | None, project: str, name: str) -> Path:
    if sharing_dir is None:
        raise InvalidInputError(
            "This deployment has no sharing folder to upload to",
            code="no-sharing-folder",
            hint="Name one in the field `sharing_dir` of the connection",
        )
    if not name.lower().endswith(_SUFFIXES):
        raise InvalidInputError(
            f"`{name[:200]}` is no archive by its name",
            code="not-an-archive",
            hint=f"Send a file that ends with {', '.join(_SUFFIXES)}",
        )
    top = Path(os.path.realpath(sharing_dir))
    folder = Path(os.path.realpath(top / FOLDER / project))
    if not folder.is_relative_to(top):
        raise InvalidInputError("The uploads lead out of the sharing folder", code="bad-folder")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.part"):  # of a server that was killed
        if time.time() - left.stat().st_mtime > _ABANDONED:
            left.unlink(missing_ok=True)
    return folder


async def _write(partial: Path, pieces: AsyncIterator[bytes]) -> None:
    taken, held = 0, bytearray()
    with partial.open("xb") as file:
        async for piece in pieces:
            taken += len(piece)
            held += piece
            if taken > MOST_BYTES:
                raise InvalidInputError(
                    f"The archive has more than {MOST_BYTES >> 30} GiB",
                    code="too-large",
                    hint="Put it into the sharing folder, and import it by its path",
                )
            if len(held) >= _PIECE:
                await run_in_threadpool(_put, file, held, partial)
        await run_in_threadpool(_put, file, held, partial)
        await run_in_threadpool(os.fsync, file.fileno())
    if not taken:
        raise InvalidInputError("The archive is empty", code="empty-upload", hint="Choose a file")


def _put(file: object, held: bytearray, partial: Path) -> None:
    from io import BufferedWriter

    assert isinstance(file, BufferedWriter)
    if shutil.disk_usage(partial.parent).free < _SPARE + len(held):
        raise StoreError(
            "The disk of the sharing folder is full",
            code="disk-full",
            hint="Make room there, then send the archive again",
        )
    file.write(held)
    held.clear()
