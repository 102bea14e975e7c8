"""Classes of a dataset version: stable ids, names, aliases; the `labels.yaml` that people edit."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from mir_ops.errors import InvalidInputError, NotFoundError

LABELS_VERSION = "2.0.0"
_MAX_LABELS_BYTES = 16 * 2**20


def normalise(name: str) -> str:
    """Names of classes compare without case and without space around them."""
    return name.strip().lower()


@dataclass(frozen=True, slots=True)
class ClassName:
    """One class. Its id comes from the store's registry and is never given out again."""

    id: int
    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", normalise(self.name))
        object.__setattr__(self, "aliases", tuple(normalise(alias) for alias in self.aliases))


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The classes that a dataset version knows, ordered by id."""

    classes: tuple[ClassName, ...] = ()
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _names: dict[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.classes, key=lambda entry: entry.id))
        object.__setattr__(self, "classes", ordered)
        object.__setattr__(self, "_ids", _ids_by_name(ordered))
        object.__setattr__(self, "_names", _names_by_id(ordered))

    @classmethod
    def from_names(cls, registry: Mapping[str, int]) -> Taxonomy:
        return cls(tuple(ClassName(id_, name) for name, id_ in registry.items()))

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.classes]

    @property
    def ids(self) -> list[int]:
        return [entry.id for entry in self.classes]

    def id_of(self, name: str) -> int | None:
        return self._ids.get(normalise(name))

    def name_of(self, class_id: int) -> str:
        try:
            return self._names[class_id]
        except KeyError:
            raise NotFoundError(
                f"No class has the id {class_id}",
                code="no-such-class",
                hint="List the classes with `mir show`",
            ) from None

    def with_ids(self, registry: Mapping[str, int]) -> Taxonomy:
        """The same names and aliases under the ids of `registry`, which must hold every name."""
        return Taxonomy(tuple(replace(entry, id=registry[entry.name]) for entry in self.classes))

    def joined(self, other: Taxonomy) -> Taxonomy:
        """Both taxonomies as one; aliases of a class that both know are united."""
        known = {entry.id: entry for entry in self.classes}
        for entry in other.classes:
            mine = known.get(entry.id)
            if mine is not None and mine.name == entry.name:
                aliases = dict.fromkeys((*mine.aliases, *entry.aliases))
                known[entry.id] = replace(mine, aliases=tuple(aliases))
            elif mine is None:
                known[entry.id] = entry
            else:
                raise InvalidInputError(
                    f"Class id {entry.id} is `{mine.name}` here and `{entry.name}` there",
                    code="class-id-conflict",
                    hint="Both must come from the same store",
                )
        return Taxonomy(tuple(known.values()))


def read_labels(path: Path) -> Taxonomy:
    """Read a `labels.yaml`. Ids are the positions in the file, as YMIR has them."""
    entries = _load_entries(path)
    return Taxonomy(tuple(_class_of(path, index, entry) for index, entry in enumerate(entries)))


def write_labels(path: Path, taxonomy: Taxonomy) -> None:
    """Write a `labels.yaml` with these names and aliases, numbered from 0."""
    with _locked(path) as target:
        _save_entries(target, [_entry(i, c) for i, c in enumerate(taxonomy.classes)])


def add_labels(path: Path, names: Sequence[str]) -> list[str]:
    """Append the names that the file does not know yet, and return them."""
    with _locked(path) as target:
        known = read_labels(target)
        fresh = [n for n in dict.fromkeys(map(normalise, names)) if known.id_of(n) is None]
        if fresh:
            entries = _load_entries(target)
            start = len(entries)
            added = [_entry(start + i, ClassName(start + i, name)) for i, name in enumerate(fresh)]
            _save_entries(target, [*entries, *added])
    return fresh


def _ids_by_name(classes: Iterable[ClassName]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for entry in classes:
        for name in (entry.name, *entry.aliases):
            if not name:
                raise InvalidInputError(
                    f"Class {entry.id} has an empty name or alias",
                    code="class-name-empty",
                    hint="Give every class a name",
                )
            if name in ids:
                raise InvalidInputError(
                    f"The class name `{name}` is used twice",
                    code="class-name-twice",
                    hint="Names and aliases must be unique, each counted once",
                )
            ids[name] = entry.id
    return ids


def _names_by_id(classes: Iterable[ClassName]) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in classes:
        if entry.id in names:
            raise InvalidInputError(
                f"The class id {entry.id} is used by `{names[entry.id]}` and `{entry.name}`",
                code="class-id-twice",
                hint="Every class needs an id of its own",
            )
        names[entry.id] = entry.name
    return names


def _load_entries(path: Path) -> list[dict[str, object]]:
    import yaml

    try:
        if path.stat().st_size > _MAX_LABELS_BYTES:
            raise _bad_labels(path, f"it is larger than {_MAX_LABELS_BYTES >> 20} MiB")
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(
            f"No label file `{path}`", code="no-label-file", hint="Create one with `mir init`"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _bad_labels(path, f"it is not YAML: {reason}") from None
    labels = content.get("labels") if isinstance(content, dict) else content
    if labels is None:
        return []
    if not isinstance(labels, list) or not all(isinstance(entry, dict) for entry in labels):
        raise _bad_labels(path, "`labels` must be a list of entries with `id` and `name`")
    return labels


def _class_of(path: Path, index: int, entry: Mapping[str, object]) -> ClassName:
    id_, name, aliases = entry.get("id", -1), entry.get("name"), entry.get("aliases") or []
    if not isinstance(id_, int) or (id_ >= 0 and id_ != index):
        raise _bad_labels(path, f"entry {index} has the id {id_!r}, expected {index}")
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        raise _bad_labels(path, f"entry {index} has no `name`")
    if not isinstance(aliases, list):
        raise _bad_labels(path, f"`aliases` of entry {index} must be a list")
    return ClassName(index, str(name), tuple(str(alias) for alias in aliases))


def _bad_labels(path: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot use the label file `{path}`: {reason}",
        code="bad-label-file",
        hint="Each entry needs `id` (its position, from 0) and `name`; `aliases` is a list",
    )


def _entry(index: int, entry: ClassName) -> dict[str, object]:
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    written: dict[str, object] = {"id": index, "name": entry.name}
    if entry.aliases:
        written["aliases"] = list(entry.aliases)
    # Two objects: YAML would write the second time of one object as a reference to the first.
    return written | {"create_time": now, "update_time": now.replace()}


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold the lock of the file behind `path`: a shared label file is often a symbolic link."""
    target = path.resolve()
    with open(f"{target}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield target


def _save_entries(target: Path, entries: list[dict[str, object]]) -> None:
    import yaml

    body = {"labels": entries, "ymir_version": LABELS_VERSION}
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".labels-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
