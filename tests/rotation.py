"""Which cell of a matrix a quick run takes besides the fixed ones: the commit's hash says."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

Cell = TypeVar("Cell")


def chosen(cells: Sequence[Cell], matrix: str) -> Cell:
    """The same cell for the same commit; another matrix takes another one."""
    digest = hashlib.sha256(f"{_commit()}/{matrix}".encode()).digest()
    return cells[int.from_bytes(digest[:8]) % len(cells)]


@lru_cache
def _commit() -> str:
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()
