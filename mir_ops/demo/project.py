"""The demonstration project, as the file that a user would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mir_ops.demo.scenes import CLASS_NAMES, DatasetPaths

NAME: Final = "digits"
BUDGET: Final = 100
# About 15 seconds of training on one core; enough for a few hundred scenes of 96 pixels.
ITERATIONS: Final = 400


def project_mapping(paths: DatasetPaths, *, rounds: int, seed: int) -> dict[str, Any]:
    """What `digits.yaml` says."""
    return {
        "name": NAME,
        "description": "Handwritten digits on textured backgrounds",
        "classes": list(CLASS_NAMES),
        "sources": {
            "training": str(paths.training),
            "validation": str(paths.validation),
            "pool": str(paths.pool),
        },
        "executor": {
            "name": "detector",
            "config": {"train": {"iterations": ITERATIONS}},
            "limits": {"time_seconds": 900},
        },
        "mining": {"strategy": "entropy", "budget": BUDGET},
        "labels": {"backend": "oracle", "poll_seconds": 1, "timeout_days": 1},
        "stop": {"metric": "map50", "target": 0.95, "rounds": rounds},
        "seed": seed,
    }


def write_project(path: Path, mapping: dict[str, Any]) -> None:
    """Write the file; `mir project apply -f` reads it."""
    import yaml

    path.write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")
