"""Executors: containers that train, infer and mine, by YMIR's contract, protocol 1.1.0."""

from __future__ import annotations

from mir_ops.executor.cache import AssetCache
from mir_ops.executor.containers import (
    BindMount,
    DockerSettings,
    container_name,
    docker_settings,
)
from mir_ops.executor.failures import ExecutorFailedError, ExecutorOutputError
from mir_ops.executor.inference import (
    InferenceReport,
    InferenceResult,
    collect_inference,
    collect_mining,
)
from mir_ops.executor.inputs import prepare_inference, prepare_training
from mir_ops.executor.jobs import (
    ExecutorImage,
    Job,
    Limits,
    ModelFiles,
    bundled_folder,
    bundled_image,
)
from mir_ops.executor.monitor import Progress, check_outcome, follow_monitor
from mir_ops.executor.outputs import clear_outputs, remove_job
from mir_ops.executor.owners import owning
from mir_ops.executor.runs import Outcome, Run, open_run, run_job
from mir_ops.executor.training import StageResult, TrainingResult, collect_training

__all__ = [
    "AssetCache",
    "BindMount",
    "DockerSettings",
    "ExecutorFailedError",
    "ExecutorImage",
    "ExecutorOutputError",
    "InferenceReport",
    "InferenceResult",
    "Job",
    "Limits",
    "ModelFiles",
    "Outcome",
    "Progress",
    "Run",
    "StageResult",
    "TrainingResult",
    "bundled_folder",
    "bundled_image",
    "check_outcome",
    "clear_outputs",
    "collect_inference",
    "collect_mining",
    "collect_training",
    "container_name",
    "docker_settings",
    "follow_monitor",
    "open_run",
    "owning",
    "prepare_inference",
    "prepare_training",
    "remove_job",
    "run_job",
]
