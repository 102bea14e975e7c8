"""Collecting a training: `result.yaml` and the files of its stages, all of it hostile."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import printable, read_bounded
from mir_ops.executor.jobs import Job, ModelFiles
from mir_ops.executor.packages import StageFile, model_id_of, open_stage_file, write_package

_RESULT: Final = "models/result.yaml"
_RESULT_LIMIT: Final = 1 << 20
_STAGE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_FILE_PART: Final = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
_FILES_PER_STAGE: Final = 1000
_STAGES: Final = 100
_METRICS: Final = ("mAP", "mAR", "mIoU", "mAcc", "maskAP", "boxAP")
_COUNTS: Final = ("tp", "fp", "fn")
_LEGACY_STAGE: Final = "default_best_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """A named checkpoint: its files and what the executor measured for it."""

    name: str
    files: tuple[StageFile, ...]
    timestamp: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained model as the executor left it, checked and packed."""

    model_id: str
    class_names: tuple[str, ...]
    stages: tuple[StageResult, ...]
    best_stage: str
    metrics: Mapping[str, float]  # of the best stage
    package: Path
    log: Path

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
    content = _read_result(job)
    stages = tuple(_read_stage(job, name, fields) for name, fields in _stages_of(content))
    best_stage = content.get("best_stage_name", stages[0].name if len(stages) == 1 else None)
    best = next((stage for stage in stages if stage.name == best_stage), None)
    if best is None:
        raise _refused(f"`best_stage_name` is {_show(best_stage)}, which is not a stage")
    for metric in _METRICS:
        _read_metric(content, metric, "")
    by_stage = {stage.name: stage.files for stage in stages}
    model_id = model_id_of(by_stage, job.class_names)
    package = write_package(
        job,
        by_stage,
        info=_package_info(job, content, stages, best),
    )
    return TrainingResult(
        model_id=model_id,
        class_names=job.class_names,
        stages=stages,
        best_stage=best.name,
        metrics=best.metrics,
        package=package,
        log=job.log_path,
    )


def _read_result(job: Job) -> dict[str, Any]:
    raw = read_bounded(job.outputs / _RESULT, limit=_RESULT_LIMIT, root=job.outputs)
    if raw is None:
        raise ExecutorOutputError(
            f"Executor `{job.image.name}` ended well but wrote no `{_RESULT}`",
            code="no-result",
            hint="Read its log; an image for another task type behaves like this",
        )
    try:
        content = _Loader(raw).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise _refused(f"is not YAML{line}: {printable(str(reason))}") from None
    if not isinstance(content, dict):
        raise _refused("is not a mapping")
    return content


class _Loader(yaml.SafeLoader):
    """Without merge keys: they can grow without bound from a few lines."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "merge keys are not allowed", key.start_mark
                )


def _stages_of(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The stages in either spelling."""
    stages = content.get("model_stages")
    if stages is None and isinstance(content.get("model"), list):
        fields = {"files": content["model"], "mAP": content.get("map", content.get("mAP"))}
        return [(_LEGACY_STAGE, fields)]
    if not isinstance(stages, dict) or not stages:
        raise _refused("names no stage in `model_stages`")
    if len(stages) > _STAGES:
        raise _refused(f"names {len(stages)} stages, the bound is {_STAGES}")
    for name, fields in stages.items():
        _check_stage_name(name)
        if not isinstance(fields, dict):
            raise _refused(f"stage `{name}` is not a mapping")
        if fields.get("stage_name", name) != name:
            raise _refused(f"stage `{name}` calls itself {_show(fields['stage_name'])}")
    return list(stages.items())


def _check_stage_name(name: object) -> None:
    if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name) or name == "attachments":
        raise _refused(f"stage name {_show(name)} is not an identifier")


def _read_stage(job: Job, name: str, fields: dict[str, Any]) -> StageResult:
    files = fields.get("files")
    if not isinstance(files, list) or not files:
        raise _refused(f"stage `{name}` names no files")
    if len(files) > _FILES_PER_STAGE:
        raise _refused(f"stage `{name}` names {len(files)} files")
    names = [_check_file_name(name, file) for file in files]
    if len(set(names)) != len(names):
        raise _refused(f"stage `{name}` names a file twice")
    found = tuple(_find_file(job, name, file) for file in sorted(names))
    metrics = {
        metric: value
        for metric in _METRICS
        if (value := _read_metric(fields, metric, f"stage `{name}`: ")) is not None
    }
    if not metrics:
        raise _refused(f"stage `{name}` has no metric: one of {', '.join(_METRICS)}")
    counts = {count: value for count in _COUNTS if (value := _read_count(fields, count, name))}
    timestamp = fields.get("timestamp", 0)
    return StageResult(
        name=name,
        files=found,
        timestamp=int(timestamp) if _is_number(timestamp) else 0,
        metrics={**metrics, **counts},
    )


def _check_file_name(stage: str, file: object) -> str:
    if not isinstance(file, str) or not file:
        raise _refused(f"stage `{stage}`: {_show(file)} is not a file name")
    path = PurePosixPath(file)
    safe = all(part != ".." and _FILE_PART.fullmatch(part) for part in path.parts)
    if path.is_absolute() or not path.parts or not safe:
        raise _refused(f"stage `{stage}`: file {_show(file)} leaves `/out/models`")
    return str(path)


def _find_file(job: Job, stage: str, file: str) -> StageFile:
    models = job.outputs / "models"
    for path in (models / stage / file, models / file):
        if path.is_symlink() or path.exists():
            return open_stage_file(path, name=file, root=job.outputs)
    raise _refused(f"stage `{stage}`: file `{printable(file)}` does not exist")


def _read_metric(fields: Mapping[str, Any], name: str, where: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise _refused(f"{where}`{name}` is {_show(value)}, not a number from 0 to 1")
    return float(value)


def _read_count(fields: Mapping[str, Any], name: str, stage: str) -> float | None:
    value = fields.get(name, fields.get(name.upper()))
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise _refused(f"stage `{stage}`: `{name}` is {_show(value)}, not a count")
    return float(value)


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e18
        and math.isfinite(value)
    )


def _package_info(
    job: Job, content: dict[str, Any], stages: tuple[StageResult, ...], best: StageResult
) -> dict[str, Any]:
    """`ymir-info.yaml` as YMIR 2 reads it."""
    config = yaml.safe_load((job.inputs / "config.yaml").read_text(encoding="utf-8"))
    return {
        "executor_config": config,
        "task_context": {
            "executor": job.image.image,
            "producer": "mir-ops",
            "mAP": best.metrics.get("mAP", 0.0),
            "type": 1,
            "object_type": 2,
        },
        "stages": {
            stage.name: {
                "stage_name": stage.name,
                "files": [file.name for file in stage.files],
                "timestamp": stage.timestamp,
                **stage.metrics,
            }
            for stage in stages
        },
        "best_stage_name": best.name,
        "model_hash": "",
        "stage_name": "",
        "attachments": {},
        "evaluate_config": _evaluate_config(content.get("evaluate_config")),
        "object_type": 2,
        "package_version": "2.0.0",
    }


def _evaluate_config(given: object) -> dict[str, float]:
    if not isinstance(given, dict):
        return {}
    return {key: float(given[key]) for key in ("iou_thr", "conf_thr") if _is_number(given.get(key))}


def _show(value: object) -> str:
    return f"`{printable(repr(value), limit=80)}`"


def _refused(rule: str) -> ExecutorOutputError:
    return ExecutorOutputError(
        f"Output `{_RESULT}`: {rule}",
        code="executor-output",
        hint="The executor breaks the contract: report it to the author of its image",
    )
