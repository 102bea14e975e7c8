"""Datasets of a project, changed: renamed, described, deleted, restored, tagged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mir_ops.console.sources import Sources
from mir_ops.console.versions.making import own_branch
from mir_ops.dataset.keywords import describe, parse_keywords
from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.store import Branch, Commit, Store, Version

_TID: Final = re.compile(r"(?!V\d+$)[\w.-]{1,100}")


def change(
    sources: Sources, store: Store, project: str, name: str, sent: Mapping[str, Any]
) -> Commit:
    """Give it another name, or its newest version other words."""
    from mir_ops.store import operation_id

    branch = _living(sources, store, project, name)
    if "name" in sent:
        _only(sent, {"name"})
        to = own_branch(sources, project, _text(sent, "name"))
        _refuse_training(sources, branch.name)
        return branch.tip() if to == branch.name else branch.rename(to)
    _only(sent, {"message", "keywords"})
    tip = branch.tip()
    message = _text(sent, "message") if "message" in sent else tip.message
    words = sent.get("keywords", list(tip.keywords))
    given = words if isinstance(words, list) else [words or ""]
    keywords = parse_keywords(str(word) for word in given)
    inputs = {"tip": tip.id, "message": message, "keywords": keywords}
    op_id = operation_id(f"console/describe/{branch.name}", inputs)
    return describe(store, branch.name, message, op_id=op_id, keywords=keywords)


def name_after(sources: Sources, project: str, name: str, sent: Mapping[str, Any]) -> str:
    """What the dataset is called after a change."""
    return own_branch(sources, project, str(sent["name"])) if "name" in sent else name


def delete(sources: Sources, project: str, name: str) -> None:
    """Leave a tombstone, unless rounds need the dataset."""
    branch = _living(sources, sources.store, project, name)
    _refuse_training(sources, branch.name)
    branch.delete()


def restore(sources: Sources, store: Store, project: str, name: str) -> Commit:
    """Undo a deletion."""
    if name not in [each.name for each in sources.past(project).deleted]:
        _living(sources, store, project, name)  # what lives says so; others are unknown
    return store.branch(name).restore()


def tag(sources: Sources, project: str, version: Version, sent: Mapping[str, Any]) -> str:
    """Give a version of a dataset the fixed name `dataset@tid`."""
    _only(sent, {"name"})
    tid = _text(sent, "name")
    names = sources.past(project).names.get(version.id, ())
    if not _TID.fullmatch(tid) or not names:
        raise InvalidInputError(
            f"`{tid[:100]}` cannot be a tag" if names else "Only a dataset's version has tags",
            code="bad-tag",
            hint="Use letters, digits, `.`, `_` and `-`; V1, V2 … name versions already",
        )
    name = f"{names[0].branch}@{tid}"
    sources.store.create_tag(name, version.id)
    return name


def _living(sources: Sources, store: Store, project: str, name: str) -> Branch:
    if name not in [each.name for each in sources.past(project).datasets]:
        raise NotFoundError(
            f"No dataset `{name[:200]}` in project `{project}`",
            code="no-such-branch",
            hint="The page of the project's versions lists its datasets",
        )
    return store.branch(name)


def _refuse_training(sources: Sources, name: str) -> None:
    from mir_ops.rounds.beginning import refuse_training

    if sources.catalog is not None:
        refuse_training(sources.catalog, name)


def _only(sent: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(sent.keys() - known):
        raise InvalidInputError(
            f"There is no field `{unknown[0][:60]}` here",
            code="unknown-field",
            hint=f"Fields are {', '.join(sorted(known))}",
        )


def _text(sent: Mapping[str, Any], name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"`{name}` is no text", code="bad-field", hint="Send a text")
    return value.strip()
