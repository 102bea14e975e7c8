"""A small anchor-free detector: four strided stages, two links back up, a heat map at stride 4.

A cell of the heat map says how likely the centre of an object of each class lies there; four more
channels give the distances from the cell to the sides of its box, as logarithms.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
# Before training, a cell is an object with this probability: focal loss starts calm.
PRIOR = 0.01
# Telling classes apart takes longest to learn: most of the gradient goes there.
CLASS_WEIGHT = 12.0


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the network again."""

    class_names: tuple[str, ...]
    img_size: int
    width: int = 12


class Detector(nn.Module):
    """Images in, (class logits, log distances) out, both at stride 4."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = [architecture.width * factor for factor in (1, 2, 4, 8)]
        self.stages = nn.ModuleList(
            _stage(before, after) for before, after in zip([3, *sizes[:-1]], sizes, strict=True)
        )
        inner = architecture.width * 3
        self.links = nn.ModuleList(nn.Conv2d(size, inner, 1) for size in sizes[1:])
        self.neck = _block(inner, inner)
        self.heat = nn.Conv2d(inner, len(architecture.class_names), 1)
        self.sides = nn.Conv2d(inner, 4, 1)
        nn.init.constant_(self.heat.bias, float(np.log(PRIOR / (1 - PRIOR))))
        nn.init.constant_(self.sides.bias, 2.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        _, out = self.features(images)
        return self.heat(out), self.sides(out)

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits, log distances, and a vector of each image: what its features are at most
        and on average."""
        deep, out = self.features(images)
        vector = torch.cat((deep.amax(dim=(2, 3)), deep.mean(dim=(2, 3))), dim=1)
        return self.heat(out), self.sides(out), vector

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The deepest features, and those that the heads look at."""
        features = []
        out = images
        for stage in self.stages:
            out = stage(out)
            features.append(out)
        out = self.links[-1](features[-1])
        for link, feature in zip(self.links[-2::-1], features[-2:0:-1], strict=True):
            out = link(feature) + functional.interpolate(out, size=feature.shape[-2:])
        return features[-1], self.neck(out)


def detection_loss(heat: Tensor, sides: Tensor, boxes: Tensor, owners: Tensor) -> Tensor:
    """Focal loss on the heat map and 1 - IoU on the cells near each centre.

    `boxes` are class, x, y, w, h in pixels of the input; `owners` their image in the batch.
    """
    batch, classes, height, width = heat.shape
    cell_x = (torch.arange(width, device=heat.device) + 0.5) * STRIDE
    cell_y = (torch.arange(height, device=heat.device) + 0.5) * STRIDE
    centre = boxes[:, 1:3] + boxes[:, 3:5] / 2
    # The peak of a box is as wide as the box is; far cells count as background.
    spread = (boxes[:, 3:5] / 6).clamp(min=STRIDE / 3)
    near_x = torch.exp(-(((cell_x[None] - centre[:, :1]) / spread[:, :1]) ** 2) / 2)
    near_y = torch.exp(-(((cell_y[None] - centre[:, 1:]) / spread[:, 1:]) ** 2) / 2)
    near = near_y[:, :, None] * near_x[:, None, :]
    flat = near.flatten(1)
    near = (flat / flat.amax(dim=1, keepdim=True).clamp(min=1e-6)).view_as(near)
    target = torch.zeros(batch * classes, height * width, device=heat.device)
    index = owners * classes + boxes[:, 0].long()
    target.scatter_reduce_(
        0, index[:, None].expand(-1, height * width), near.flatten(1), reduce="amax"
    )
    objects = max(len(boxes), 1)
    loss = CLASS_WEIGHT * _focal(heat.float(), target.view_as(heat)) / objects
    if len(boxes) == 0:
        return loss + 0.0 * sides.sum()
    box, row, column = torch.nonzero(near > 0.6, as_tuple=True)
    found = sides.float()[owners[box], :, row, column].clamp(max=8.0).exp()
    wanted = _distances(boxes[box], cell_x[column], cell_y[row])
    inside = (wanted > 0).all(dim=1)
    weight = near[box, row, column] * inside
    overlap = _iou_of_distances(found, wanted.clamp(min=0.1))
    return loss + 2.0 * ((1 - overlap) * weight).sum() / weight.sum().clamp(min=1.0)


def decode(
    heat: Tensor, sides: Tensor, *, threshold: float, limit: int = 100
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per image: boxes x1, y1, x2, y2 in pixels of the input, and all class shares of each.

    A box's class is the one of its peak, kept as the last column of the boxes.
    """
    shares = heat.float().sigmoid().cpu()
    sides = sides.float().cpu()
    peaks = shares * (shares == functional.max_pool2d(shares, 3, stride=1, padding=1))
    _, _, height, width = shares.shape
    top, index = peaks.flatten(1).topk(min(limit, peaks[0].numel()))
    cell = index % (height * width)
    x = (cell % width + 0.5) * STRIDE
    y = (cell // width + 0.5) * STRIDE
    picked = cell[:, None, :]
    left, up, right, down = (
        sides.clamp(max=8.0).exp().flatten(2).gather(2, picked.expand(-1, 4, -1)).unbind(1)
    )
    classes = (index // (height * width)).float()
    boxes = torch.stack((x - left, y - up, x + right, y + down, classes), dim=2).numpy()
    every = shares.flatten(2).gather(2, picked.expand(-1, shares.shape[1], -1)).numpy()
    counts = (top > threshold).sum(dim=1).tolist()
    return [
        (boxes[number, :count], every[number, :, :count].T) for number, count in enumerate(counts)
    ]


def save_model(model: Detector) -> dict[str, bytes]:
    """The files of a stage. Equal weights give equal bytes; nothing in them is executable."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    content = io.BytesIO()
    np.savez(content, **arrays)
    text = json.dumps(asdict(model.architecture), indent=1, sort_keys=True)
    return {"model.npz": content.getvalue(), "model.json": text.encode()}


def load_model(description: bytes, weights: bytes) -> Detector:
    """The network as it was saved."""
    fields = json.loads(description)
    fields["class_names"] = tuple(fields["class_names"])
    model = Detector(Architecture(**fields))
    with np.load(io.BytesIO(weights), allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    model.load_state_dict(state)
    return model.eval()


def adopt_weights(model: Detector, donor: Detector) -> int:
    """Start from another model where the shapes agree; returns how many tensors did."""
    own = model.state_dict()
    given = {
        name: tensor
        for name, tensor in donor.state_dict().items()
        if name in own and own[name].shape == tensor.shape
    }
    if donor.architecture.class_names != model.architecture.class_names:
        given = {name: tensor for name, tensor in given.items() if not name.startswith("heat.")}
    model.load_state_dict({**own, **given})
    return len(given)


def _stage(before: int, after: int) -> nn.Sequential:
    """Half the size. The first stage, on the largest maps, makes do with one convolution."""
    if before == 3:
        return _block(before, after, stride=2)
    return nn.Sequential(_block(before, after, stride=2), _block(after, after))


def _block(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    """Quality focal loss: the share should equal the closeness to a centre, and easy cells fade."""
    missed = (logits.sigmoid() - target).abs() ** 2
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (missed * entropy).sum()


def _distances(boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    left, top = boxes[:, 1], boxes[:, 2]
    return torch.stack((x - left, y - top, left + boxes[:, 3] - x, top + boxes[:, 4] - y), dim=1)


def _iou_of_distances(first: Tensor, second: Tensor) -> Tensor:
    shared = torch.minimum(first, second)
    overlap = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
    areas = [(side[:, 0] + side[:, 2]) * (side[:, 1] + side[:, 3]) for side in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-6)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(parameter.numel() for parameter in model.parameters())


def class_index(class_names: Sequence[str]) -> dict[str, int]:
    """Class name to channel of the heat map."""
    return {name: number for number, name in enumerate(class_names)}
