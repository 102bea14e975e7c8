"""The reference detector in this process: trained on scenes, and what it sees as tables."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from learning_pools import CLASSES, SIDE

from mir_ops.executor import bundled_folder
from mir_ops.store import schema

if TYPE_CHECKING:
    from data import ImageSet
    from infer import Found

FOLDER: Final = bundled_folder("detector")
SDK: Final = FOLDER.parent / "sdk"
sys.path[:0] = [str(FOLDER), str(SDK)]

_THRESHOLD, _OVERLAP, _LEAST_SHARE = 0.02, 0.5, 0.01  # as the detector's own
_STAGE: Final = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a model sees: boxes with their class shares, and a vector of each image."""

    predictions: pa.Table
    embeddings: pa.Table | None = None

    @classmethod
    def nothing(cls) -> Seen:
        return cls(predictions=schema.PREDICTIONS.empty_table())

    def vectors_of(self, ids: pa.Array) -> pa.Table | None:
        if self.embeddings is None:
            return None
        return self.embeddings.filter(pc.is_in(self.embeddings["asset_id"], value_set=ids))


def train_on(paths: Sequence[Path], *, iterations: int, seed: int) -> bytes:
    """The weights after so many iterations from scratch, as the detector trains by default.

    Annotations lie beside the images. No stage is chosen by how well it does: it is the last.
    """
    from mir_executor.contract import Task
    from train import train

    config = {
        "class_names": list(CLASSES.values()),
        "iterations": iterations,
        "evaluate_every": 0,
        "img_size": SIDE,
        "export_onnx": False,
        "threads": 1,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="mir-learning-") as name:
        folder = Path(name)
        lines = [f"{path}\t{path.with_suffix('.xml')}" for path in paths]
        (folder / "training").write_text("\n".join(lines), encoding="utf-8")
        # The detector wants images to measure stages by; here these decide nothing.
        (folder / "validation").write_text("\n".join(lines[:8]), encoding="utf-8")
        inputs = {"training_index_file": "/in/training", "val_index_file": "/in/validation"}
        outputs = {
            "models_dir": "/out/models",
            "training_result_file": "/out/models/result.yaml",
            "monitor_file": "/out/monitor.txt",
        }
        environment = {"task_id": "learning", "input": inputs, "output": outputs}
        task = Task(environment=environment, config=config, inputs=folder, outputs=folder)
        with (folder / "log").open("w") as log, contextlib.redirect_stdout(log):
            train(task)
        return (folder / "models" / _STAGE / "model.npz").read_bytes()


def look_at(weights: bytes, images: ImageSet, ids: pa.Array) -> Seen:
    """What the model of these weights sees in the images, whose asset ids are `ids`."""
    from infer import look
    from model import load_model

    description = {"class_names": list(CLASSES.values()), "img_size": SIDE}
    model = load_model(json.dumps(description).encode(), weights)
    found = list(look(model, images, threshold=_THRESHOLD, overlap=_OVERLAP))
    return Seen(predictions=_predictions(found, ids), embeddings=_embeddings(found, ids))


def _predictions(found: Sequence[Found], ids: pa.Array) -> pa.Table:
    """Whole pixels inside the image, and numbers of five digits: as executors report."""
    owner = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    corners = np.rint(np.concatenate([one.corners for one in found])).clip(0, SIDE)
    confidence = np.concatenate([one.scores for one in found])
    classes = np.concatenate([one.classes for one in found])
    shares = np.concatenate([one.shares for one in found])
    sides = corners[:, 2:] - corners[:, :2]
    kept = np.flatnonzero((sides > 0).all(axis=1))
    owner, corners, sides = owner[kept], corners[kept], sides[kept]
    x, y = corners[:, 0], corners[:, 1]
    columns = dict(zip("xywh", (x, y, sides[:, 0], sides[:, 1]), strict=True))
    return pa.table(
        {
            "asset_id": ids.take(pa.array(owner)),
            "annotation_id": pa.array(np.arange(len(owner)), pa.uint64()),
            "class_id": pa.array(classes[kept], pa.int32()),
            **{name: pa.array(column, pa.float32()) for name, column in columns.items()},
            "confidence": pa.array(np.round(confidence[kept], 5), pa.float32()),
            "class_probs": _shares(np.round(shares[kept], 5), classes[kept]),
        }
    )


def _shares(shares: np.ndarray, classes: np.ndarray) -> pa.Array:
    """Maps of the classes that are at all likely, and of each box's own."""
    told = shares >= _LEAST_SHARE
    told[np.arange(len(classes)), classes] = True
    offsets = np.concatenate([[0], np.cumsum(told.sum(axis=1))])
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(np.nonzero(told)[1], pa.int32()),
        pa.array(shares[told], pa.float32()),
    )


def _embeddings(found: Sequence[Found], ids: pa.Array) -> pa.Table:
    matrix = np.stack([one.vector for one in found]).astype(np.float32)
    vectors: Any = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
    return pa.table([ids, vectors], schema=schema.embeddings(matrix.shape[1]))
