"""The label files of a working folder: the classes that people declare there."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mir_ops.errors import ConflictError, NotFoundError, StoreError
from mir_ops.label_formats import (
    Label,
    check_labels,
    now,
    read_labels,
    replace_text,
    write_labels,
)
from mir_ops.taxonomy import ClassName, Taxonomy, normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFiles:
    """Two views of the same classes: `labels.yaml`, and the older `labels.csv` where there is one.

    Whichever file was edited is believed, and the other one is written anew. `memory` keeps what
    was read last: it tells a class that was renamed by hand from a new one.
    """

    yaml: Path
    csv: Path | None = None
    memory: Path | None = None

    def read(self) -> list[Label] | None:
        """What the files declare, checked; None without a file."""
        digests = self._digests()
        if not digests:
            return None
        known, before = self._remembered()
        if before is not None and digests == known:
            return before
        said = {
            path: read_labels(path) if digests[path.name] != known.get(path.name) else before or []
            for path in self._paths()
        }
        labels = _recognised(_agreed(said, before or []), before or [])
        stale = [path for path, theirs in said.items() if not _all_same(theirs, labels)]
        with suppress(StoreError):  # a folder that cannot be written now is written another time
            self._write(labels, stale if self.yaml in said else [*stale, self.yaml])
        return labels

    def declare(self, names: Iterable[str]) -> list[str]:
        """Append the names that the files do not know yet, and return them."""
        with self._locked():
            labels = self.read() or []
            known = {name for label in labels for name in (label.name, *label.aliases)}
            fresh = [n for n in dict.fromkeys(map(normalise, names)) if n not in known]
            if fresh:
                self.save([*labels, *(_new(name) for name in fresh)])
        return fresh

    def upsert(self, wanted: Sequence[Label], *, check_only: bool = False) -> list[Label]:
        """Add classes, or replace the aliases of known ones: all of them, or on a conflict none.

        A conflict is a name or an alias that another class has. Returns what is new or changes.
        """
        with self._locked():
            labels = {label.name: label for label in self.read() or []}
            before = dict(labels)
            for label in wanted:
                known = labels.get(label.name, _new(label.name))
                if known.aliases != label.aliases:
                    known = replace(known, aliases=label.aliases, update_time=now())
                labels[label.name] = known
            changed = [label for name, label in labels.items() if before.get(name) != label]
            check_labels(list(labels.values()), str(self.yaml))
            if changed and not check_only:
                self.save(list(labels.values()))
        return changed

    def rename(self, old: str, new: str) -> Label:
        """Give a class another name; the old one stays as an alias."""
        with self._locked():
            labels = self.read() or []
            found = find_label(labels, old)
            name = normalise(new)
            aliases = dict.fromkeys((*found.aliases, found.name))
            kept = tuple(alias for alias in aliases if alias != name)
            renamed = replace(found, name=name, aliases=kept, update_time=now())
            self.save([renamed if label is found else label for label in labels])
        return renamed

    def save(self, labels: Sequence[Label]) -> None:
        """Write these classes to `labels.yaml`, and to `labels.csv` where there is one."""
        check_labels(labels, str(self.yaml))
        self._write(labels, dict.fromkeys((self.yaml, *self._paths())))

    def remember_ids(self, ids: Mapping[str, int]) -> None:
        """Keep the ids that the store gave, so that a class keeps its id when it is renamed."""
        digests, before = self._remembered()
        if before is not None:
            after = [replace(x, class_id=ids.get(x.name, x.class_id)) for x in before]
            if after != before:
                with suppress(StoreError):
                    self._remember(after, digests)

    def _paths(self) -> list[Path]:
        return [path for path in (self.yaml, self.csv) if path is not None and path.exists()]

    def _digests(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._paths()}

    def _write(self, labels: Sequence[Label], paths: Iterable[Path]) -> None:
        """First the files, then what they say: interrupted in between, they are read again."""
        for path in paths:
            write_labels(path, labels)
        self._remember(labels, self._digests())

    def _remembered(self) -> tuple[dict[str, str], list[Label] | None]:
        if self.memory is None:
            return {}, None
        try:
            kept = json.loads(self.memory.read_bytes())
            fields = ("name", "aliases", "create_time", "update_time", "class_id")
            entries = [dict(zip(fields, entry, strict=True)) for entry in kept["labels"]]
            labels = [Label(**entry | {"aliases": tuple(entry["aliases"])}) for entry in entries]
            return dict(kept["files"]), labels
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}, None  # the files themselves are read again

    def _remember(self, labels: Sequence[Label], digests: Mapping[str, str]) -> None:
        if self.memory is not None:
            entries = [
                (x.name, x.aliases, x.create_time, x.update_time, x.class_id) for x in labels
            ]
            text = json.dumps({"files": digests, "labels": entries}, ensure_ascii=False)
            replace_text(self.memory, text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file behind a link: a shared label file is often one."""
        path = f"{self.yaml.resolve()}.lock"
        try:
            lock = open(path, "ab")  # noqa: SIM115 - closed below
        except OSError as error:
            raise StoreError(
                f"Cannot write `{path}`: {error.strerror}",
                code="unwritable-file",
                hint="A label file needs a repository: make one with `mir init`",
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def find_label(labels: Sequence[Label], name: str) -> Label:
    """The class that is called so, or that has this alias."""
    wanted = normalise(name)
    for label in labels:
        if wanted == label.name or wanted in label.aliases:
            return label
    raise NotFoundError(
        f"No class is called `{name}`", code="no-such-class", hint="List them with `mir classes`"
    )


def taxonomy_of(labels: Sequence[Label], registry: Mapping[str, int]) -> Taxonomy:
    """The classes of a label file under their ids: remembered ones, or those of the store."""
    ids = [registry[x.name] if x.class_id is None else x.class_id for x in labels]
    entries = zip(ids, labels, strict=True)
    return Taxonomy(tuple(ClassName(id_, label.name, label.aliases) for id_, label in entries))


def _agreed(said: Mapping[Path, list[Label]], before: list[Label]) -> list[Label]:
    """What the edited file says; when two were edited they must say the same."""
    news = {path: labels for path, labels in said.items() if not _all_same(labels, before)}
    for path, labels in news.items():
        for other, theirs in news.items():
            if not _all_same(labels, theirs):
                raise ConflictError(
                    f"`{path}` and `{other}` were both edited, and differ",
                    code="labels-disagree",
                    hint="Make them say the same, or delete the one that is wrong",
                )
    return next(iter(news.values()), before)


def _recognised(labels: list[Label], before: Sequence[Label]) -> list[Label]:
    """With the ids and times of before; a class with a new name in its old place was renamed."""
    known = {label.name: label for label in before}
    names = {label.name for label in labels}
    found = []
    for place, label in enumerate(labels):
        old = known.get(label.name)
        if old is None and place < len(before) and before[place].name not in names:
            old = before[place]
        if old is not None:
            label = replace(
                label,
                class_id=old.class_id,
                create_time=label.create_time or old.create_time,
                update_time=label.update_time or old.update_time,
            )
        found.append(label)
    return found


def _all_same(one: Sequence[Label], other: Sequence[Label]) -> bool:
    return len(one) == len(other) and all(
        mine.says_the_same(theirs) for mine, theirs in zip(one, other, strict=True)
    )


def _new(name: str) -> Label:
    time = now()
    return Label(name=name, create_time=time, update_time=time)
