"""Looking at images with a trained network: boxes, and a score that says how unsure it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import ImageSet, Placement
from mir_executor import ExecutorError, Task
from model import Detector, decode, load_model

_BATCH = 32
_BAD_MODEL = 300004
_NO_GPU = 300102
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Found:
    """The boxes of one image, best first: corners, class, score, and every class's share.

    `vector` says what the image as a whole looks like to the network.
    """

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    vector: np.ndarray


def infer(task: Task) -> None:
    """Write the boxes of every candidate, and a vector of each."""
    model = open_model(task)
    names = model.architecture.class_names
    candidates = task.candidates()
    images = ImageSet([candidate.image for candidate in candidates], model.architecture.img_size)
    boxes, vectors = {}, {}
    found_in = look(model, images, threshold=_threshold(task), overlap=_overlap(task))
    for number, (candidate, found) in enumerate(zip(candidates, found_in, strict=True)):
        boxes[candidate.name] = _to_result(found, images.read(number)[1], names)
        vectors[candidate.name] = found.vector
        if number % 256 == 0:
            task.report(number / len(candidates), f"{number} of {len(candidates)} images")
    task.write_detections(boxes)
    if task.config.get("embeddings", True) and not task.write_embeddings(vectors):
        print("no embeddings: the package pyarrow is not installed", flush=True)


def mine(task: Task) -> None:
    """Write how unsure the network is about each candidate: the entropy of its boxes, summed."""
    model = open_model(task)
    candidates = task.candidates()
    images = ImageSet([candidate.image for candidate in candidates], model.architecture.img_size)
    scores = []
    found_in = look(model, images, threshold=_threshold(task), overlap=_overlap(task))
    for candidate, found in zip(candidates, found_in, strict=True):
        share = np.clip(found.shares, 1e-6, 1 - 1e-6)
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
        scores.append((candidate.path, float(entropy)))
    task.write_scores(scores)


def open_model(task: Task) -> Detector:
    """The model that the host gave."""
    torch.set_num_threads(int(task.config.get("threads", 1)))
    model = find_model(task.model_files())
    if model is None:
        raise ExecutorError("no `model.npz` and `model.json` of this detector", code=_BAD_MODEL)
    return model.to(choose_device(task))


def find_model(files: list[Path]) -> Detector | None:
    """The model among the files of a stage, if it is one of this detector."""
    by_name = {path.name: path for path in files}
    if not {"model.json", "model.npz"} <= by_name.keys():
        return None
    try:
        return load_model(by_name["model.json"].read_bytes(), by_name["model.npz"].read_bytes())
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ExecutorError(f"the model cannot be read: {error}", code=_BAD_MODEL) from None


def choose_device(task: Task) -> torch.device:
    """The first GPU that the host gave, or the CPU where it gave none."""
    if not task.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ExecutorError("a GPU was given, but CUDA finds none", code=_NO_GPU)
    return torch.device("cuda", task.gpus[0])


def look(model: Detector, images: ImageSet, *, threshold: float, overlap: float) -> Iterator[Found]:
    """What the network sees in each image, in their order."""
    model.eval()
    device = next(model.parameters()).device
    for start in range(0, len(images), _BATCH):
        numbers = range(start, min(start + _BATCH, len(images)))
        with torch.inference_mode():
            batch = images.batch(numbers).to(device, memory_format=torch.channels_last)
            heat, sides, vectors = model.describe(batch)
            decoded = decode(heat, sides, threshold=threshold)
        for (boxes, shares), vector in zip(decoded, vectors.float().cpu().numpy(), strict=True):
            yield _without_twins(boxes, shares, overlap, vector)


def _without_twins(
    boxes: np.ndarray, shares: np.ndarray, overlap: float, vector: np.ndarray
) -> Found:
    """Of boxes of one class that overlap, keep the best. They come best first."""
    classes = boxes[:, 4].astype(np.int64)
    scores = shares[np.arange(len(classes)), classes]
    # Boxes of different classes are moved apart, so that they never overlap.
    apart = boxes[:, :4] + classes[:, None] * 10_000.0
    kept = _suppress(apart, overlap)
    return Found(boxes[kept, :4], classes[kept], scores[kept], shares[kept], vector)


def _suppress(corners: np.ndarray, overlap: float) -> np.ndarray:
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    close = shared > overlap * (areas[:, None] + areas[None] - shared)
    alive = np.ones(len(corners), dtype=bool)
    for number in range(len(corners)):
        if alive[number]:
            alive[number + 1 :] &= ~close[number, number + 1 :]
    return np.flatnonzero(alive)


def _to_result(found: Found, place: Placement, names: tuple[str, ...]) -> list[dict[str, object]]:
    """The boxes as `infer-result.json` has them, in whole pixels of the image and inside it."""
    corners = found.corners.copy()
    corners[:, 0::2] = (corners[:, 0::2] - place.shift_x) / place.scale
    corners[:, 1::2] = (corners[:, 1::2] - place.shift_y) / place.scale
    corners = np.rint(corners).clip(0, (place.width, place.height) * 2).astype(int)
    sides = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
    seen = (sides[:, 2:] > 0).all(axis=1)
    return [
        {
            "box": dict(zip("xywh", box, strict=True)),
            "class_name": names[class_id],
            "score": score,
            "class_probs": {
                names[other]: share
                for other, share in enumerate(shares)
                if share >= _LEAST_SHARE or other == class_id
            },
        }
        for box, class_id, score, shares in zip(
            sides[seen].tolist(),
            found.classes[seen].tolist(),
            np.round(found.scores[seen].astype(float), 5).tolist(),
            np.round(found.shares[seen].astype(float), 5).tolist(),
            strict=True,
        )
    ]


def _threshold(task: Task) -> float:
    return float(task.config.get("conf_thres", 0.02))


def _overlap(task: Task) -> float:
    return float(task.config.get("iou_thres", 0.5))
