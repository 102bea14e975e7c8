"""The demonstration project: the repository's example file, with this demo's data in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from mir_ops.demo.scenes import DatasetPaths

NAME: Final = "digits"
EXAMPLE: Final = Path(__file__).resolve().parents[2] / "projects" / "digits.yaml"


def project_mapping(
    paths: DatasetPaths, *, rounds: int, seed: int, labels: str = "oracle"
) -> dict[str, Any]:
    """What the demo's own `digits.yaml` says."""
    mapping: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    mapping["sources"] = {
        "training": str(paths.training),
        "validation": str(paths.validation),
        "pool": str(paths.pool),
    }
    mapping["labels"] |= {"backend": labels, "poll_seconds": 1}
    mapping["stop"]["rounds"] = rounds
    mapping["seed"] = seed
    return mapping


def write_project(path: Path, mapping: dict[str, Any]) -> None:
    """Write the file; `mir project apply -f` reads it."""
    path.write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")
