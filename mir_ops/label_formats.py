"""Labels as files: YMIR's `labels.yaml`, and the `labels.csv` of its first releases."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.taxonomy import normalise

LABELS_VERSION: Final = "2.0.0"
CSV_HEADER: Final = "# type_id, preserved, main type name, alias..."
_MAX_BYTES: Final = 16 * 2**20
_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f,\ud800-\udfff]")
_PLAIN: Final = re.compile(r"[a-z][a-z0-9_]*([ -][a-z0-9_]+)*")
_NO_NAMES: Final = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_NOTHING: Final[tuple[object, ...]] = ("", "~", "null", [])
_TAGS: Final = (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "int")))
_DEEPEST: Final = 8
_ID: Final = re.compile(r"[-+]?\d{1,9}")
_TIME: Final = re.compile(r"\d+(\.\d+)?|\d{4}-\d\d-\d\d([ T][0-9:.+]+)?Z?")


if TYPE_CHECKING:
    import yaml

_Node: TypeAlias = "str | list[_Node] | dict[str, _Node]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One entry of a label file; its place there is its number.

    Names are normalised. The times are as they stand in the file. `class_id` is the store's, once
    it gave one; files do not hold it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    create_time: str | None = None
    update_time: str | None = None
    class_id: int | None = None

    def says_the_same(self, other: Label) -> bool:
        """Whether both have the same name and aliases."""
        return (self.name, self.aliases) == (other.name, other.aliases)


def read_labels(path: Path) -> list[Label]:
    """Read and check a `labels.yaml`, or a file whose name ends in `.csv`."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            _refuse(path, f"it is larger than {_MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(
            f"No label file `{path}`", code="no-label-file", hint="Create one with `mir init`"
        ) from None
    except UnicodeDecodeError:
        _refuse(path, "it is not UTF-8")
    except OSError as error:
        _refuse(path, error.strerror or str(error))
    labels = _from_csv(path, text) if path.suffix.lower() == ".csv" else _from_yaml(path, text)
    check_labels(labels, str(path))
    return labels


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write a label file, whole or not at all; a link stays one, and what it names is written."""
    text = to_csv(labels) if path.suffix.lower() == ".csv" else to_yaml(labels)
    replace_text(path, text)


def check_labels(labels: Sequence[Label], place: str) -> None:
    """Names and aliases can name a class, and each is used once."""
    used: dict[str, int] = {}
    for index, label in enumerate(labels):
        for name in (label.name, *label.aliases):
            if not name or _UNUSABLE.search(name):
                _refuse(
                    place,
                    f"`{name[:80]}` of entry {index} cannot name a class",
                    "Use names without commas and control characters",
                )
            if name in used:
                _refuse(
                    place,
                    f"`{name}` is used twice, by the entries {used[name]} and {index}",
                    "Names and aliases must be unique, without regard to case",
                )
            used[name] = index


def to_yaml(labels: Sequence[Label]) -> str:
    """The text of a `labels.yaml`."""
    lines = ["labels:" if labels else "labels: []"]
    for index, label in enumerate(labels):
        lines += [f"- id: {index}", f"  name: {_scalar(label.name)}"]
        if label.aliases:
            lines += ["  aliases:", *(f"  - {_scalar(alias)}" for alias in label.aliases)]
        for key, time in (("create_time", label.create_time), ("update_time", label.update_time)):
            lines += [f"  {key}: {time}"] if time else []
    return "\n".join([*lines, f"ymir_version: {LABELS_VERSION}"]) + "\n"


def to_csv(labels: Sequence[Label]) -> str:
    """The text of a `labels.csv`."""
    written = io.StringIO()
    written.write(CSV_HEADER + "\n")
    rows = ([index, "", label.name, *label.aliases] for index, label in enumerate(labels))
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue()


def now() -> str:
    """The time, as a label file has it."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def replace_text(path: Path, text: str) -> None:
    """Put a whole new text in place of the file behind `path`, with the mode of the old one."""
    target = path.resolve()
    temporary = None
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise StoreError(
            f"Cannot write `{target}`: {error.strerror}",
            code="unwritable-file",
            hint="Check that its folder is there and may be written",
        ) from None
    finally:
        if temporary is not None:
            os.unlink(temporary)


def _from_yaml(path: Path, text: str) -> list[Label]:
    import yaml

    try:
        content = _composed(text)
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        mark = getattr(error, "problem_mark", None)
        _refuse(path, f"it is not YAML: {reason}" + (f", line {mark.line + 1}" if mark else ""))
    entries = content.get("labels", []) if isinstance(content, dict) else content
    if entries in _NOTHING:
        return []
    if not isinstance(entries, list):
        _refuse(path, "`labels` must be a list of entries with `id` and `name`")
    return [_entry(path, index, entry) for index, entry in enumerate(entries)]


def _composed(text: str) -> _Node:
    """Lists, mappings and scalars as their text, from the parser's events.

    Not `yaml.safe_load`: its fast loader crashes on deep nesting, and references to earlier parts,
    which no label file needs, can grow without bound.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C, where it was built
    open_: list[list[_Node]] = [[]]
    for event in yaml.parse(text, Loader=loader):
        _check_event(event, len(open_))
        if isinstance(event, yaml.ScalarEvent):
            open_[-1].append(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append([])
        elif isinstance(event, yaml.CollectionEndEvent):
            parts = open_.pop()
            mapped = dict(zip(map(str, parts[::2]), parts[1::2], strict=False))
            open_[-1].append(mapped if isinstance(event, yaml.MappingEndEvent) else parts)
    return open_[0][0] if open_[0] else ""


def _check_event(event: yaml.Event, depth: int) -> None:
    import yaml

    if isinstance(event, yaml.AliasEvent):
        problem = "a reference"
    elif getattr(event, "tag", None) not in _TAGS:
        problem = "a tag"
    elif depth > _DEEPEST:
        problem = "too deep"
    else:
        return
    line = event.start_mark.line + 1 if event.start_mark else 1
    raise yaml.YAMLError(f"{problem} in line {line}")


def _entry(path: Path, index: int, entry: _Node) -> Label:
    if not isinstance(entry, dict):
        _refuse(path, "`labels` must be a list of entries with `id` and `name`")
    id_, name, aliases = entry.get("id", ""), entry.get("name", ""), entry.get("aliases", [])
    if id_ != "" and not (isinstance(id_, str) and _ID.fullmatch(id_)):
        _refuse(path, f"entry {index} has the id `{str(id_)[:80]}`, expected {index}")
    if id_ and int(id_) >= 0 and int(id_) != index:
        _refuse(path, f"entry {index} has the id {id_}, expected {index}")
    if not isinstance(name, str) or not name:
        _refuse(path, f"entry {index} has no `name`")
    known = [] if aliases in _NOTHING else aliases
    if not isinstance(known, list) or not all(isinstance(alias, str) for alias in known):
        _refuse(path, f"`aliases` of entry {index} must be a list of names")
    return Label(
        name=normalise(name),
        aliases=tuple(normalise(str(alias)) for alias in known),
        create_time=_time(entry.get("create_time")),
        update_time=_time(entry.get("update_time")),
    )


def _time(value: _Node | None) -> str | None:
    return value if isinstance(value, str) and _TIME.fullmatch(value) else None


def _from_csv(path: Path, text: str) -> list[Label]:
    labels: list[Label] = []
    try:
        reader = csv.reader(io.StringIO(text), strict=True)
        for row in reader:
            if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
                continue
            if len(row) < 3 or row[0].strip() != str(len(labels)):
                found = f"line {reader.line_num} is `{','.join(row)[:80]}`"
                _refuse(
                    path,
                    f"{found}, expected `{len(labels)},,name,alias...`",
                    "It is a list of classes, numbered from 0; move another file of this name away",
                )
            name, *aliases = (normalise(cell) for cell in row[2:])
            labels.append(Label(name=name, aliases=tuple(filter(None, aliases))))
    except csv.Error as error:
        _refuse(path, f"line {reader.line_num}: {error}")
    return labels


def _scalar(text: str) -> str:
    """A name as YAML reads it back as the same text."""
    if _PLAIN.fullmatch(text) and text not in _NO_NAMES:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char.isprintable():
        return json.dumps(char, ensure_ascii=False)[1:-1]
    return f"\\U{ord(char):08x}"


def _refuse(
    place: Path | str,
    reason: str,
    hint: str = "Each entry needs `id` (its position, from 0) and `name`; `aliases` is a list",
) -> NoReturn:
    raise InvalidInputError(
        f"Cannot use the label file `{place}`: {reason}", code="bad-label-file", hint=hint
    )
