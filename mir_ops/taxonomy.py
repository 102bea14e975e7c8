"""Classes of a dataset version: stable ids, names, aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mir_ops.errors import InvalidInputError, NotFoundError


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

    def joined(self, other: Taxonomy) -> Taxonomy:
        """Both taxonomies as one.

        A class that both know keeps its name here; the name and the aliases that it has there find
        it too, unless they mean another class.
        """
        known = {entry.id: entry for entry in self.classes}
        for entry in other.classes:
            if mine := known.get(entry.id):
                found = dict.fromkeys((*mine.aliases, entry.name, *entry.aliases))
                entry = replace(mine, aliases=tuple(name for name in found if name != mine.name))
            known[entry.id] = entry
        return _unambiguous(known.values())

    def over(self, other: Taxonomy) -> Taxonomy:
        """These classes as they are, and those of `other` that these lack."""
        known = set(self.ids)
        return _unambiguous((*self.classes, *(e for e in other.classes if e.id not in known)))


def _unambiguous(entries: Iterable[ClassName]) -> Taxonomy:
    """Without the aliases that name another class; of two equal aliases the first stays."""
    classes = list(entries)
    taken = {entry.name: entry.id for entry in classes}
    for entry in classes:
        for alias in entry.aliases:
            taken.setdefault(alias, entry.id)
    kept = (
        tuple(alias for alias in entry.aliases if taken[alias] == entry.id) for entry in classes
    )
    return Taxonomy(tuple(replace(e, aliases=a) for e, a in zip(classes, kept, strict=True)))


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
