"""The file after `--task-config-file`: an image's template, changed by a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor.files import printable
from mir_ops.executor.jobs import STEMS, ExecutorImage, Kind

_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """The settings of one job, and the GPUs of this host that it may use."""

    config: Mapping[str, Any]
    class_names: tuple[str, ...] = ()  # none: all that the dataset knows
    gpu_count: int = 0
    gpu_ids: tuple[str, ...] = ()
    object_type: int | None = None
    flat: bool = False

    def check_template(self, image: ExecutorImage, kind: Kind, path: Path) -> None:
        """A flat file is the whole template: its keys may be changed, not removed."""
        removed = sorted(set(image.template(kind)) - set(self.config)) if self.flat else []
        empty = [key for key in image.template(kind) if self.config.get(key, "") is None]
        for keys, what in ((removed, "lacks keys"), (empty, "empties keys")):
            if keys:
                listed = ", ".join(f"`{key}`" for key in keys)
                raise InvalidInputError(
                    f"`{path}` {what} of the template of `{image.name}`: {listed}",
                    code="template-key-removed",
                    hint="Keys may be changed and added, not removed; write the file again with "
                    f"`mir executor templates {image.name} --type {STEMS[kind]}`",
                )


def read_task_file(path: Path) -> TaskFile:
    """A flat template, or YMIR's form: `executor_config` and `task_context`."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"No file `{path}`",
            code="no-such-file",
            hint="Write one with `mir executor templates IMAGE --type training`",
        ) from None
    content = _mapping(path, _parsed(path, raw), "the file")
    if "executor_config" not in content and "task_context" not in content:
        return _task_file(path, content, {}, flat=True)
    if "executor_config" not in content:
        raise _bad(path, "has no `executor_config`")
    context = _mapping(path, content.get("task_context") or {}, "`task_context`")
    config = _mapping(path, content["executor_config"] or {}, "`executor_config`")
    return _task_file(path, config, context, flat=False)


def write_template(image: ExecutorImage, kind: Kind) -> str:
    """The flat file of an image for one kind of job, ready to be changed."""
    settings = image.template(kind)
    head = f"# Settings of {image.name}. Values may be changed and keys added, not removed.\n"
    added: dict[str, Any] = {}
    if kind == "train":
        head += "# class_names: the classes to train, in the order that the model counts them;\n"
        head += "# none: all that the dataset knows.\n"
        added = {"class_names": []}
    ours = {"gpu_count": 0} if "gpu_count" not in settings else {}
    text = yaml.safe_dump({**added, **settings, **ours}, sort_keys=False, allow_unicode=True)
    return head + text


def _task_file(
    path: Path, config: Mapping[str, Any], context: Mapping[str, Any], *, flat: bool
) -> TaskFile:
    gpu_ids = tuple(
        part.strip() for part in str(context.get("available_gpu_id") or "").split(",") if part
    )
    object_type = config.get("object_type", context.get("object_type"))
    return TaskFile(
        config={key: value for key, value in config.items() if key != "class_names"},
        class_names=_class_names(path, config),
        gpu_count=_count(path, config.get("gpu_count")),
        gpu_ids=gpu_ids,
        object_type=None if object_type is None else _count(path, object_type),
        flat=flat,
    )


def _class_names(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("class_names", [])
    if isinstance(names, str):
        names = [name.strip() for name in names.split(";") if name.strip()]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad(
            path, f"`class_names` is {printable(repr(names), limit=80)}, not a list of names"
        )
    return tuple(names)


def _count(path: Path, value: object) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1024:
        raise _bad(path, f"{printable(repr(value), limit=40)} is not a count")
    return value


def _parsed(path: Path, raw: bytes) -> object:
    if len(raw) > _LIMIT:
        raise _bad(path, f"has more than {_LIMIT} bytes")
    try:
        return yaml.safe_load(raw) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(path, f"is not YAML: {' '.join(str(error).split())[:200]}") from None


def _mapping(path: Path, content: object, what: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _bad(path, f"{what} is not a mapping from names to values")
    return content


def _bad(path: Path, rule: str, hint: str | None = None) -> InvalidInputError:
    return InvalidInputError(
        f"`{path}`: {rule}",
        code="bad-task-config",
        hint=hint or "Write it anew with `mir executor templates IMAGE --type training`",
    )
