"""The demonstration data set: scenes composed of real handwritten digits, as Pascal VOC zips.

The digits are the 1 797 that ship inside scikit-learn. The last quarter of them, by other writers,
is kept for validation: a glyph of the validation set never occurs in training or in the pool.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASS_NAMES: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip

Part = Literal["training", "validation", "pool"]
Kind = Literal["empty", "plain", "hard"]

TRAINING_GLYPHS: Final = 1300
OBJECTS: Final = 3
ZIPF_EXPONENT: Final = {"training": 1.5, "pool": 1.5, "validation": 0.3}
KIND_SHARES: Final = {"empty": 0.3, "hard": 0.3, "plain": 0.4}
FEWEST_DRAWN: Final = 6  # a third of them falls on empty scenes
# A zip member without a date of its own would make two equal data sets different files.
_ZIP_DATE: Final = (2021, 11, 5, 0, 0, 0)
_PART_NUMBERS: Final[dict[Part, int]] = {"training": 0, "validation": 1, "pool": 2}

Pixels = NDArray[np.float32]


class Box(NamedTuple):
    """One digit: its class and the pixels that it covers."""

    class_name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One image as the file that a user would bring, with what is on it."""

    name: str
    content: bytes
    size: int
    kind: Kind
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPaths:
    """Where `write_dataset` put its four files."""

    training: Path
    validation: Path
    pool: Path
    oracle: Path


def write_dataset(
    directory: Path,
    *,
    seed: int = 0,
    training: int = 100,
    validation: int = 240,
    pool: int = 1500,
    size: int = 96,
) -> DatasetPaths:
    """Write `training.zip`, `validation.zip`, `pool.zip` (images alone) and `oracle.zip`.

    `oracle.zip` holds the pool with its annotations. The same arguments give the same bytes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = DatasetPaths(
        training=directory / "training.zip",
        validation=directory / "validation.zip",
        pool=directory / "pool.zip",
        oracle=directory / "oracle.zip",
    )
    _write_zip(paths.training, compose("training", training, seed=seed, size=size))
    _write_zip(paths.validation, compose("validation", validation, seed=seed, size=size))
    held_back = list(compose("pool", pool, seed=seed, size=size))
    _write_zip(paths.pool, iter(held_back), annotations=False)
    _write_zip(paths.oracle, iter(held_back))
    return paths


def compose(part: Part, count: int, *, seed: int, size: int = 96) -> Iterator[Scene]:
    """Yield `count` scenes of one part of the data set."""
    number = _PART_NUMBERS[part]
    plan = np.random.default_rng([seed, number])
    kinds = plan.choice(list(KIND_SHARES), size=count, p=list(KIND_SHARES.values()))
    classes = _draw_classes(plan, part, count)
    for index, kind in enumerate(kinds.tolist()):
        rng = np.random.default_rng([seed, number, index])
        pixels, boxes = paint(rng, part, kind, classes[index], size)
        suffix = "png" if index % 10 == 9 else "jpg"
        yield Scene(
            name=f"{part}-{index:05d}.{suffix}",
            content=encode(pixels, suffix),
            size=size,
            kind=kind,
            boxes=boxes,
        )


def paint(
    rng: np.random.Generator, part: Part, kind: str, classes: NDArray[np.int64], size: int
) -> tuple[Pixels, tuple[Box, ...]]:
    """Return one scene, its pixels not yet clipped, and the boxes of what found room on it."""
    pixels = _background(rng, size, striped=kind == "hard" and rng.random() < 0.6)
    _clutter(rng, pixels, lines=int(rng.integers(1, 5)), strength=40)
    boxes: list[Box] = []
    if kind != "empty":
        for class_id in classes.tolist():
            mask = _glyph_mask(rng, part, class_id, hard=kind == "hard")
            box = _place(rng, boxes, mask, CLASS_NAMES[class_id], size)
            if box is not None:
                _ink(rng, pixels, mask, box, hard=kind == "hard")
                boxes.append(box)
        _occlude(rng, pixels, boxes)
    noise = 10.0 if kind == "hard" else 5.0
    pixels += rng.normal(0, noise, pixels.shape).astype(np.float32)
    return pixels, tuple(boxes)


def encode(pixels: Pixels, suffix: str) -> bytes:
    """Return the pixels as a file of this kind: `png` or `jpg`."""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    if suffix == "png":
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def to_voc(scene: Scene) -> str:
    """Return the Pascal VOC annotation; a box's last column and row belong to it."""
    objects = "".join(
        f"  <object>\n    <name>{escape(box.class_name)}</name>\n    <difficult>0</difficult>\n"
        f"    <bndbox><xmin>{box.x}</xmin><ymin>{box.y}</ymin>"
        f"<xmax>{box.x + box.width - 1}</xmax><ymax>{box.y + box.height - 1}</ymax></bndbox>\n"
        f"  </object>\n"
        for box in scene.boxes
    )
    return (
        f"<annotation>\n  <folder>images</folder>\n  <filename>{escape(scene.name)}</filename>\n"
        f"  <size><width>{scene.size}</width><height>{scene.size}</height><depth>3</depth></size>\n"
        f"{objects}</annotation>\n"
    )


def _write_zip(path: Path, scenes: Iterator[Scene], *, annotations: bool = True) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for scene in scenes:
            _add(archive, f"images/{scene.name}", scene.content, zipfile.ZIP_STORED)
            if annotations:
                stem = Path(scene.name).stem
                xml = to_voc(scene).encode()
                _add(archive, f"annotations/{stem}.xml", xml, zipfile.ZIP_DEFLATED)


def _add(archive: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    member = zipfile.ZipInfo(name, _ZIP_DATE)
    member.external_attr = 0o644 << 16
    archive.writestr(member, content, compression)


def _draw_classes(rng: np.random.Generator, part: Part, count: int) -> NDArray[np.int64]:
    """Draw the classes of every scene's objects: a few common ones, and some rare ones."""
    weights = np.arange(1, len(CLASS_NAMES) + 1) ** -ZIPF_EXPONENT[part]
    drawn = rng.choice(len(CLASS_NAMES), size=count * OBJECTS, p=weights / weights.sum())
    # A class that a small training set misses altogether could not be learned or measured.
    fewest = min(FEWEST_DRAWN, count * OBJECTS // (2 * len(CLASS_NAMES)))
    common = rng.permutation(np.flatnonzero(drawn == 0))
    for class_id in range(1, len(CLASS_NAMES)):
        lacking = max(0, fewest - int(np.count_nonzero(drawn == class_id)))
        drawn[common[:lacking]] = class_id
        common = common[lacking:]
    return drawn.reshape(count, OBJECTS)


@cache
def _glyphs(part: Part) -> dict[int, NDArray[np.uint8]]:
    """Return the 8x8 digits that this part may show, by class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    ours = slice(TRAINING_GLYPHS, None) if part == "validation" else slice(TRAINING_GLYPHS)
    images, targets = digits.images[ours], digits.target[ours]
    return {
        class_id: (images[targets == class_id] * (255 / 16)).astype(np.uint8)
        for class_id in range(len(CLASS_NAMES))
    }


def _background(rng: np.random.Generator, size: int, *, striped: bool) -> Pixels:
    coarse = rng.integers(0, 256, (int(rng.integers(3, 9)),) * 2 + (3,), dtype=np.uint8)
    texture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    tone = rng.uniform(70, 185, 3).astype(np.float32)
    pixels: Pixels = tone + (np.asarray(texture, np.float32) - 127.5) * np.float32(0.22)
    if striped:
        along = np.arange(size, dtype=np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 12)
        phase = along[:, None] * np.sin(angle) + along[None, :] * np.cos(angle)
        pixels += (13 * np.sin(phase * (2 * np.pi / period)))[..., None].astype(np.float32)
    return pixels


def _clutter(rng: np.random.Generator, pixels: Pixels, *, lines: int, strength: float) -> None:
    """Draw thin bars and spots: what a careless detector takes for a digit."""
    size = pixels.shape[0]
    for _ in range(lines):
        length, thickness = int(rng.integers(6, size // 2)), int(rng.integers(1, 4))
        height, width = (thickness, length) if rng.random() < 0.5 else (length, thickness)
        y, x = int(rng.integers(0, size - height)), int(rng.integers(0, size - width))
        pixels[y : y + height, x : x + width] += rng.uniform(-strength, strength, 3)


def _glyph_mask(rng: np.random.Generator, part: Part, class_id: int, *, hard: bool) -> Pixels:
    """Return one digit, scaled, turned and cropped to its ink, as opacity in 0..1."""
    glyphs = _glyphs(part)[class_id]
    glyph = Image.fromarray(glyphs[int(rng.integers(len(glyphs)))])
    side = int(rng.integers(18, 26) if hard else rng.integers(22, 36))
    width = max(8, round(side * rng.uniform(0.8, 1.1)))
    padded = Image.new("L", (12, 12))
    padded.paste(glyph, (2, 2))
    large = padded.resize((width * 3 // 2, side * 3 // 2), Image.Resampling.BICUBIC)
    turned = large.rotate(rng.uniform(-14, 14), Image.Resampling.BILINEAR)
    opacity = np.asarray(turned, np.float32) / np.float32(255)
    rows = np.flatnonzero((opacity > 0.35).any(axis=1))
    columns = np.flatnonzero((opacity > 0.35).any(axis=0))
    ink: Pixels = opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ink


def _place(
    rng: np.random.Generator, boxes: list[Box], mask: Pixels, class_name: str, size: int
) -> Box | None:
    """Find a place with little overlap, or give the digit up."""
    height, width = mask.shape
    for _ in range(20):
        x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
        box = Box(class_name, x, y, width, height)
        if all(_shared_pixels(box, other) <= 0.12 * width * height for other in boxes):
            return box
    return None


def _shared_pixels(one: Box, other: Box) -> int:
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0, across) * max(0, down)


def _ink(rng: np.random.Generator, pixels: Pixels, mask: Pixels, box: Box, *, hard: bool) -> None:
    region = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
    contrast = rng.uniform(55, 85) if hard else rng.uniform(90, 150)
    brightness = float(region.mean())
    darker = brightness > 150 or (brightness > 105 and rng.random() < 0.5)
    colour = region.mean(axis=(0, 1)) + (-contrast if darker else contrast)
    colour += rng.uniform(-15, 15, 3).astype(np.float32)
    region += mask[..., None] * (colour - region)


def _occlude(rng: np.random.Generator, pixels: Pixels, boxes: list[Box]) -> None:
    """Lay a bar over a part of some digits; at least two thirds of each stay visible."""
    for box in boxes:
        if rng.random() < 0.2:
            thickness = max(2, round(box.height * rng.uniform(0.12, 0.3)))
            y = box.y + int(rng.integers(0, max(1, box.height - thickness)))
            x = max(0, box.x - 3)
            pixels[y : y + thickness, x : box.x + box.width + 3] = rng.uniform(60, 200, 3)
