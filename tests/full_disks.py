"""Disks without room."""

from __future__ import annotations

import os
from pathlib import Path


def fill(folder: Path) -> Path:
    """Leave no room on a disk, as another tenant of it would; again, where some was given back."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError:
                continue
    return path
