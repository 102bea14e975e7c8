"""Names of commits: branches, tags, numbers and the start of an id."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError
from mir_ops.store import keys, refs, wire
from mir_ops.store.commits import Commit, Operation
from mir_ops.store.objects import read_object, referred_by

if TYPE_CHECKING:
    from mir_ops.store.store import Store

_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
_NUMBERED: Final = re.compile(r"(?P<branch>.+)@V(?P<number>[1-9]\d{0,17})")


def resolve(store: Store, rev: str) -> Commit:
    """The commit that a revision names; the error of one that names none says close names."""
    if numbered := _NUMBERED.fullmatch(rev):
        return _numbered(store, numbered["branch"], int(numbered["number"]))
    keys_of_names = [keys.tag(rev)] if "@" in rev else [keys.head(rev), keys.tag(rev)]
    for key in keys_of_names if rev and len(rev) < 1000 else []:
        if commit := refs.read_ref(store.objects, key).commit:
            with referred_by(f"`{rev}`"):
                return store.commit(commit)
    if _PREFIX.fullmatch(rev) and (commit := _by_prefix(store, rev)):
        return store.commit(commit)
    raise _unknown(store, rev, "No branch, tag or commit is called")


def no_such_branch(store: Store, name: str) -> NotFoundError:
    """The error for a branch that does not exist."""
    return _unknown(store, name, "No branch is called")


def create_tag(store: Store, name: str, commit_id: str) -> None:
    """Create the tag unless it names this commit already; a tag never moves."""
    keys.check_tag_name(name)
    commit = store.resolve(commit_id) if len(commit_id) < 64 else store.commit(commit_id)
    key = keys.tag(name)
    ref = refs.read_ref(store.objects, key)
    if ref.seen is None:
        check_new_ref(store, keys.TAGS, name)
        op_id = f"tag-{secrets.token_hex(8)}"
        try:
            ref = refs.move_ref(
                store.objects,
                ref,
                commit.id,
                op_id,
                committed=lambda now: now.commit_of(op_id) is not None,
            )
        except refs.MovedError:
            ref = refs.read_ref(store.objects, key)
    if ref.commit != commit.id:
        raise ConflictError(
            f"Tag `{name}` names another commit: {(ref.commit or 'deleted')[:12]}",
            code="tag-exists",
            hint="A tag never moves and its name is never used again: choose another name",
        )


def delete_branch(store: Store, name: str) -> None:
    """Move the ref to a tombstone."""
    op_id = f"delete-{secrets.token_hex(8)}"
    ref = refs.read_ref(store.objects, keys.head(name))
    if ref.commit is None:
        raise no_such_branch(store, name)
    refs.record_deletion(store.objects, ref, op_id)
    try:
        refs.move_ref(store.objects, ref, None, op_id, committed=lambda now: now.commit is None)
    except refs.MovedError:
        raise ConflictError(
            f"Branch `{name}` moved while it was deleted",
            code="branch-moved",
            hint="Look at the new version, then delete the branch again",
        ) from None


def restore_branch(store: Store, name: str) -> Commit:
    """Commit the version that a deleted branch had, with its history, as the branch's newest."""
    ref = refs.read_ref(store.objects, keys.head(name))
    if ref.seen is None:
        raise no_such_branch(store, name)
    if ref.commit is not None:
        raise ConflictError(
            f"Branch `{name}` is not deleted",
            code="branch-exists",
            hint=f"Look at its versions with `mir log {name}`",
        )
    commit_id = refs.find_deleted(store.objects, ref)
    if commit_id is None:
        raise NotFoundError(
            f"Nothing says what branch `{name}` was when it was deleted", code="no-such-version"
        )
    with store.edit(
        name,
        op_id=f"restore-{ref.seq}-{commit_id}",
        operation=Operation(
            kind="restore",
            parameters={"moves": ref.seq - ref.first_seq},
            inputs=(commit_id,),
        ),
        message="Restore the deleted branch",
        base=store.commit(commit_id),
        project=store.commit(commit_id).project,
    ) as edit:
        pass
    return edit.commit


def rename_branch(store: Store, name: str, new: str) -> Commit:
    """Go on under another name: a branch that begins where this one ends, which is then deleted.

    Done again after it broke off in between, it finishes. What the old name was stays restorable.
    """
    keys.check_branch_name(new)
    ref = refs.read_ref(store.objects, keys.head(name))
    moved = ref if ref.commit is not None else None
    last = ref.commit or (refs.find_deleted(store.objects, ref) if ref.seen else None)
    op_id = f"rename-{ref.seq - (moved is None)}-{last}"
    there = refs.read_ref(store.objects, keys.head(new))
    if last is None or (moved is None and there.commit_of(op_id) is None):
        raise no_such_branch(store, name)
    if there.commit is not None and there.commit_of(op_id) is None:
        raise ConflictError(
            f"Branch `{new}` exists already", code="branch-exists", hint="Choose another name"
        )
    tip = store.commit(last)
    with store.edit(
        new,
        op_id=op_id,
        operation=Operation(kind="rename", parameters={"from": name}, inputs=(last,)),
        message=tip.message,
        base=tip,
        project=tip.project,
        round=tip.round,
        keywords=tip.keywords,
    ) as edit:
        pass
    if moved is not None:
        delete_branch(store, name)
    return edit.commit


def check_new_ref(store: Store, prefix: str, name: str) -> None:
    """A name that differs from another one's only in case would be the same file elsewhere."""
    wanted = name.lower()
    for key in store.objects.list(prefix):
        other = keys.decode(key.removeprefix(prefix))
        if other != name and other.lower() == wanted:
            raise InvalidInputError(
                f"`{name}` differs from `{other}` only in upper and lower case",
                code="name-collision",
                hint=f"Use `{other}`, or another name",
            )


def _numbered(store: Store, branch: str, number: int) -> Commit:
    ref = refs.read_ref(store.objects, keys.head(branch))
    if ref.commit is None:
        raise no_such_branch(store, branch)
    if not ref.first_seq <= number <= ref.seq:
        raise NotFoundError(
            f"Branch `{branch}` has versions V{ref.first_seq} to V{ref.seq}, not V{number}",
            code="no-such-version",
            hint=f"List them with `mir log {branch}`",
        )
    if known := ref.commit_at(number):
        return store.commit(known)
    oldest, steps = ref.recent[0][1], ref.seq - len(ref.recent) + 1 - number
    commit = store.commit(oldest)
    for _ in range(steps):  # every later move is a commit on top of the one before
        commit = store.commit(commit.parents[0])
    return commit


def _by_prefix(store: Store, prefix: str) -> str | None:
    listed = store.objects.list(keys.stored_object(prefix))
    found = [
        key.rpartition("/")[2]
        for key in listed
        if wire.is_commit(read_object(store.objects, key)[:8])
    ]
    if len(found) > 1:
        raise InvalidInputError(
            f"`{prefix}` is the start of {len(found)} commit ids",
            code="ambiguous-revision",
            hint="Give more digits",
        )
    return found[0] if found else None


def _unknown(store: Store, rev: str, sentence: str) -> NotFoundError:
    import difflib

    names = [branch.name for branch in store.branches()] + list(store.tags())
    close = difflib.get_close_matches(rev, names, n=3, cutoff=0.5)
    hint = "List branches with `mir branch`"
    if close:
        hint = f"Did you mean {' or '.join(f'`{name}`' for name in close)}?"
    return NotFoundError(f"{sentence} `{rev[:200]}`", code="unknown-revision", hint=hint)
