"""Stages of a model as somebody else wrote them down: names, files and metrics, all checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from mir_ops.errors import MirError
from mir_ops.executor.files import printable
from mir_ops.executor.packages import StageFile, open_stage_file

METRICS: Final = ("mAP", "mAR", "mIoU", "mAcc", "maskAP", "boxAP")
LEGACY_STAGE: Final = "default_best_stage"

_MAIN_METRICS: Final = {3: "mIoU", 4: "maskAP"}  # by object type; mAP for all others
_COUNTS: Final = ("tp", "fp", "fn")
_STAGE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_FILE_PART: Final = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
_FILES_PER_STAGE: Final = 1000
_STAGES: Final = 100
_RESERVED: Final = ("attachments", "results")  # folders of a package beside its stages
_VERSIONS: Final = 50

Refuse = Callable[[str], MirError]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """A named checkpoint: its files and what the executor measured for it."""

    name: str
    files: tuple[StageFile, ...]
    timestamp: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StageReader:
    """Reads what `result.yaml` or `ymir-info.yaml` says; files lie in `models`, below `root`."""

    root: Path
    models: Path
    refuse: Refuse

    def read_mapping(self, raw: bytes) -> dict[str, Any]:
        """YAML of strangers, as a mapping."""
        try:
            content = _Loader(raw).get_single_data()
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            where = getattr(error, "problem_mark", None)
            line = f", line {where.line + 1}" if where is not None else ""
            reason = getattr(error, "problem", None) or type(error).__name__
            raise self.refuse(f"is not YAML{line}: {printable(str(reason))}") from None
        if not isinstance(content, dict):
            raise self.refuse("is not a mapping")
        return content

    def read_stages(self, stages: object) -> tuple[StageResult, ...]:
        """The stages of a mapping from name to fields."""
        if not isinstance(stages, dict) or not stages:
            raise self.refuse("names no stage in `model_stages`")
        if len(stages) > _STAGES:
            raise self.refuse(f"names {len(stages)} stages, the bound is {_STAGES}")
        return tuple(self._read_stage(name, fields) for name, fields in stages.items())

    def choose_best(
        self, named: object, stages: Sequence[StageResult], object_type: int
    ) -> StageResult:
        """The stage that is named, or of the unnamed the one with the best metric, the latest."""
        if named is None:
            main = main_metric(object_type)
            return max(stages, key=lambda stage: (stage.metrics.get(main, -1.0), stage.timestamp))
        best = next((stage for stage in stages if stage.name == named), None)
        if best is None:
            raise self.refuse(f"`best_stage_name` is {show(named)}, which is not a stage")
        return best

    def read_metric(self, fields: Mapping[str, Any], name: str, where: str = "") -> float | None:
        """A number from 0 to 1, or None where there is none."""
        value = fields.get(name)
        if value is None:
            return None
        if not _is_number(value) or not 0.0 <= value <= 1.0:
            raise self.refuse(f"{where}`{name}` is {show(value)}, not a number from 0 to 1")
        return float(value)

    def read_attachments(self, sections: object) -> dict[str, tuple[StageFile, ...]]:
        """Files below `attachments/<section>`, by section."""
        if not sections:
            return {}
        if not isinstance(sections, dict) or len(sections) > _STAGES:
            raise self.refuse("`attachments` is not a mapping from section to files")
        return {
            self._check_section(name): self._attached(name, sections[name]) for name in sections
        }

    def read_versions(self, versions: object) -> dict[str, str]:
        """What the executor says of the versions it ran with: a few short texts."""
        if not isinstance(versions, dict):
            return {}
        found = list(versions.items())[:_VERSIONS]
        return {printable(str(k), limit=80): printable(str(v), limit=200) for k, v in found}

    def _read_stage(self, name: object, fields: object) -> StageResult:
        if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name) or name in _RESERVED:
            raise self.refuse(f"stage name {show(name)} is not an identifier")
        if not isinstance(fields, dict):
            raise self.refuse(f"stage `{name}` is not a mapping")
        if fields.get("stage_name", name) != name:
            raise self.refuse(f"stage `{name}` calls itself {show(fields['stage_name'])}")
        metrics = {
            metric: value
            for metric in METRICS
            if (value := self.read_metric(fields, metric, f"stage `{name}`: ")) is not None
        }
        if not metrics:
            raise self.refuse(f"stage `{name}` has no metric: one of {', '.join(METRICS)}")
        counts = {
            count: value
            for count in _COUNTS
            if (value := self._read_count(fields, count, name)) is not None
        }
        timestamp = fields.get("timestamp", 0)
        return StageResult(
            name=name,
            files=self._read_files(f"stage `{name}`", fields.get("files"), name),
            timestamp=int(timestamp) if _is_number(timestamp) else 0,
            metrics={**metrics, **counts},
        )

    def _read_files(self, who: str, files: object, folder: str) -> tuple[StageFile, ...]:
        if not isinstance(files, list) or not files:
            raise self.refuse(f"{who} names no files")
        if len(files) > _FILES_PER_STAGE:
            raise self.refuse(f"{who} names {len(files)} files")
        names = [self._check_file_name(who, file) for file in files]
        if len(set(names)) != len(names):
            raise self.refuse(f"{who} names a file twice")
        return tuple(self._find_file(who, folder, file) for file in sorted(names))

    def _check_file_name(self, who: str, file: object) -> str:
        if not isinstance(file, str) or not file:
            raise self.refuse(f"{who}: {show(file)} is not a file name")
        path = PurePosixPath(file)
        safe = all(part != ".." and _FILE_PART.fullmatch(part) for part in path.parts)
        if path.is_absolute() or not path.parts or not safe:
            raise self.refuse(f"{who}: file {show(file)} leaves `/out/models`")
        return str(path)

    def _find_file(self, who: str, folder: str, file: str) -> StageFile:
        for path in (self.models / folder / file, self.models / file):
            if path.is_symlink() or path.exists():
                return open_stage_file(path, name=file, root=self.root)
        raise self.refuse(f"{who}: file `{printable(file)}` does not exist")

    def _check_section(self, name: object) -> str:
        if not isinstance(name, str) or not _FILE_PART.fullmatch(name) or name in (".", ".."):
            raise self.refuse(f"attachment section {show(name)} is not a folder's name")
        return name

    def _attached(self, section: str, files: object) -> tuple[StageFile, ...]:
        named = (
            [str(file) for file in files] if isinstance(files, list) else files
        )  # `01` is a number
        return self._read_files(f"attachments `{section}`", named, f"attachments/{section}")

    def _read_count(self, fields: Mapping[str, Any], name: str, stage: str) -> float | None:
        value = fields.get(name, fields.get(name.upper()))
        if value is None:
            return None
        if not _is_number(value) or value < 0:
            raise self.refuse(f"stage `{stage}`: `{name}` is {show(value)}, not a count")
        return float(value)


class _Loader(yaml.SafeLoader):
    """Without merge keys: they can grow without bound from a few lines."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "merge keys are not allowed", key.start_mark
                )


def main_metric(object_type: int) -> str:
    """What models that find this kind of object are compared by."""
    return _MAIN_METRICS.get(object_type, "mAP")


def evaluate_config(given: object) -> dict[str, float]:
    """The thresholds that the metrics were measured with, as far as they are numbers."""
    if not isinstance(given, dict):
        return {}
    return {key: float(given[key]) for key in ("iou_thr", "conf_thr") if _is_number(given.get(key))}


def show(value: object) -> str:
    """A stranger's value inside a message."""
    return f"`{printable(repr(value), limit=80)}`"


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e18
        and math.isfinite(value)
    )
