"""A full disk, as an error that says which."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mir_ops.errors import StoreError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Name the folder whose disk is full: the system itself names at most a file, often none."""
    try:
        yield
    except OSError as error:
        named = error.filename
        elsewhere = isinstance(named, str) and not Path(named).is_relative_to(folder)
        if error.errno not in _FULL or elsewhere:
            raise
        raise StoreError(
            f"The disk of `{folder}` is full: {error}",
            code="no-space",
            hint="Make room there: remove old jobs, or name a larger disk. What was committed is "
            "kept, and the next try does the rest",
        ) from error
