"""A small world for rounds in a real Airflow: data, store, catalog, projects, label tools."""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mir_ops.catalog import apply_project
from mir_ops.dataset import import_dataset
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.store import Store
from mir_ops.workspace import Workspace

CLASSES = ("cat", "dog")
SIDE = 32


@dataclass(frozen=True, kw_only=True)
class RoundWorld:
    """Where everything of the tests lives, and the workspace that Airflow's connection opens."""

    root: Path
    workspace: Workspace

    @property
    def oracle(self) -> Path:
        return self.root / "oracle"

    @property
    def people(self) -> Path:
        """The folder where label tasks for people appear."""
        return self.root / "people"

    def connections(self) -> dict[str, dict[str, Any]]:
        extra = {
            "store_url": self.workspace.store_url,
            "catalog_url": self.workspace.catalog_url,
            "work_dir": str(self.workspace.work_dir),
            "sharing_dir": str(self.root / "sharing"),
            "deployment": self.workspace.deployment,
        }
        return {
            "mir_default": {"conn_type": "mir", "extra": {**extra, "runner": "process"}},
            "containers": {"conn_type": "mir", "extra": {**extra, "runner": "docker"}},
            "mir_labels": {
                "conn_type": "mir_labels",
                "extra": {"store_url": self.oracle.as_uri(), "rev": "truth"},
            },
            "people": {"conn_type": "mir_labels", "extra": {"path": str(self.people)}},
        }

    def apply(self, name: str, *, config: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """A project with the sample executor that behaves as `config` says."""
        sources = ("training", "validation", "pool")
        mapping = {
            "name": name,
            "classes": list(CLASSES),
            "sources": {role: str(self.root / "data" / role) for role in sources},
            "executor": {
                "name": "sample",
                "config": {"train": dict(config or {})},
                "limits": {"time_seconds": changes.pop("time_seconds", 120)},
            },
            "mining": {"strategy": "entropy", "budget": 5},
            "labels": {"backend": changes.pop("backend", "oracle"), "poll_seconds": 1},
            "seed": 3,
            **changes,
        }
        apply_project(self.workspace.catalog, mapping)


def make_world(root: Path) -> RoundWorld:
    for number, (role, count) in enumerate([("training", 6), ("validation", 4), ("pool", 15)]):
        write_images(root / "data" / role, count, seed=100 * number)
    Store.open((root / "store").as_uri(), create=True)
    import_dataset(
        Store.open((root / "oracle").as_uri(), create=True),
        root / "data" / "pool",
        "truth",
        op_id="truth",
        unknown_classes="add",
    )
    workspace = Workspace(
        store_url=(root / "store").as_uri(),
        catalog_url=f"sqlite:///{root / 'catalog.db'}",
        work_dir=root / "work",
        deployment=f"tests-{secrets.token_hex(4)}",  # an engine may serve several runs of tests
    )
    return RoundWorld(root=root, workspace=workspace)


def write_images(folder: Path, count: int, *, seed: int) -> None:
    """Images and their boxes as Pascal VOC; the same seed writes the same bytes."""
    images, annotations = folder / "images", folder / "annotations"
    images.mkdir(parents=True)
    annotations.mkdir()
    for number in range(seed, seed + count):
        dice = random.Random(number)
        picture = Image.new("RGB", (SIDE, SIDE), tuple(dice.randrange(256) for _ in range(3)))
        picture.save(images / f"{number:04}.png")
        objects = tuple(
            VocObject(name=name, box=(dice.randrange(8), dice.randrange(8), 12.0, 10.0))
            for name in CLASSES
        )
        file = VocFile(filename=f"{number:04}.png", size=(SIDE, SIDE), objects=objects)
        (annotations / f"{number:04}.xml").write_bytes(write_voc(file))
