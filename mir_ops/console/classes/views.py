"""The classes of a store, and what the datasets that may be read call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.errors import NotFoundError
from mir_ops.store import Commit, Store
from mir_ops.taxonomy import Taxonomy

Readable = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassUse:
    """A class in the newest version of a branch. `boxes` are all objects of ground truth."""

    project: str
    branch: str
    commit: str
    name: str
    aliases: tuple[str, ...]
    images: int
    boxes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassView:
    """A class of the store. `name` is its newest one in a dataset, or what it was registered as."""

    id: int
    registered: str
    uses: tuple[ClassUse, ...] = ()

    @property
    def largest(self) -> ClassUse | None:
        return max(self.uses, key=lambda use: use.boxes, default=None)

    @property
    def name(self) -> str:
        return self.largest.name if self.largest else self.registered

    @property
    def words(self) -> list[str]:
        """What else finds it, somewhere."""
        found = dict.fromkeys(
            word for use in self.uses for word in (use.name, *use.aliases) if word != self.name
        )
        return list(found)

    @property
    def projects(self) -> list[str]:
        return list(dict.fromkeys(use.project for use in self.uses))

    @property
    def last_words(self) -> dict[str, ClassUse]:
        """By project, the use that its form starts from: that of its largest dataset."""
        found: dict[str, ClassUse] = {}
        for use in sorted(self.uses, key=lambda use: use.boxes):
            found[use.project] = use
        return found


def list_classes(sources: Sources, readable: Readable) -> list[ClassView]:
    """Every class ever registered, by name, with the uses that the caller may see."""
    found = {
        class_id: ClassView(id=class_id, registered=name)
        for name, class_id in sources.store.classes().items()
    }
    for class_id, use in _uses(sources, readable):
        known = found.get(class_id) or ClassView(id=class_id, registered=use.name)
        found[class_id] = replace(known, uses=(*known.uses, use))
    return sorted(found.values(), key=lambda each: (each.name, each.id))


def get_class(sources: Sources, class_id: int, readable: Readable) -> ClassView:
    for each in list_classes(sources, readable):
        if each.id == class_id:
            return each
    raise NotFoundError(f"No class has the id {class_id}", code="no-such-class")


def branches_with(sources: Sources, project: str, class_id: int) -> list[str]:
    """The branches of a project whose newest version knows the class."""
    return [
        branch
        for branch, tip in sources.tips(None if project == NO_PROJECT else project)
        if (tip.project or NO_PROJECT) == project
        and class_id in taxonomy_of(sources.store, tip.id).ids
    ]


@lru_cache(maxsize=2048)
def taxonomy_of(store: Store, commit_id: str) -> Taxonomy:
    return store.read(commit_id).taxonomy


def _uses(sources: Sources, readable: Readable) -> Iterator[tuple[int, ClassUse]]:
    may: dict[str, bool] = {}
    for branch, tip in sources.tips():
        project = tip.project or NO_PROJECT
        if project not in may:
            may[project] = sources.every_version if project == NO_PROJECT else readable(project)
        if may[project]:
            yield from _uses_in(sources.store, project, branch, tip)


def _uses_in(
    store: Store, project: str, branch: str, tip: Commit
) -> Iterator[tuple[int, ClassUse]]:
    truth = tip.stats.layers.get("ground_truth")
    for entry in taxonomy_of(store, tip.id).classes:
        yield (
            entry.id,
            ClassUse(
                project=project,
                branch=branch,
                commit=tip.id,
                name=entry.name,
                aliases=entry.aliases,
                images=truth.class_assets.get(entry.id, 0) if truth else 0,
                boxes=truth.classes.get(entry.id, 0) if truth else 0,
            ),
        )
