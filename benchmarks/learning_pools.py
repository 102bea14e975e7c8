"""Pools of scenes to mine in, each with a difficulty of its own, and frozen tests beside them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.demo import scenes
from mir_ops.demo.scenes import CLASS_NAMES, Box, Kind, Scene
from mir_ops.store import schema

SIDE: Final = 96
CLASSES: Final = dict(enumerate(CLASS_NAMES))
_PARTS: Final = ("pool", "balanced", "iid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a pool is made of. Class n occurs as often as n to the power of minus `zipf`.

    `objects` are the fewest and the most of a scene of each kind. A scene comes as up to `frames`
    images that are nearly alike.
    """

    zipf: float
    kinds: Mapping[Kind, float]
    objects: Mapping[Kind, tuple[int, int]]
    frames: int = 1


SETTINGS: Final = {
    "long-tail": Setting(
        zipf=1.5,
        kinds={"empty": 0.3, "hard": 0.3, "plain": 0.4},
        objects={"hard": (3, 3), "plain": (3, 3)},
    ),
    "crowded-hard": Setting(
        zipf=1.0,
        kinds={"hard": 0.15, "plain": 0.85},
        objects={"hard": (2, 6), "plain": (1, 3)},
    ),
    "balanced": Setting(
        zipf=0.0,
        kinds={"hard": 0.3, "plain": 0.7},
        objects={"hard": (3, 3), "plain": (3, 3)},
    ),
    "near-duplicates": Setting(
        zipf=1.0,
        kinds={"empty": 0.1, "hard": 0.2, "plain": 0.7},
        objects={"hard": (3, 3), "plain": (3, 3)},
        frames=15,
    ),
}


class _Drawn(NamedTuple):
    """A scene that is not an image yet."""

    kind: Kind
    classes: np.ndarray
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A pool and its tests. `images` has `part`, `kind`, `name` and `asset_id`, by part and number.

    No glyph of a test occurs in the pool. Both tests have the pool's kinds of scenes, each scene
    once; `iid` has the pool's classes, `balanced` every class as often.
    """

    folder: Path
    images: pa.Table
    truth: pa.Table

    @classmethod
    def open(cls, folder: Path, pool: str, seed: int, *, images: int, tests: int) -> World:
        """The world in this folder, made if it is not there yet."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                _write(
                    partial, SETTINGS[pool], seed, {"pool": images, "balanced": tests, "iid": tests}
                )
                partial.rename(folder)
        tables = (pq.read_table(folder / f"{name}.parquet") for name in ("images", "truth"))
        return cls(folder=folder, images=next(tables), truth=next(tables))

    def rows(self, part: str) -> np.ndarray:
        """Where the images of this part are."""
        return np.flatnonzero(self.images["part"].to_numpy() == part)

    def paths(self, rows: np.ndarray) -> list[Path]:
        names = self.images["name"].take(pa.array(rows)).to_pylist()
        return [self.folder / name for name in names]


def compose(setting: Setting, part: str, count: int, seed: int) -> Iterator[Scene]:
    """So many images; the tests' have the glyphs of other writers."""
    number, glyphs = _PARTS.index(part), "pool" if part == "pool" else "validation"
    if part != "pool":
        setting = replace(setting, frames=1, zipf=setting.zipf if part == "iid" else 0.0)
    place = 0
    for scene_number, drawn in enumerate(_draw(setting, np.random.default_rng([seed, number]))):
        dice = np.random.default_rng([seed, number, scene_number])
        pixels, boxes = scenes.paint(dice, glyphs, drawn.kind, drawn.classes, SIDE)
        for _ in range(min(drawn.frames, count - place)):
            shown, there = (pixels, boxes) if drawn.frames == 1 else _frame(dice, pixels, boxes)
            suffix = "png" if place % 10 == 9 else "jpg"
            yield Scene(
                name=f"{part}-{place:05d}.{suffix}",
                content=scenes.encode(shown, suffix),
                size=SIDE,
                kind=drawn.kind,
                boxes=there,
            )
            place += 1
        if place == count:
            return


def _draw(setting: Setting, dice: np.random.Generator) -> Iterator[_Drawn]:
    weights = np.arange(1, len(CLASS_NAMES) + 1) ** -setting.zipf
    while True:
        kind = cast("Kind", dice.choice(list(setting.kinds), p=list(setting.kinds.values())))
        fewest, most = setting.objects.get(kind, (0, 0))
        objects = int(dice.integers(fewest, most + 1))
        classes = dice.choice(len(CLASS_NAMES), size=objects, p=weights / weights.sum())
        yield _Drawn(kind, classes, int(dice.integers(1, setting.frames + 1)))


def _frame(
    dice: np.random.Generator, pixels: np.ndarray, boxes: tuple[Box, ...]
) -> tuple[np.ndarray, tuple[Box, ...]]:
    """The same scene a moment later: moved by up to 2 pixels, a little lighter or darker."""
    x, y = (_step(dice, boxes, side) for side in (0, 1))
    shown = np.roll(pixels, (y, x), axis=(0, 1)) * np.float32(dice.uniform(0.93, 1.07))
    shown = shown + dice.normal(0, 4.0, pixels.shape).astype(np.float32)
    return shown, tuple(box._replace(x=box.x + x, y=box.y + y) for box in boxes)


def _step(dice: np.random.Generator, boxes: tuple[Box, ...], side: int) -> int:
    """How far along this side, with every box still on the image."""
    low = max([-2, *(-(box.x, box.y)[side] for box in boxes)])
    room = (SIDE - (box.x, box.y)[side] - (box.width, box.height)[side] for box in boxes)
    return int(dice.integers(low, min([2, *room]) + 1))


def _write(folder: Path, setting: Setting, seed: int, counts: Mapping[str, int]) -> None:
    folder.mkdir(parents=True)
    images, boxes = [], []
    for part, count in counts.items():
        for scene in compose(setting, part, count, seed):
            (folder / scene.name).write_bytes(scene.content)
            annotation = (folder / scene.name).with_suffix(".xml")
            annotation.write_text(scenes.to_voc(scene), encoding="utf-8")
            asset_id = hashlib.sha256(scene.content).digest()
            images.append((part, scene.kind, scene.name, asset_id))
            boxes += [(asset_id, number, *box) for number, box in enumerate(scene.boxes)]
    pq.write_table(_images(images), folder / "images.parquet")
    pq.write_table(_truth(boxes), folder / "truth.parquet")


def _images(rows: list[tuple[str, str, str, bytes]]) -> pa.Table:
    parts, kinds, names, ids = zip(*rows, strict=True)
    columns = {"part": parts, "kind": kinds, "name": names}
    return pa.table({**columns, "asset_id": pa.array(ids, schema.ASSET_ID)})


def _truth(rows: list[tuple[bytes, int, str, int, int, int, int]]) -> pa.Table:
    ids, numbers, names, *sides = zip(*rows, strict=True)
    numbers_of = {name: number for number, name in CLASSES.items()}
    return pa.table(
        {
            "asset_id": pa.array(ids, schema.ASSET_ID),
            "annotation_id": pa.array(numbers, pa.uint64()),
            "class_id": pa.array([numbers_of[name] for name in names], pa.int32()),
            **{side: pa.array(s, pa.float32()) for side, s in zip("xywh", sides, strict=True)},
        }
    )
