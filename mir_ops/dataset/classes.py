"""A class of a branch, called otherwise: its id stays, and with it all that is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.taxonomy import ClassName, Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store

_LONGEST = 200
_MOST_ALIASES = 100


def change_class(
    store: Store, branch: str, class_id: int, *, name: str, aliases: Sequence[str], op_id: str
) -> Commit:
    """Commit the branch's newest version once more, with this name and these aliases of a class.

    The name that it had becomes an alias: files and settings that say it mean the same class.
    """
    from mir_ops.store import Operation

    if done := store.find_operation(branch, op_id):
        return done
    tip = store.branch(branch).tip()
    before = store.read(tip).taxonomy
    changed = renamed(before, class_id, name=name, aliases=aliases)
    check_free(store, changed, class_id)
    if changed == before:
        return tip
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="classes", inputs=(tip.id,)),
        message=f"Class `{before.name_of(class_id)}` is `{changed.name_of(class_id)}`",
        keywords=tip.keywords,
        project=tip.project,
        round=tip.round,
    ) as edit:
        edit.put_taxonomy(changed)
    return edit.commit


def renamed(taxonomy: Taxonomy, class_id: int, *, name: str, aliases: Sequence[str]) -> Taxonomy:
    """The taxonomy with this name of a class; an error for a name that another class has."""
    old = next((each for each in taxonomy.classes if each.id == class_id), None)
    if old is None:
        raise NotFoundError(f"No class has the id {class_id}", code="no-such-class")
    words = [check_name(word) for word in (name, *aliases)]
    kept = dict.fromkeys((*words[1:], *([old.name] if old.name != words[0] else [])))
    if len(kept) > _MOST_ALIASES:
        raise InvalidInputError(
            f"A class has {_MOST_ALIASES} aliases at most, not {len(kept)}", code="too-many-aliases"
        )
    new = replace(old, name=words[0], aliases=tuple(word for word in kept if word != words[0]))
    return Taxonomy(tuple(new if each.id == class_id else each for each in taxonomy.classes))


def check_name(word: str) -> str:
    """A name as it is compared; an error for what can be none."""
    name = normalise(word)
    if not name or len(name) > _LONGEST or not name.isprintable() or set(name) & set(",;"):
        raise InvalidInputError(
            f"`{name[:_LONGEST]}` cannot be the name of a class",
            code="bad-class-name",
            hint=f"Use 1 to {_LONGEST} printable characters, no comma or semicolon",
        )
    return name


def check_free(store: Store, taxonomy: Taxonomy, class_id: int) -> None:
    """A word that was given to another class of the store would mean two classes."""
    (mine,) = (each for each in taxonomy.classes if each.id == class_id)
    registered = store.classes()
    for word in _words(mine):
        if registered.get(word, class_id) != class_id:
            raise InvalidInputError(
                f"`{word}` is the name of another class in this store",
                code="class-name-twice",
                hint="Choose another name",
            )


def _words(entry: ClassName) -> tuple[str, ...]:
    return entry.name, *entry.aliases
