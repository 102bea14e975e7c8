"""The smallest executor: instant results by its settings. It trains nothing and looks at nothing.

Where it is asked for segments (`object_type` 3 or 4), it says of rings what it would say of boxes.

Settings: `expected_map` (what it claims), `idle_seconds`, `crash_code`, `hang`, `write_nan`,
`write_garbage`, `misbehave` (a name in `misbehaviour.py`), `boxes_per_image`, `vector_size`,
`seed`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from typing import Any

from mir_executor import ExecutorError, Task, run
from misbehaviour import misbehave

_STEPS = 5


def train(task: Task) -> None:
    """Claim `expected_map`, and say how much was there to learn from."""
    items = {
        "train": len(task.training_items()),
        "val": len(task.validation_items()),
    }
    if not all(items.values()):
        raise ExecutorError(f"nothing to learn from: {items}", code=300002)
    _pass_time(task)
    expected = float(task.config.get("expected_map", 0.6))
    content = json.dumps({"seed": _seed(task), **items, "classes": task.class_names}).encode()
    for step in range(1, _STEPS + 1):
        task.write_metric(step, "loss", 1.0 / step)
    metric = {2: "mean_ap", 3: "mIoU", 4: "maskAP"}[task.object_type]
    task.write_stage("first", {"model.json": content + b"\n"}, **{metric: expected / 2})
    task.write_stage("best", {"model.json": content}, **{metric: _or_nan(task, expected)})
    _misbehave(task, "models/result.yaml")


def infer(task: Task) -> None:
    """Invent boxes from the seed and the name of each image."""
    _check_model(task)
    _pass_time(task)
    boxes = {candidate.name: _invent(task, candidate.name) for candidate in task.candidates()}
    if task.object_type == 2:
        task.write_detections(boxes)
    else:
        task.write_segments(_as_rings(task, boxes))
    if size := int(task.config.get("vector_size", 0)):
        dice = {name: _dice(task, name) for name in boxes}
        task.write_embeddings({name: [dice[name].random() for _ in range(size)] for name in boxes})
    _misbehave(task, "infer-result.json")


def mine(task: Task) -> None:
    """Invent a score from the seed and the name of each image."""
    _check_model(task)
    _pass_time(task)
    task.write_scores(
        (candidate.path, _or_nan(task, _dice(task, candidate.name).random()))
        for candidate in task.candidates()
    )
    _misbehave(task, "result.tsv")


def _invent(task: Task, name: str) -> list[dict[str, Any]]:
    dice = _dice(task, name)
    found = []
    for _ in range(int(task.config.get("boxes_per_image", 2))):
        score = round(dice.uniform(0.05, 0.95), 4)
        first, second = (*dice.sample(task.class_names, k=min(2, len(task.class_names))), None)[:2]
        probs = {first: score, **({second: round(1 - score, 4)} if second else {})}
        found.append(
            {
                "box": {name: dice.randint(4, 30) for name in ("x", "y", "w", "h")},
                "class_name": first,
                "score": _or_nan(task, score),
                "class_probs": probs,
            }
        )
    return found


def _as_rings(task: Task, boxes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The same in COCO's words, each box as a polygon of its corners."""
    annotations = []
    for number, found in enumerate(boxes.values()):
        for one in found:
            x, y, w, h = (one["box"][side] for side in "xywh")
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": task.class_names.index(one["class_name"]),
                    "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "iscrowd": 0,
                    "confidence": one["score"],
                }
            )
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(boxes)],
        "categories": [{"id": id_, "name": name} for id_, name in enumerate(task.class_names)],
        "annotations": annotations,
    }


def _check_model(task: Task) -> None:
    if not any(path.is_file() for path in task.model_files()):
        raise ExecutorError("there is no model", code=300004)


def _pass_time(task: Task) -> None:
    """Idle, crash or hang as the settings say."""
    idle = float(task.config.get("idle_seconds", 0))
    for step in range(1, _STEPS + 1):
        time.sleep(idle / _STEPS)
        task.report(step / (_STEPS + 1), f"step {step} of {_STEPS}")
    if task.config.get("hang"):
        print("hanging", flush=True)
        while True:
            time.sleep(60)
    if code := int(task.config.get("crash_code", 0)):
        print(f"crashing with {code}", file=sys.stderr, flush=True)
        task.report_failure(code, "crashed as asked")
        os._exit(code if 0 < code < 256 else 1)


def _misbehave(task: Task, path: str) -> None:
    if task.config.get("write_garbage"):
        (task.outputs / path).write_bytes(b"\x00{[garbage: \xff\n" * 10)
    misbehave(task, path)


def _or_nan(task: Task, value: float) -> float:
    return float("nan") if task.config.get("write_nan") else value


def _seed(task: Task) -> int:
    return int(task.config.get("seed", 0))


def _dice(task: Task, name: str) -> random.Random:
    digest = hashlib.sha256(f"{_seed(task)}/{name}".encode()).digest()
    return random.Random(digest)


if __name__ == "__main__":
    run(train=train, mine=mine, infer=infer)
