"""Images and boxes as torchvision's detectors take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mir_executor import ExecutorError, Item, read_voc
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

_BAD_IMAGE = 300003


class Labelled(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images with the boxes of the asked classes; class 0 is the background."""

    def __init__(self, items: Sequence[Item], class_names: Sequence[str], *, flip: bool) -> None:
        self.items = list(items)
        self.numbers = {name: number for number, name in enumerate(class_names, start=1)}
        self.flip = flip

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = read_image(self.items[number].image)
        boxes = self.boxes(number)
        if self.flip and bool(torch.rand(()) < 0.5):
            image = image.flip(2)
            width = image.shape[2]
            boxes[:, [1, 3]] = width - boxes[:, [3, 1]]
        return image, {
            "boxes": torch.from_numpy(boxes[:, 1:].astype(np.float32)),
            "labels": torch.from_numpy(boxes[:, 0].astype(np.int64)),
        }

    def boxes(self, number: int) -> np.ndarray:
        """class, x1, y1, x2, y2 of each box that has an extent."""
        found = [
            (self.numbers[box.class_name], box.x, box.y, box.x + box.w, box.y + box.h)
            for box in read_voc(self.items[number].annotation)
            if box.class_name in self.numbers and box.w > 0 and box.h > 0
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 5)

    def truth(self, number: int) -> np.ndarray:
        """class from 0, x, y, w, h: as precision is measured."""
        boxes = self.boxes(number)
        sides = boxes[:, 3:] - boxes[:, 1:3]
        return np.concatenate((boxes[:, :1] - 1, boxes[:, 1:3], sides), axis=1)


def read_image(path: Path) -> Tensor:
    """Channels first, from 0 to 1, upright."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:
        raise ExecutorError(f"`{path.name}` is not an image: {error}", code=_BAD_IMAGE) from None
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1).float() / 255.0


def as_lists(
    batch: Sequence[tuple[Tensor, dict[str, Tensor]]],
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images of different sizes cannot be one tensor."""
    return [image for image, _ in batch], [target for _, target in batch]
