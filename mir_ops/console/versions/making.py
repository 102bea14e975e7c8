"""The form of a new version: what is asked, what it would give, how it is committed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.console.versions.recipes import (
    FIELDS,
    Recipe,
    commit_recipe,
    foretell_recipe,
    read_recipe,
)
from mir_ops.console.versions.views import class_counts, import_page, split_counts
from mir_ops.dataset.publishing import list_published
from mir_ops.dataset.revisions import Source
from mir_ops.errors import InvalidInputError, MirError, NotFoundError
from mir_ops.taxonomy import Taxonomy

if TYPE_CHECKING:
    from mir_ops.store import Commit, Stats, Store

_PUBLIC: Final = "public/"
_ROLE: Final = re.compile(r"[\w.-]+(/[\w.-]+)*")


def new_page(sources: Sources, project: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The form as it was filled in, and beside it the counts of what it would give."""
    given = {name: query[name] for name in FIELDS if query.get(name)}
    shown = {**import_page(sources, project), "given": given, "foretold": None, "problem": None}
    try:
        recipe = read_recipe(given)
        if recipe is None:
            return shown
        recipe = own_recipe(sources, project, recipe)
        stats = _stats(sources, recipe)
    except MirError as error:
        return shown | {"problem": error}
    truth = stats.layers.get("ground_truth")
    return shown | {
        "foretold": stats,
        "before": sources.store.read(recipe.sources[0].rev).stats,
        "recipe": recipe,
        "command": recipe.command(f"{project}/NAME"),
        "splits": split_counts(stats),
        "classes": class_counts(_taxonomy(sources, recipe), truth),
        "labelled": truth.assets if truth else 0,
        "boxes": truth.rows if truth else 0,
    }


def own_recipe(sources: Sources, project: str, recipe: Recipe) -> Recipe:
    """The recipe with versions that the project may read: its own, and published ones."""
    return replace(
        recipe,
        sources=tuple(
            Source(rev=_own(sources, project, each.rev), split=each.split)
            for each in recipe.sources
        ),
        exclude=tuple(_own(sources, project, rev) for rev in recipe.exclude),
    )


def own_branch(sources: Sources, project: str, name: str) -> str:
    """The full name of a dataset of the project, which may be given without the project's key.

    Of no project it is any name that no project has.
    """
    alone = project == NO_PROJECT
    role = name.strip() if alone else name.strip().removeprefix(f"{project}/")
    taken = alone and (not sources.every_version or project_of(sources, role) is not None)
    if taken or role.startswith(_PUBLIC) or not _ROLE.fullmatch(role) or len(role) > 200:
        raise InvalidInputError(
            f"`{name[:200]}` cannot be the name of a dataset here",
            code="bad-name",
            hint="Use letters, digits, `.`, `_`, `-` and `/`, such as `night/rain`",
        )
    return role if alone else f"{project}/{role}"


def project_of(sources: Sources, branch: str) -> str | None:
    """The key of the project that a branch is one of."""
    key, slash, _ = branch.partition("/")
    found = sources.catalog.projects.find(key, deleted=True) if sources.catalog and slash else None
    return found.key if found and found.key == key else None


def foretold(sources: Sources, project: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of what a recipe would make, as JSON has them."""
    recipe = _asked(sources, project, sent.get("recipe", sent))
    stats = _stats(sources, recipe)
    names = _taxonomy(sources, recipe)
    known = dict(zip(names.ids, names.names, strict=True))
    return {
        "operation": recipe.kind,
        "images": stats.assets,
        "splits": {split or "none": count for split, count in stats.splits.items()},
        "layers": {
            name: {
                "images": layer.assets,
                "rows": layer.rows,
                "classes": {
                    known.get(class_id, f"#{class_id}"): rows
                    for class_id, rows in layer.classes.items()
                },
            }
            for name, layer in stats.layers.items()
        },
        "command": recipe.command(f"{project}/NAME"),
    }


def make(
    sources: Sources, store: Store, project: str, sent: Mapping[str, Any]
) -> tuple[str, Commit]:
    """Commit a recipe to a dataset of the project; the branch, and what is its newest version."""
    if unknown := sorted(sent.keys() - {"recipe", "to", "message"}):
        raise InvalidInputError(
            f"There is no field `{unknown[0][:60]}` here",
            code="unknown-field",
            hint="Fields are recipe, to and message",
        )
    dataset, message = sent.get("to"), sent.get("message")
    if not isinstance(dataset, str) or not isinstance(message, str | None):
        raise InvalidInputError(
            "A version needs a dataset", code="bad-field", hint="Send the field `to`, a name"
        )
    recipe, branch = (
        _asked(sources, project, sent.get("recipe")),
        own_branch(sources, project, dataset),
    )
    key = project_of(sources, branch) if project == NO_PROJECT else project
    commit = commit_recipe(store, recipe, branch, message=message or None, project=key)
    return branch, commit


def _stats(sources: Sources, recipe: Recipe) -> Stats:
    """What the recipe would give; kept, as the versions that it takes never change."""
    taken = [(each.split, sources.store.resolve(each.rev).id) for each in recipe.sources]
    left_out = [sources.store.resolve(rev).id for rev in recipe.exclude]
    return sources.indexes.memory.get(
        ("foretold", *taken, *left_out, *sorted(recipe.given.items())),
        lambda: foretell_recipe(sources.store, recipe),
    )


def _taxonomy(sources: Sources, recipe: Recipe) -> Taxonomy:
    """The classes of all versions that are merged, by the names of the first that knows them."""
    found = [sources.store.read(each.rev).taxonomy for each in recipe.sources]
    return functools.reduce(Taxonomy.joined, found)


def _asked(sources: Sources, project: str, given: object) -> Recipe:
    recipe = read_recipe(given) if isinstance(given, Mapping) else None
    if recipe is None:
        raise InvalidInputError(
            "No version to start from is named",
            code="no-sources",
            hint="Send `recipe` with `sources`, such as `tr:training;va:checked`",
        )
    return own_recipe(sources, project, recipe)


def _own(sources: Sources, project: str, rev: str) -> str:
    """A revision that the project may read, in full: its key may be left out."""
    if rev.startswith(_PUBLIC) and rev.removeprefix(_PUBLIC) in list_published(sources.store):
        return rev
    for name in (rev, f"{project}/{rev}"):
        with suppress(NotFoundError):
            sources.revision(project, name)
            return name
    raise NotFoundError(
        f"No version `{rev[:200]}` in project `{project}`",
        code="no-such-version",
        hint="Name a dataset of the project, `dataset@V3`, a tag, or `public/NAME`",
    )
