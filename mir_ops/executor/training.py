"""Collecting a training: `result.yaml` and the files of its stages, all of it hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mir_ops.errors import MirError
from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import read_bounded
from mir_ops.executor.jobs import Job, ModelFiles
from mir_ops.executor.packages import (
    ModelInfo,
    find_attachable,
    model_id_of,
    pack_folder,
    write_package,
)
from mir_ops.executor.stages import (
    LEGACY_STAGE,
    METRICS,
    StageReader,
    evaluate_config,
)
from mir_ops.executor.stages import StageResult as StageResult  # part of a training's result

_RESULT: Final = "models/result.yaml"
_RESULT_LIMIT: Final = 1 << 20
_CURVES: Final = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained model as the executor left it, checked and packed."""

    model_id: str
    class_names: tuple[str, ...]
    object_type: int
    stages: tuple[StageResult, ...]
    best_stage: str
    metrics: Mapping[str, float]  # of the best stage
    package: Path
    log: Path
    tensorboard: Path | None  # tar.gz of `/out/tensorboard`, when there is something in it
    curves: Path | None = None  # `metrics.jsonl`

    def model_files(self, stage: str | None = None) -> ModelFiles:
        """What a job needs to use this model."""
        return ModelFiles(
            model_id=self.model_id,
            package=self.package,
            class_names=self.class_names,
            stage=stage or self.best_stage,
        )


def collect_training(job: Job) -> TrainingResult:
    """Read, check and pack what a training left in `out`."""
    reader = StageReader(job.outputs, job.outputs / "models", _refused)
    content = reader.read_mapping(_read_result(job))
    stages = reader.read_stages(_stages_of(content))
    best = reader.choose_best(content.get("best_stage_name"), stages, job.image.object_type)
    for metric in METRICS:
        reader.read_metric(content, metric)
    model_id = model_id_of({stage.name: stage.files for stage in stages}, job.class_names)
    info = _model_info(job, reader, content, stages, best)
    curves = find_attachable(job.outputs / _CURVES, _CURVES, job.outputs)
    package = write_package(
        job.folder / "model.tar.gz", info, root=job.outputs, results=(curves,) if curves else ()
    )
    return TrainingResult(
        model_id=model_id,
        class_names=job.class_names,
        object_type=job.image.object_type,
        stages=stages,
        best_stage=best.name,
        metrics=best.metrics,
        package=package,
        log=job.log_path,
        tensorboard=pack_folder(
            job.outputs / "tensorboard", job.folder / "tensorboard.tar.gz", root=job.outputs
        ),
        curves=curves.path if curves else None,
    )


def find_stages(job: Job) -> TrainingResult | None:
    """What a failed training left, if that much of it keeps the contract."""
    try:
        return collect_training(job)
    except MirError:
        return None


def _model_info(
    job: Job,
    reader: StageReader,
    content: Mapping[str, Any],
    stages: tuple[StageResult, ...],
    best: StageResult,
) -> ModelInfo:
    return ModelInfo(
        config=yaml.safe_load((job.inputs / "config.yaml").read_text(encoding="utf-8")),
        task={"executor": job.image.image, "producer": "mir-ops", "type": 1},
        stages=stages,
        best=best,
        object_type=job.image.object_type,
        attachments=reader.read_attachments(content.get("attachments")),
        evaluate_config=evaluate_config(content.get("evaluate_config")),
        environment={
            "image": job.image.image,
            "image_digest": job.image.digest,
            "protocol_version": job.image.protocol,
            **reader.read_versions(content.get("environment")),
        },
    )


def _read_result(job: Job) -> bytes:
    raw = read_bounded(job.outputs / _RESULT, limit=_RESULT_LIMIT, root=job.outputs)
    if raw is None:
        raise ExecutorOutputError(
            f"Executor `{job.image.name}` ended well but wrote no `{_RESULT}`",
            code="no-result",
            hint="Read its log; an image for another task type behaves like this",
        )
    return raw


def _stages_of(content: dict[str, Any]) -> object:
    """The stages in either spelling: images of protocol 0 name the files of one model."""
    stages = content.get("model_stages")
    if stages is None and isinstance(content.get("model"), list):
        content.setdefault("best_stage_name", LEGACY_STAGE)
        mean_ap = content.get("map", content.get("mAP"))
        return {LEGACY_STAGE: {"files": content["model"], "mAP": mean_ap}}
    return stages


def _refused(rule: str) -> ExecutorOutputError:
    return ExecutorOutputError(
        f"Output `{_RESULT}`: {rule}",
        code="executor-output",
        hint="The executor breaks the contract: report it to the author of its image",
    )
