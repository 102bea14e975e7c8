"""Looking at images with a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import read_image
from mir_executor import ExecutorError, Task
from network import from_files
from torch import nn

_BAD_MODEL, _NO_GPU = 300004, 300102


@dataclass(frozen=True)
class Found:
    """The boxes of one image, best first: corners, class from 0, score."""

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def infer(task: Task) -> None:
    """Write the boxes of every candidate."""
    network, names = _open(task)
    candidates = task.candidates()
    boxes = {}
    found_in = look(network, [candidate.image for candidate in candidates], _batch_size(task))
    for number, (candidate, found) in enumerate(zip(candidates, found_in, strict=True)):
        boxes[candidate.name] = to_result(found, names, float(task.config.get("conf_thres", 0.05)))
        if number % 64 == 0:
            task.report(number / len(candidates), f"{number} of {len(candidates)} images")
    task.write_detections(boxes)


def mine(task: Task) -> None:
    """Write how unsure the network is about each candidate: the entropy of its boxes, summed."""
    network, _ = _open(task)
    candidates = task.candidates()
    found_in = look(network, [candidate.image for candidate in candidates], _batch_size(task))
    scores = []
    for candidate, found in zip(candidates, found_in, strict=True):
        share = np.clip(found.scores, 1e-6, 1 - 1e-6)
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
        scores.append((candidate.path, float(entropy)))
    task.write_scores(scores)


def choose_device(task: Task, rank: int = 0) -> torch.device:
    """One of the GPUs that the host gave, or the CPU where it gave none."""
    if not task.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ExecutorError("a GPU was given, but CUDA finds none", code=_NO_GPU)
    return torch.device("cuda", task.gpus[rank])


def look(network: nn.Module, paths: Sequence[Path], batch_size: int) -> Iterator[Found]:
    """What the network sees in each image, in their order."""
    network.eval()
    device = next(network.parameters()).device
    for start in range(0, len(paths), batch_size):
        images = [read_image(path).to(device) for path in paths[start : start + batch_size]]
        with torch.inference_mode():
            outputs = network(images)
        for output in outputs:
            order = output["scores"].argsort(descending=True, stable=True)
            yield Found(
                corners=output["boxes"][order].float().cpu().numpy(),
                classes=output["labels"][order].cpu().numpy() - 1,
                scores=output["scores"][order].float().cpu().numpy(),
            )


def to_result(found: Found, names: Sequence[str], threshold: float) -> list[dict[str, object]]:
    """The boxes as `infer-result.json` has them: whole pixels."""
    first = np.floor(found.corners[:, :2] + 0.5).astype(int)
    sides = np.maximum(np.floor(found.corners[:, 2:] + 0.5).astype(int) - first, 1)
    return [
        {
            "box": dict(zip("xywh", (*corner, *side), strict=True)),
            "class_name": names[class_id],
            "score": round(score, 5),
        }
        for corner, side, class_id, score in zip(
            first.tolist(),
            sides.tolist(),
            found.classes.tolist(),
            found.scores.astype(float).tolist(),
            strict=True,
        )
        if score >= threshold
    ]


def _open(task: Task) -> tuple[nn.Module, tuple[str, ...]]:
    torch.set_num_threads(int(task.config.get("threads", 1)))
    opened = from_files(task.model_files())
    if opened is None:
        raise ExecutorError("no `model.pt` and `model.json` of this executor", code=_BAD_MODEL)
    network, architecture = opened
    return network.to(choose_device(task)), architecture.class_names


def _batch_size(task: Task) -> int:
    return max(1, int(task.config.get("batch_size", 4)))
