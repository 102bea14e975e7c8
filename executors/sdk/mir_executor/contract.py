"""The executor contract, protocol 1.1.0, from the inside of the container."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

RUNNING, FAILED = 2, 4
MOST_STAGES = 11  # what YMIR keeps; an older stage makes room, but never the best

# What a model is compared by, by the type of object that it finds.
MAIN_METRICS = {3: "mIoU", 4: "maskAP"}
_VERSIONS = ("numpy", "torch", "torchvision", "onnx", "onnxruntime", "PIL")


class ExecutorError(Exception):
    """An end with a reason: `code` is one of the contract's numbers (300001 settings, …)."""

    def __init__(self, message: str, *, code: int = 300001) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Item:
    """One labelled image."""

    image: Path
    annotation: Path


@dataclass(frozen=True)
class Candidate:
    """One image to look at; `path` is how the host wrote it, and how results must name it."""

    path: str
    image: Path

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Task:
    """What the host asks for, and the places to answer it."""

    environment: Mapping[str, Any]
    config: Mapping[str, Any]
    inputs: Path
    outputs: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    attachments: dict[str, list[str]] = field(default_factory=dict)

    @property
    def object_type(self) -> int:
        """2: boxes; 3: a class for each pixel; 4: a mask for each object."""
        return int(self.config.get("object_type") or 2)

    @property
    def gpus(self) -> list[int]:
        """The numbers of the GPUs to use, as they are counted in the container."""
        given = str(self.config.get("gpu_id") or "")
        return [int(number) for number in given.split(",") if number.strip()]

    @property
    def tensorboard(self) -> Path:
        """Where TensorBoard files go."""
        return self._output("tensorboard_dir")

    @property
    def class_names(self) -> list[str]:
        return list(self.config["class_names"])

    @property
    def trains(self) -> bool:
        return bool(self.environment.get("run_training"))

    @property
    def mines(self) -> bool:
        return bool(self.environment.get("run_mining"))

    @property
    def infers(self) -> bool:
        return bool(self.environment.get("run_infer"))

    def training_items(self) -> list[Item]:
        return self._read_items("training_index_file")

    def validation_items(self) -> list[Item]:
        return self._read_items("val_index_file")

    def candidates(self) -> list[Candidate]:
        lines = self._read_index("candidate_index_file")
        return [Candidate(line[0], self.local(line[0])) for line in lines]

    def model_files(self) -> list[Path]:
        """The files of the model to use, or of the one to start from."""
        paths = self.config.get("model_params_path") or self.config.get("pretrained_model_params")
        return [self.local(path) for path in paths or ()]

    def local(self, path: str) -> Path:
        """Where a path of the contract lies here: without a container, `/in` is elsewhere."""
        for root, folder in (("/in", self.inputs), ("/out", self.outputs)):
            if path == root or path.startswith(f"{root}/"):
                return folder / path[len(root) + 1 :]
        return Path(path)

    def report(self, share: float, message: str = "") -> None:
        """Say how much is done, from 0 to 1. The host shows it while the task runs."""
        self._write_monitor(share, RUNNING, 0, message)

    def report_failure(self, code: int, message: str, details: str = "") -> None:
        """Say why there will be no result; then exit with something else than 0."""
        self._write_monitor(1.0, FAILED, code, message, details)

    def write_metric(self, step: int, name: str, value: float) -> None:
        """Add a point to a curve."""
        record = json.dumps({"step": step, "name": name, "value": float(value)})
        with self._output("metrics_file").open("a", encoding="utf-8") as file:
            file.write(f"{record}\n")

    def write_stage(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        mean_ap: float | None = None,
        **metrics: float,
    ) -> None:
        """Keep a checkpoint. `result.yaml` is written anew each time: a crash loses nothing.

        Metrics are numbers from 0 to 1: `mean_ap` for boxes, `mIoU=` or `maskAP=` for segments.
        """
        folder = self._output("models_dir") / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, folder / file)
            else:
                replace_file(folder / file, content)
        self.stages[name] = {
            "stage_name": name,
            "files": sorted(files),
            "timestamp": int(time.time()),
            **({} if mean_ap is None else {"mAP": float(mean_ap)}),
            **{key: float(value) for key, value in metrics.items()},
        }
        self._drop_old_stages()
        self._write_result()

    def attach(self, section: str, name: str, content: bytes) -> None:
        """Let a file travel with the model, such as a table of its errors."""
        replace_file(self._output("models_dir") / "attachments" / section / name, content)
        if name not in self.attachments.setdefault(section, []):
            self.attachments[section].append(name)
        if self.stages:
            self._write_result()

    def best_stage(self) -> str:
        """The stage with the best metric; of equal ones the latest."""
        metric = MAIN_METRICS.get(self.object_type, "mAP")
        order = {name: number for number, name in enumerate(self.stages)}
        return max(self.stages, key=lambda name: (self.stages[name].get(metric, -1), order[name]))

    def _drop_old_stages(self) -> None:
        best = self.best_stage()
        for name in [name for name in self.stages if name != best][: -(MOST_STAGES - 1)]:
            shutil.rmtree(self._output("models_dir") / name, ignore_errors=True)
            del self.stages[name]

    def _write_result(self) -> None:
        best = self.best_stage()
        metric = MAIN_METRICS.get(self.object_type, "mAP")
        result = {
            "best_stage_name": best,
            metric: self.stages[best].get(metric, 0.0),
            "model_stages": self.stages,
            "evaluate_config": {"iou_thr": 0.5, "conf_thr": 0.005},
            "attachments": self.attachments,
            "environment": versions(),
        }
        text = yaml.safe_dump(result, sort_keys=False)
        replace_file(self._output("training_result_file"), text.encode())

    def write_detections(self, boxes: Mapping[str, list[dict[str, Any]]]) -> None:
        """Boxes by the candidate's name; every candidate needs an entry, if only an empty one."""
        detection = {name: {"boxes": found} for name, found in boxes.items()}
        text = json.dumps({"detection": detection}, separators=(",", ":"))
        replace_file(self._output("infer_result_file"), text.encode())

    def write_segments(self, coco: Mapping[str, Any]) -> None:
        """What was found by an image that segments: a COCO file, `confidence` with each object."""
        text = json.dumps(coco, separators=(",", ":"))
        replace_file(self._output("infer_result_file"), text.encode())

    def write_embeddings(self, vectors: Mapping[str, Sequence[float]]) -> bool:
        """A vector for each candidate, by its name; False where `pyarrow` is not installed."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            return False
        table = pyarrow.table(
            {
                "asset": pyarrow.array(list(vectors), pyarrow.string()),
                "vector": pyarrow.array(list(vectors.values()), pyarrow.list_(pyarrow.float32())),
            }
        )
        path = self._output("embeddings_file")
        pyarrow.parquet.write_table(table, path.with_name(f".{path.name}.partial"))
        os.replace(path.with_name(f".{path.name}.partial"), path)
        return True

    def write_scores(self, scores: Iterable[tuple[str, float]]) -> None:
        """A mining score by the candidate's path, higher is better; they are sorted here."""
        ordered = sorted(scores, key=lambda pair: (-pair[1], pair[0]))
        text = "".join(f"{path}\t{score:.9g}\n" for path, score in ordered)
        replace_file(self._output("mining_result_file"), text.encode())

    def _read_items(self, key: str) -> list[Item]:
        lines = self._read_index(key)
        return [Item(self.local(line[0]), self.local(line[1])) for line in lines]

    def _read_index(self, key: str) -> list[list[str]]:
        path = self.environment["input"].get(key)
        if not path:
            return []
        lines = self.local(path).read_text(encoding="utf-8").splitlines()
        return [line.split("\t") for line in lines if line]

    def _output(self, key: str) -> Path:
        defaults = {
            "metrics_file": "/out/metrics.jsonl",
            "embeddings_file": "/out/embeddings.parquet",
        }
        return self.local(self.environment["output"].get(key) or defaults[key])

    def _write_monitor(
        self, share: float, state: int, code: int, message: str, details: str = ""
    ) -> None:
        text = " ".join(message.split())[:300]
        share = min(max(share, 0.0), 1.0)
        record = f"{self.environment['task_id']}\t{time.time():.6f}\t{share:.4f}\t{state}"
        content = f"{record}\t{code}\t{text}\n{details}"
        replace_file(self._output("monitor_file"), content.encode())


def open_task() -> Task:
    """Read `env.yaml` and `config.yaml`. `MIR_IN` and `MIR_OUT` say where `/in` and `/out` are."""
    inputs = Path(os.environ.get("MIR_IN", "/in"))
    outputs = Path(os.environ.get("MIR_OUT", "/out"))
    environment = yaml.safe_load((inputs / "env.yaml").read_text(encoding="utf-8"))
    task = Task(environment=environment, config={}, inputs=inputs, outputs=outputs)
    config = task.local(environment["input"]["config_file"]).read_text(encoding="utf-8")
    return Task(
        environment=environment, config=yaml.safe_load(config), inputs=inputs, outputs=outputs
    )


def versions() -> dict[str, str]:
    """What ran: kept with the model, so that it can be run again."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        module = sys.modules.get(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", ""))
    cuda = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    return {**found, **({"cuda": str(cuda)} if cuda else {})}


def replace_file(path: Path, content: bytes) -> None:
    """Nobody reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
