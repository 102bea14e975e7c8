"""YOLO: a text file for each image, a line for each object, places as shares of the image.

`class x y w h` is a box about its centre, `class x y x y x y ...` a polygon; a number more is the
confidence. The class is a number, which `data.yaml` or `classes.txt` explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

import yaml

from mir_ops.errors import InvalidInputError
from mir_ops.formats import FORMATS
from mir_ops.formats.parsed import Collected, ImageRow, ObjectRow, Parsed

MAX_BYTES: Final = 64 * 2**20
_BOX: Final = 5  # fields of a box; from 7 on it is a polygon
_MAX_NAMES_BYTES: Final = 4 * 2**20
_DEEPEST: Final = 50
_SPLITS: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # makes texts, lists, mappings


def is_class_file(name: str) -> bool:
    """Whether a file of this name explains class numbers."""
    return PurePosixPath(name).name.lower() in FORMATS["yolo"].companion_files


def parse_yolo(
    files: Iterable[tuple[str, bytes]], class_files: Iterable[tuple[str, bytes]]
) -> Parsed:
    """Parse label files (name, bytes) to columns, with the names that the class files give.

    Raises `InvalidInputError` where there are objects but nothing explains their classes.
    """
    names = _class_names(class_files)
    collected = Collected()
    for name, data in files:
        if len(data) > MAX_BYTES:
            collected.find("file-too-large", name)
            continue
        try:
            lines = data.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            collected.find("annotation-unreadable", f"{name}: {error}")
            continue
        image = len(collected.images)
        collected.images.append(ImageRow(source=name, split=_split_of(name)))
        _read_lines(collected, image, name, lines, names)
    classes = {str(number): name for number, name in enumerate(names or ())}
    return collected.parsed(relative=True, classes=classes)


def _read_lines(
    collected: Collected,
    image: int,
    name: str,
    lines: Sequence[str],
    names: Sequence[str] | None,
) -> None:
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        values = _numbers(fields)
        if values is None or len(fields) < _BOX:
            collected.find("object-malformed", f"{name}: line {number}")
            continue
        if names is None:
            raise _no_names(name)
        class_name = _name_of(values[0], names)
        if class_name is None:
            collected.find("category-unknown", f"{name}: line {number}: {fields[0][:20]}")
            continue
        collected.add_objects((_object_row(image, number, class_name, values[1:]),))


def _object_row(image: int, line: int, class_name: str, values: list[float]) -> ObjectRow:
    confidence = values.pop() if len(values) % 2 else None
    if confidence is not None and not 0 <= confidence < math.inf:
        confidence = None
    place = f"line {line}"
    if len(values) >= _BOX:
        return ObjectRow(
            image,
            place,
            class_name,
            "polygon",
            *(None, None, None, None),
            polygon=[values],
            confidence=confidence,
        )
    x, y, w, h = values
    return ObjectRow(
        image, place, class_name, "box", x - w / 2, y - h / 2, w, h, confidence=confidence
    )


def _split_of(name: str) -> str | None:
    """What the folders of a file say that its image is for: `labels/train/a.txt`."""
    folders = PurePosixPath(name.lower()).parts[:-1]
    return next((_SPLITS[folder] for folder in reversed(folders) if folder in _SPLITS), None)


def _numbers(fields: Sequence[str]) -> list[float] | None:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return None


def _name_of(value: float, names: Sequence[str]) -> str | None:
    known = value >= 0 and value < len(names) and value == int(value)
    return names[int(value)] or None if known else None


def _class_names(class_files: Iterable[tuple[str, bytes]]) -> list[str] | None:
    """Names by number; None when no file has them."""
    for name, data in class_files:
        is_yaml = PurePosixPath(name).suffix.lower() in (".yaml", ".yml")
        if len(data) > _MAX_NAMES_BYTES:
            raise _bad_names(name, f"it has more than {_MAX_NAMES_BYTES} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _bad_names(name, str(error)) from None
        names = _yaml_names(name, text) if is_yaml else _line_names(text)
        if names:
            return names
    return None


def _line_names(text: str) -> list[str]:
    return [line.strip() for line in text.rstrip().splitlines()]


def _yaml_names(name: str, text: str) -> list[str]:
    """The `names` of a `data.yaml`: a list, or a mapping from numbers. Every scalar is a text."""
    try:
        _check_depth(text)
        content = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise _bad_names(name, " ".join(str(error).split())[:200]) from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        known = {int(key): text for key, text in names.items() if str(key).isdecimal()}
        last = max(known, default=-1)
        if last > 10 * len(known) + 1000:
            raise _bad_names(name, f"a class has the number {last}")
        names = [known.get(number, "") for number in range(last + 1)]
    if not isinstance(names, list):
        return []
    return [each.strip() if isinstance(each, str) else "" for each in names]


def _check_depth(text: str) -> None:
    """The C loader recurses without a limit of its own."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError("it is nested too deep, or has aliases")


def _bad_names(name: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot read the class names in `{name}`: {reason}",
        code="bad-class-names",
        hint="Write `names:` with a list into `data.yaml`, or one name a line into `classes.txt`",
    )


def _no_names(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{name}` has objects, but no file says what their class numbers mean",
        code="no-class-names",
        hint="Add `data.yaml` with `names:`, or `classes.txt` with one name a line",
    )
