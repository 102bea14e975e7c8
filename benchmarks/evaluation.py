"""How our evaluation does against COCO's tools: the same boxes for all, each in its own process.

Every tool gets the same columns and answers with COCO's twelve numbers, which must agree within
1e-9, as must all curves of pycocotools on some hundred small sets made to be difficult. Times are
CPU seconds from columns in memory to the answer, what a tool builds for itself included and its
import not; memory is what its process peaked at. Then marks and mAP50 alone, and 200 000 images
with 4 million predictions.

pycocotools is installed into a folder of its own, if it is not here: name one with `--peer` to keep
it. Where it cannot be had its lines are not ok and say so. With `--json` one object a line.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lines import Line, report

CLASSES, IMAGES, TRUTHS, FOUNDS = 80, 5_000, 40_000, 100_000
LARGE = 40
TOLERANCE = 1e-9
SETS = 300
PEER = "pycocotools==2.0.11"
NO_PEER = "pycocotools cannot be had"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one tool needed: CPU seconds, MiB at most, and its answer."""

    cpu: float
    peak: float
    answer: list[float]


Columns = dict[str, np.ndarray]


def columns_of(scale: float, seed: int = 0) -> Columns:
    """Boxes of log-normal sizes; 70 % of the predictions near a box, some in another class, some
    twice; one in fifty boxes a crowd."""
    images, truths, founds = (int(count * scale) for count in (IMAGES, TRUTHS, FOUNDS))
    rng = np.random.default_rng(seed)
    image, label = rng.integers(0, images, truths), rng.integers(0, CLASSES, truths)
    size = np.exp(rng.normal(4, 0.9, (truths, 2)))
    box = np.column_stack([rng.random((truths, 2)) * 500, size]).round(2)
    source, near = rng.integers(0, truths, founds), rng.random(founds) < 0.7
    moved = box[source] + rng.normal(0, 0.12, (founds, 4)) * box[source][:, [2, 3, 2, 3]]
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    far = np.exp(rng.normal(4, 0.9, (founds, 2)))
    anywhere = np.column_stack([rng.random((founds, 2)) * 500, far])
    right = near & (rng.random(founds) < 0.9)
    score = np.where(near, rng.beta(4, 2, founds), rng.beta(2, 4, founds)).round(3)
    return {
        "image": image.astype(np.int32),
        "label": label.astype(np.int32),
        "box": box,
        "crowd": rng.random(truths) < 0.02,
        "found_image": np.where(near, image[source], rng.integers(0, images, founds)),
        "found_label": np.where(right, label[source], rng.integers(0, CLASSES, founds)),
        "found_box": np.where(near[:, None], moved, anywhere).round(2),
        "score": score,
    }


def ours(columns: Columns) -> list[float]:
    from mir_ops.evaluation.coco import summary_of
    from mir_ops.evaluation.curves import curves_of
    from mir_ops.evaluation.matching import match

    summary = summary_of(curves_of(match(*_sides(columns))))
    return [-1.0 if value is None else value for value in summary.values()]


def marks(columns: Columns) -> list[float]:
    """mAP50 and the mark of each prediction, nothing else."""
    from mir_ops.evaluation.curves import curves_of
    from mir_ops.evaluation.matching import AREAS, match

    matches = match(*_sides(columns), thresholds=[0.5], areas=[AREAS["all"]])
    curves = curves_of(matches, most=[100])
    hits = (matches.hit & ~matches.aside & np.uint64(1)) != 0
    return [float(np.nanmean(curves.precision)), float(hits.sum())]


def _sides(columns: Columns) -> tuple[Any, Any]:
    from mir_ops.evaluation.columns import boxes_of

    return (
        boxes_of(
            columns["image"],
            columns["label"],
            columns["box"],
            labels=CLASSES,
            crowd=columns["crowd"],
        ),
        boxes_of(
            columns["found_image"],
            columns["found_label"],
            columns["found_box"],
            labels=CLASSES,
            score=columns["score"],
        ),
    )


def faster_coco_eval(columns: Columns) -> list[float]:
    from faster_coco_eval import COCO, COCOeval_faster

    dataset, truth, found = _dictionaries(columns)
    run = COCOeval_faster(
        COCO({**dataset, "annotations": truth}),
        COCO({**dataset, "annotations": found}),
        iouType="bbox",
    )
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [float(value) for value in run.stats[:12]]


def pycocotools(columns: Columns) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset, truth, found = _dictionaries(columns)
    sides = []
    for rows in (truth, found):
        side = COCO()
        side.dataset = {**dataset, "annotations": rows}
        side.createIndex()
        sides.append(side)
    run = COCOeval(*sides, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [float(value) for value in run.stats]


def _dictionaries(columns: Columns) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """What COCO's tools take: a dictionary for each box."""
    images = 1 + int(max(columns["image"].max(), columns["found_image"].max()))
    dataset = {
        "info": {},
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number, "name": str(number)} for number in range(CLASSES)],
    }

    def rows(prefix: str, more: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
        places = zip(
            columns[f"{prefix}image"].tolist(),
            columns[f"{prefix}label"].tolist(),
            columns[f"{prefix}box"].tolist(),
            strict=True,
        )
        return [
            {"id": n + 1, "image_id": image, "category_id": label, "bbox": box,
             "area": box[2] * box[3], **more(n)}
            for n, (image, label, box) in enumerate(places)
        ]  # fmt: skip

    crowd, score = columns["crowd"].tolist(), columns["score"].tolist()
    truth = rows("", lambda n: {"iscrowd": int(crowd[n])})
    found = rows("found_", lambda n: {"iscrowd": 0, "score": score[n]})
    return dataset, truth, found


TOOLS: dict[str, Callable[[Columns], list[float]]] = {
    "ours": ours,
    "marks": marks,
    "faster-coco-eval": faster_coco_eval,
    "pycocotools": pycocotools,
}
_MODULES = {
    "ours": "mir_ops.evaluation",
    "marks": "mir_ops.evaluation",
    "faster-coco-eval": "faster_coco_eval",
    "pycocotools": "pycocotools.cocoeval",
}


def child(tool: str, scale: float) -> None:
    """Run one tool in this process and print what it used."""
    importlib.import_module(_MODULES[tool])
    columns = columns_of(scale)
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        answer = TOOLS[tool](columns)
    cpu = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "peak": peak, "answer": answer}))


def measured(tool: str, scale: float, times: int = 1, peer: Path | None = None) -> Used:
    """The least CPU seconds of some runs, each in a process of its own."""
    words = [__file__, "--child", tool, "--scale", str(scale)]
    runs = [Used(**_run(words, peer)) for _ in range(times)]
    return min(runs, key=lambda used: used.cpu)


def _run(words: list[str], peer: Path | None) -> dict[str, Any]:
    # One thread: CPU seconds are compared, and waiting threads would burn some.
    known = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    known["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), *([str(peer)] if peer else [])]
    )
    done = subprocess.run(
        [sys.executable, *words], env=known, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def find_peer(folder: Path) -> Path | None:
    """Where pycocotools is, beside our own libraries; None where it cannot be had."""
    if not (folder / "pycocotools").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        if subprocess.run([*pip, PEER], stdout=sys.stderr, check=False).returncode:
            return None
    return folder


def lines(scale: float, times: int, peer: Path | None) -> Iterator[Line]:
    """Each tool in turn on the same boxes, then ours on many; without `peer` the quick ones."""
    mine = measured("ours", scale, times)
    fast = measured("faster-coco-eval", scale, times)
    yield _less("COCO summary, CPU s: faster-coco-eval", mine.cpu, fast.cpu, 1)
    yield _less("COCO summary, MiB: faster-coco-eval", mine.peak, fast.peak, 2)
    apart = _difference(mine, fast)
    yield Line(name="difference to faster-coco-eval", ours=apart, limit=TOLERANCE)
    small = measured("marks", scale, times)
    yield Line(name="marks and mAP50 alone, CPU s", ours=small.cpu, limit=1.0)
    if peer is not None:
        yield from _beside_pycocotools(mine, scale, peer)
        many = measured("ours", LARGE)
        yield Line(name="200 000 images, 4 M predictions: peak MiB", ours=many.peak, limit=4096)
        yield Line(name="200 000 images, 4 M predictions: CPU s", ours=many.cpu)


def _beside_pycocotools(mine: Used, scale: float, folder: Path) -> Iterator[Line]:
    peer = find_peer(folder)
    if peer is None:
        name = "COCO summary, CPU s: pycocotools"
        yield Line(name=name, ours=mine.cpu, note=NO_PEER, failed=True)
        return
    other = measured("pycocotools", scale, peer=peer)
    yield _less("COCO summary, CPU s: pycocotools", mine.cpu, other.cpu, 5)
    apart = _difference(mine, other)
    yield Line(name="difference to pycocotools", ours=apart, limit=TOLERANCE)
    sets = str(Path(__file__).with_name("evaluation_sets.py"))
    apart = _run([sets, str(SETS)], peer)["apart"]
    name = f"difference to pycocotools on {SETS} difficult sets"
    yield Line(name=name, ours=apart, limit=TOLERANCE)


def _less(name: str, ours: float, other: float, times: float) -> Line:
    return Line(name=name, ours=ours, other=other, bar=times, sense="times less")


def _difference(one: Used, other: Used) -> float:
    return float(np.abs(np.subtract(one.answer, other.answer)).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--scale", type=float, default=1.0, help="times the images and boxes")
    parser.add_argument("--times", type=int, default=3, help="runs of the quick tools")
    parser.add_argument("--peer", type=Path, help="folder of pycocotools, kept")
    parser.add_argument(
        "--small", action="store_true", help="neither pycocotools nor 4 million boxes"
    )
    parser.add_argument("--child", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.scale)
        return 0
    with tempfile.TemporaryDirectory(prefix="mir-evaluation-") as folder:
        peer = None if options.small else options.peer or Path(folder)
        return report(lines(options.scale, options.times, peer), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
