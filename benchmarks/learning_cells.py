"""One cell of the experiment: images are picked, a model is trained on them, and measured twice."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import learning_detector
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from learning_detector import Seen, look_at, train_on
from learning_pools import CLASSES, SIDE, World

from mir_ops import mining
from mir_ops.evaluation import evaluate

if TYPE_CHECKING:
    from data import ImageSet

FIRST, ALL, CONTROL = "first", "all", "random"
TESTS: Final = ("balanced", "iid")

_HERE: Final = Path(__file__).parent
_MINING: Final = Path(mining.__file__).parent
_LIBRARIES: Final = ("numpy", "pillow", "scikit-learn", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model to train, on what the model `before` picked or, without one, on a first random draw.

    `random` and `all`, the whole pool, need no model to pick.
    """

    pool: str
    seed: int
    length: str
    strategy: str  # its name, or NAME:PARAMETER=VALUE,…
    number: int  # so many times images were picked
    budget: int  # to pick this time
    iterations: int
    pool_images: int
    test_images: int
    before: Cell | None = None

    @property
    def mined(self) -> bool:
        """Whether a model picks its images."""
        return self.strategy not in (FIRST, ALL, CONTROL)

    def key(self, codes: Mapping[str, str]) -> str:
        """Made of all that decides the result, so that an equal key is an equal result."""
        said = {name: value for name, value in asdict(self).items() if name != "length"}
        said["before"] = self.before.key(codes) if self.before else None
        said["codes"] = [codes["training"], *([codes["mining"]] if self.mined else [])]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def digests() -> dict[str, str]:
    """Of all the code that decides which images are picked, and what they teach."""
    mining_files = [_MINING / f"{name}.py" for name in ("candidates", "reading", "vectors")]
    mining_files += [_MINING / "selection.py", *sorted((_MINING / "scoring").glob("*.py"))]
    training_files = [_HERE / f"learning_{name}.py" for name in ("cells", "detector", "pools")]
    training_files.append(_MINING.parent / "demo" / "scenes.py")
    for folder in (learning_detector.FOLDER, learning_detector.SDK):
        training_files += sorted(folder.rglob("*.py"))
    found = {}
    for name, files in (("mining", mining_files), ("training", training_files)):
        hashed = hashlib.sha256(repr([importlib.metadata.version(n) for n in _LIBRARIES]).encode())
        for path in files:
            hashed.update(path.name.encode() + path.read_bytes())
        found[name] = hashed.hexdigest()[:16]
    return found


def parse_strategy(text: str) -> tuple[str, dict[str, Any]]:
    """`hybrid:power=1,distance=cosine` as a strategy's name and its parameters, all checked."""
    name, _, rest = text.partition(":")
    pairs = (each.partition("=") for each in rest.split(",") if each)
    parameters = {key: _value(value) for key, _, value in pairs}
    mining.check_parameters(name, parameters)
    return name, parameters


def work(cell: Cell, key: str, before: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """The line of results that belongs to a cell; `before` is the one of the cell before."""
    place = _Place.of(cell, folder)
    clock = _Clock()
    labelled = place.pick(cell, before)
    clock.stop("pick")
    weights = place.train(cell, key, labelled)
    clock.stop("train")
    tests = {part: place.measure(weights, part) for part in TESTS}
    clock.stop("measure")
    return {
        "key": key,
        **{name: value for name, value in asdict(cell).items() if name != "before"},
        "before": before["key"] if before else None,
        **place.describe(labelled),
        "tests": tests,
        "cpu_seconds": clock.seconds,
        "labelled": labelled.tolist(),
    }


class _Clock:
    """Processor time of this process, in parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def stop(self, part: str) -> None:
        now = time.process_time()
        self.seconds[part], self._last = round(now - self._last, 2), now


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A world, and the models that were trained in it."""

    world: World
    models: Path

    @classmethod
    def of(cls, cell: Cell, folder: Path) -> _Place:
        name = f"{cell.pool}-{cell.seed}-{cell.pool_images}-{cell.test_images}"
        sizes = (cell.pool_images, cell.test_images)
        world = _open_world(folder / "worlds" / name, cell.pool, cell.seed, *sizes)
        return cls(world=world, models=folder / "models")

    def pick(self, cell: Cell, before: Mapping[str, Any] | None) -> np.ndarray:
        """Rows of the images to train on, ascending."""
        pool = self.world.rows("pool")
        if cell.strategy == ALL:
            return pool
        known = np.array(before["labelled"] if before else [], np.int64)
        labelled = self._ids(known)
        strategy, seen = CONTROL, Seen.nothing()
        parameters: dict[str, Any] = {}
        if cell.mined:
            assert cell.before is not None
            assert before is not None
            strategy, parameters = parse_strategy(cell.strategy)
            weights = self._weights(before["key"]) or self.train(cell.before, before["key"], known)
            seen = look_at(weights, _images(self.world, "pool"), self._ids(pool))
        scores = mining.select(
            strategy,
            assets=pa.table({"asset_id": self._ids(np.setdiff1d(pool, known))}),
            predictions=seen.predictions,
            embeddings=seen.embeddings,
            labelled=mining.read_labelled(self._truth(labelled), seen.vectors_of(labelled)),
            classes=CLASSES,
            budget=cell.budget,
            seed=cell.seed,
            parameters=parameters,
        ).scores
        picked = scores.filter(pc.is_valid(scores["rank"]))["asset_id"]
        rows = pc.index_in(picked, value_set=self.world.images["asset_id"].combine_chunks())
        return np.sort(np.concatenate([known, rows.to_numpy()]))

    def train(self, cell: Cell, key: str, labelled: np.ndarray) -> bytes:
        """The weights, kept for those cells whose images this model picks."""
        paths = self.world.paths(labelled)
        weights = train_on(paths, iterations=cell.iterations, seed=cell.seed)
        self.models.mkdir(parents=True, exist_ok=True)
        partial = self.models / f"{key}.{os.getpid()}.partial"
        partial.write_bytes(weights)
        partial.rename(self.models / f"{key}.npz")
        return weights

    def measure(self, weights: bytes, part: str) -> dict[str, Any]:
        """mAP and the AP50 of each class on a test."""
        ids = self._ids(self.world.rows(part))
        metrics = evaluate(
            ground_truth=self._truth(ids),
            predictions=look_at(weights, _images(self.world, part), ids).predictions,
            assets=pa.table({"asset_id": ids}),
            classes=CLASSES,
        )
        return {
            "map50": round(metrics.map50, 6),
            "map50_95": round(metrics.map50_95, 6),
            "ap50": {name: round(one["ap50"], 4) for name, one in metrics.per_class.items()},
        }

    def describe(self, labelled: np.ndarray) -> dict[str, Any]:
        """How many images of each kind, and how many boxes of each class."""
        kinds = pc.value_counts(self.world.images["kind"].take(pa.array(labelled)))
        classes = self._truth(self._ids(labelled))["class_id"].to_numpy()
        counts = np.bincount(classes, minlength=len(CLASSES)).tolist()
        return {
            "images": len(labelled),
            "boxes": len(classes),
            "kinds": {entry["values"]: entry["counts"] for entry in kinds.to_pylist()},
            "classes": dict(zip(CLASSES.values(), counts, strict=True)),
        }

    def _weights(self, key: str) -> bytes | None:
        path = self.models / f"{key}.npz"
        return path.read_bytes() if path.exists() else None

    def _truth(self, ids: pa.Array) -> pa.Table:
        return self.world.truth.filter(pc.is_in(self.world.truth["asset_id"], value_set=ids))

    def _ids(self, rows: np.ndarray) -> pa.Array:
        return self.world.images["asset_id"].combine_chunks().take(pa.array(rows, pa.int64()))


@lru_cache(maxsize=2)
def _open_world(folder: Path, pool: str, seed: int, images: int, tests: int) -> World:
    return World.open(folder, pool, seed, images=images, tests=tests)


_decoded: dict[tuple[Path, str], ImageSet] = {}


def _images(world: World, part: str) -> ImageSet:
    """The images of a part, decoded once; those of another world make room."""
    from data import ImageSet

    key = (world.folder, part)
    if key not in _decoded:
        if any(folder != world.folder for folder, _ in _decoded):
            _decoded.clear()
        _decoded[key] = ImageSet(world.paths(world.rows(part)), SIDE)
    return _decoded[key]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
