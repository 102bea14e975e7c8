"""Model packages from outside: ours, YMIR's, and those of YMIR 1.1; all of them hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mir_ops.errors import InvalidInputError
from mir_ops.executor.files import printable, read_bounded
from mir_ops.executor.packages import (
    INFO,
    ModelInfo,
    find_attachable,
    model_id_of,
    refused,
    unpack,
    write_package,
)
from mir_ops.executor.stages import LEGACY_STAGE, StageReader, StageResult, evaluate_config

_INFO_LIMIT: Final = 1 << 20
_CLASSES: Final = 10_000
_OBJECT_TYPES: Final = (2, 3, 4, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModel:
    """A package of somebody else, packed again as ours are."""

    model_id: str
    class_names: tuple[str, ...]
    object_type: int
    stages: tuple[StageResult, ...]
    best_stage: str
    package: Path
    curves: Path | None  # `metrics.jsonl`
    config: Mapping[str, Any]
    producer: str
    image: str
    sha1: str  # of the file that came: the name that YMIR knows it by


def read_model(path: Path, folder: Path) -> ImportedModel:
    """Unpack a package into the empty `folder`, check everything, and pack it as ours."""
    unpacked = folder / "unpacked"
    unpacked.mkdir(parents=True)
    unpack(path, unpacked)
    reader = StageReader(unpacked, unpacked, lambda rule: refused(f"`{INFO}`: {rule}"))
    content = reader.read_mapping(_read_info(unpacked))
    task = _mapping(content, "task_context")
    config = _mapping(content, "executor_config")
    class_names = _class_names(config)
    object_type = _object_type(content, task)
    producer = _producer(content, task)
    stages = reader.read_stages(_stages_of(content, task))
    best = reader.choose_best(content.get("best_stage_name"), stages, object_type)
    info = ModelInfo(
        config=config,
        task={**task, "producer": producer},
        stages=stages,
        best=best,
        object_type=object_type,
        attachments=reader.read_attachments(content.get("attachments")),
        evaluate_config=evaluate_config(content.get("evaluate_config")),
        environment=reader.read_versions(content.get("environment")),
    )
    with path.open("rb") as file:
        sha1 = hashlib.file_digest(file, "sha1").hexdigest()
    curves = find_attachable(unpacked / "results/metrics.jsonl", "metrics.jsonl", unpacked)
    return ImportedModel(
        model_id=model_id_of({stage.name: stage.files for stage in stages}, class_names),
        class_names=class_names,
        object_type=object_type,
        stages=stages,
        best_stage=best.name,
        package=write_package(
            folder / "model.tar.gz", info, root=unpacked, results=(curves,) if curves else ()
        ),
        curves=curves.path if curves else None,
        config=config,
        producer=producer,
        image=printable(str(task.get("executor", ""))),
        sha1=sha1,
    )


def check_classes(model: Sequence[str], project: Sequence[str]) -> None:
    """Refuse a model that finds what the project does not know, with both lists."""
    unknown = [name for name in model if name.strip().lower() not in project]
    if unknown:
        raise InvalidInputError(
            f"The model's classes are not the project's: it finds {_listed(model)}; "
            f"the project knows {_listed(project)}",
            code="other-classes",
            hint=f"Declare {_listed(unknown)} with `mir classes add`, or take the model anyway "
            "with `--unknown-types-strategy ignore` or `add`",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{printable(name, limit=80)}`" for name in names) or "none"


def _read_info(unpacked: Path) -> bytes:
    raw = read_bounded(unpacked / INFO, limit=_INFO_LIMIT, root=unpacked)
    if raw is None:
        raise refused(f"is none of ours or YMIR's: it has no `{INFO}`")
    return raw


def _mapping(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise refused(f"`{INFO}`: `{name}` is not a mapping")
    return found


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("class_names")
    good = isinstance(names, list) and 0 < len(names) <= _CLASSES
    if not good or not all(isinstance(name, str) and name.strip() for name in names or ()):
        raise refused(f"`{INFO}`: `executor_config.class_names` is not a list of names")
    assert isinstance(names, list)
    if len({name.strip().lower() for name in names}) != len(names):
        raise refused(f"`{INFO}`: `executor_config.class_names` names a class twice")
    return tuple(names)


def _object_type(content: Mapping[str, Any], task: Mapping[str, Any]) -> int:
    """YMIR writes 0, or nothing, for a model of an older release: those find boxes."""
    found = content.get("object_type") or task.get("object_type") or 2
    if found not in _OBJECT_TYPES:
        raise refused(
            f"`{INFO}`: `object_type` {printable(repr(found))} is not one of the contract's"
        )
    return int(found)


def _producer(content: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """Who made it. Packages of YMIR 1.1 always are YMIR's."""
    producer = task.get("producer", "ymir" if "models" in content else None)
    if not isinstance(producer, str) or not producer:
        raise refused(f"`{INFO}`: `task_context.producer` does not say who made it")
    return printable(producer, limit=80)


def _stages_of(content: Mapping[str, Any], task: Mapping[str, Any]) -> object:
    if "stages" not in content and isinstance(content.get("models"), list):
        return {LEGACY_STAGE: {"files": content["models"], "mAP": task.get("mAP", 0.0)}}
    return content.get("stages")
