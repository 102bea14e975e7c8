"""Images and boxes as tensors: decoded once, fitted into a square, changed a little each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mir_executor import ExecutorError, Item, read_voc
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

_PADDING = 114
_BAD_DATASET = 300002
_BAD_IMAGE = 300003
_CACHED_BYTES = 2 << 30


@dataclass(frozen=True)
class Placement:
    """How an image of this size was fitted: pixel of the square = pixel of it x scale + shift."""

    scale: float
    shift_x: float
    shift_y: float
    width: int
    height: int


class ImageSet:
    """Squares of `size` pixels, read on demand and kept while they fit into memory."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths = list(paths)
        self.size = size
        self._kept: dict[int, tuple[np.ndarray, Placement]] = {}
        self._room = _CACHED_BYTES // (3 * size * size)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int) -> tuple[np.ndarray, Placement]:
        """Pixels (height, width, 3) as bytes, and where the image lies in the square."""
        found = self._kept.get(number)
        if found is None:
            found = read_square(self.paths[number], self.size)
            if len(self._kept) < self._room:
                self._kept[number] = found
        return found

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Images as floats, channels first, each with mean 0 and spread 1 in each channel."""
        pixels = np.stack([self.read(number)[0] for number in numbers])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255.0
        spread, mean = torch.std_mean(images, dim=(2, 3), keepdim=True)
        return (images - mean) / (spread + 0.05)


class BoxSet:
    """The boxes of labelled images, in pixels of their squares: class, x, y, w, h."""

    def __init__(self, items: Sequence[Item], images: ImageSet, classes: dict[str, int]) -> None:
        self.boxes = [
            _fitted(item, images.read(number)[1], classes) for number, item in enumerate(items)
        ]

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """All boxes of a batch, and the image that each belongs to."""
        boxes = np.concatenate([self.boxes[number] for number in numbers])
        counts = [len(self.boxes[number]) for number in numbers]
        owners = np.repeat(np.arange(len(counts)), counts)
        return torch.from_numpy(boxes), torch.from_numpy(owners)


def choose_size(paths: Sequence[Path], asked: int) -> int:
    """The side of the squares: as asked, or as large as the images, in steps of 32, at most 640."""
    if asked:
        return max(32, round(asked / 32) * 32)
    sides = []
    for path in paths[:64]:
        with _opened(path) as image:
            sides.append(max(image.size))
    return int(min(640, max(64, -(-int(np.median(sides)) // 32) * 32)))


def read_square(path: Path, size: int) -> tuple[np.ndarray, Placement]:
    """Fit an image into the middle of a square without changing its shape."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    own = upright.size
    scale = size / max(own)
    width, height = (max(1, round(side * scale)) for side in own)
    if (width, height) != own:
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (size - width) // 2, (size - height) // 2
    square = np.full((size, size, 3), _PADDING, dtype=np.uint8)
    square[top : top + height, left : left + width] = np.asarray(upright)
    return square, Placement(scale, left, top, *own)


def vary(
    images: Tensor,
    boxes: Tensor,
    owners: Tensor,
    dice: torch.Generator,
    *,
    flip: bool,
    invert: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Move, zoom, brighten, and mirror where classes allow it; boxes that leave are dropped.

    The dice are the CPU's wherever the images are: the same seed varies them the same.
    """
    batch, _, size, _ = images.shape
    zoom = torch.exp((torch.rand(batch, generator=dice) - 0.5) * 0.4)
    move = (torch.rand(batch, 2, generator=dice) - 0.5) * 0.25
    mirror = torch.ones(batch)
    if flip:
        mirror = 1.0 - 2.0 * (torch.rand(batch, generator=dice) < 0.5).float()
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = mirror / zoom
    theta[:, 1, 1] = 1.0 / zoom
    theta[:, :, 2] = move
    theta = theta.to(images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    images = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    images = _relight(images, dice, invert=invert)
    boxes, owners = _move_boxes(boxes, owners, theta, size)
    return images, boxes, owners


def _relight(images: Tensor, dice: torch.Generator, *, invert: bool) -> Tensor:
    """Other colours, other contrast, and the negative where that keeps the classes apart."""
    batch = len(images)
    order = torch.rand(batch, 3, generator=dice).argsort(dim=1).to(images.device)
    images = images[torch.arange(batch, device=images.device)[:, None], order]
    contrast = torch.exp((torch.rand(batch, 1, 1, 1, generator=dice) - 0.5) * 0.5)
    if invert:
        negative = torch.rand(batch, 1, 1, 1, generator=dice) < 0.5
        contrast = torch.where(negative, -contrast, contrast)
    return images * contrast.to(images.device)


def _move_boxes(boxes: Tensor, owners: Tensor, theta: Tensor, size: int) -> tuple[Tensor, Tensor]:
    half = size / 2
    scale = 1.0 / theta[owners][:, (0, 1), (0, 1)]
    shift = theta[owners, :, 2]
    centre = ((boxes[:, 1:3] + boxes[:, 3:5] / 2) / half - 1.0 - shift) * scale
    centre = (centre + 1.0) * half
    sides = boxes[:, 3:5] * scale.abs()
    first = (centre - sides / 2).clamp(0, size)
    last = (centre + sides / 2).clamp(0, size)
    kept = ((last - first) > sides * 0.5).all(dim=1)
    moved = torch.cat((boxes[:, :1], first, last - first), dim=1)
    return moved[kept], owners[kept]


def _fitted(item: Item, place: Placement, classes: dict[str, int]) -> np.ndarray:
    found = [
        (
            classes[box.class_name],
            box.x * place.scale + place.shift_x,
            box.y * place.scale + place.shift_y,
            box.w * place.scale,
            box.h * place.scale,
        )
        for box in read_voc(item.annotation)
        if box.class_name in classes
    ]
    boxes = np.array(found, dtype=np.float32).reshape(-1, 5)
    if not np.isfinite(boxes).all():
        raise ExecutorError(
            f"`{item.annotation.name}` has a box without numbers", code=_BAD_DATASET
        )
    return boxes


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise ExecutorError(f"`{path.name}` is not an image: {error}", code=_BAD_IMAGE) from None
