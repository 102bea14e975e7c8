"""Classes by the JSON API: seen, registered, and called otherwise in a project's datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from mir_ops.console.access import ProjectKey, may, needs
from mir_ops.console.classes.views import (
    ClassView,
    branches_with,
    get_class,
    list_classes,
    taxonomy_of,
)
from mir_ops.console.frame import Opened, OwnStore
from mir_ops.console.sources import Sources
from mir_ops.dataset.classes import change_class, check_free, check_name, renamed
from mir_ops.errors import ConflictError, NotFoundError
from mir_ops.label_formats import Label
from mir_ops.store import operation_id

api = APIRouter()

Word = Annotated[str, Field(max_length=200)]


class UseAnswer(BaseModel):
    """The class in the newest version of a branch; `boxes` are all objects of ground truth."""

    project: str
    branch: str
    commit: str
    name: str
    aliases: list[str]
    images: int
    boxes: int


class ClassAnswer(BaseModel):
    """A class. Its id never changes; each dataset has its name and aliases of it."""

    id: int
    name: str
    uses: list[UseAnswer]


class ClassList(BaseModel):
    classes: list[ClassAnswer]


class NewClass(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Word


class NewWords(BaseModel):
    """What the class is to be called, and what else finds it; its old name stays an alias."""

    model_config = ConfigDict(extra="forbid")

    name: Word
    aliases: Annotated[list[Word], Field(max_length=100)] = []


@api.get("/classes", dependencies=[needs("read")], name="list_classes")
def list_all(request: Request, sources: Opened) -> ClassList:
    """Every class ever registered, with its uses in datasets that you may read."""
    found = list_classes(sources, lambda project: may(request, "read", project))
    return ClassList(classes=[_answer(each) for each in found])


@api.post("/classes", status_code=201, dependencies=[needs("edit")])
def add_class(request: Request, sources: Opened, wanted: NewClass) -> ClassAnswer:
    """Give a class its id; one that exists keeps its own. Datasets take it when it occurs."""
    name = check_name(wanted.name)
    class_id = sources.store.register_classes([name])[name]
    if sources.label_files is not None:
        sources.label_files.declare([name])
    return _answer(get_class(sources, class_id, lambda project: may(request, "read", project)))


@api.patch("/projects/{project}/classes/{class_id}", dependencies=[needs("edit")])
def change_words(
    request: Request,
    sources: Opened,
    store: OwnStore,
    project: ProjectKey,
    class_id: int,
    wanted: NewWords,
) -> ClassAnswer:
    """Rename a class, or change its aliases, in every dataset of a project: a commit on each.

    All of them are checked first. Refused while a round of the project is open.
    """
    _refuse_open_round(sources, project)
    branches = branches_with(sources, project, class_id)
    if not branches:
        raise NotFoundError(
            f"No dataset of `{project}` has a class with the id {class_id}", code="no-such-class"
        )
    tips = {branch: sources.store.branch(branch).tip() for branch in branches}
    known = [taxonomy_of(sources.store, tip.id) for tip in tips.values()]
    for each in known:
        words = renamed(each, class_id, name=wanted.name, aliases=wanted.aliases)
        check_free(sources.store, words, class_id)
    _change_label_files(sources, known[0].name_of(class_id), wanted)
    for branch, tip in tips.items():
        asked = {"tip": tip.id, "class": class_id, **wanted.model_dump()}
        change_class(
            store,
            branch,
            class_id,
            name=wanted.name,
            aliases=wanted.aliases,
            op_id=operation_id(f"console/classes/{branch}", asked),
        )
    return _answer(get_class(sources, class_id, lambda project: may(request, "read", project)))


def _refuse_open_round(sources: Sources, project: str) -> None:
    found = sources.catalog.projects.find(project) if sources.catalog else None
    rounds = sources.catalog.rounds.list(found.name) if sources.catalog and found else []
    for each in rounds:
        if each.state == "open":
            raise ConflictError(
                f"Round {each.number} of `{each.project}` is open, and reads these datasets",
                code="round-open",
                hint="Change the class when the round is closed",
            )


def _change_label_files(sources: Sources, old: str, wanted: NewWords) -> None:
    """A label file says what the next commit records: it must not undo what is changed here."""
    files = sources.label_files
    labels = (files.read() or []) if files else []
    entry = next((each for each in labels if old in (each.name, *each.aliases)), None)
    if files is None or entry is None:
        return
    if sources.store.declared:
        sources.store.declared()  # so that the class has its id before it loses its name
    name = check_name(wanted.name)
    if entry.name != name:
        files.rename(entry.name, name)
    words = dict.fromkeys((*map(check_name, wanted.aliases), old))
    files.upsert([Label(name=name, aliases=tuple(word for word in words if word != name))])


def _answer(found: ClassView) -> ClassAnswer:
    return ClassAnswer(
        id=found.id,
        name=found.name,
        uses=[
            UseAnswer(
                project=use.project,
                branch=use.branch,
                commit=use.commit,
                name=use.name,
                aliases=list(use.aliases),
                images=use.images,
                boxes=use.boxes,
            )
            for use in found.uses
        ],
    )
