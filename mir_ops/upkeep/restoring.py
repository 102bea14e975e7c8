"""A backup brought back: what is missing is put there, what lives is not overwritten unasked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mir_ops.catalog import Catalog
from mir_ops.catalog.page_rows import Pages, load_pages, pages_of
from mir_ops.catalog.rebuilding import Content, content_of, differences, missing_of, rows_of
from mir_ops.errors import ConflictError, MirError
from mir_ops.store import Operation, Store, keys
from mir_ops.store.audits import audit
from mir_ops.store.objects import MemoryObjects, ObjectStore
from mir_ops.store.refs import Ref, read_ref
from mir_ops.upkeep.backups import Backup, put_refs, restore_objects
from mir_ops.upkeep.copies import Copied
from mir_ops.upkeep.dumps import read_dump, replace_rows

Fate = Literal["same", "missing", "newer", "deleted", "other"]

_SAID: Final[Mapping[Fate, str]] = {
    "missing": "it is not there: it is put back",
    "newer": "it has moved on since the backup",
    "deleted": "it was deleted since the backup",
    "other": "it stands at another commit, which does not come from the backup's",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A branch or tag that is not as the backup has it; `commit` is the backup's."""

    key: str
    fate: Fate
    commit: str
    now: str | None

    @property
    def name(self) -> str:
        kind, _, encoded = self.key.removeprefix("refs/").partition("/")
        return f"{'branch' if kind == 'heads' else 'tag'} `{keys.decode(encoded)}`"

    def __str__(self) -> str:
        return f"{self.name}: {_SAID[self.fate]}"


@dataclass(slots=True)
class Restored:
    """What was done, or would be. Lines of `kept` are of what lives and was left as it is."""

    written: bool
    copied: Copied | None = None
    refs: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    open_rounds: list[str] = field(default_factory=list)
    newer_rounds: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def restore_store(
    backup: Backup, objects: ObjectStore, *, copy: ObjectStore | None, dry_run: bool
) -> Copied | None:
    """Make a lost store again at its place, from its copy; one that is there must be the same."""
    refs = backup.refs()
    found = objects.find(keys.FORMAT)
    if found is not None and found != refs.get(keys.FORMAT):
        raise ConflictError(
            f"At `{objects.url}` is another store than the one that was backed up",
            code="other-store",
            hint="Name the store's own place, or an empty one",
        )
    if found is None and copy is None:
        raise ConflictError(
            f"There is no store at `{objects.url}`, and a backup has no images",
            code="no-objects",
            hint="Name the copy that the backup was made with: `--objects URL`",
        )
    if dry_run or copy is None:
        return None
    copied = restore_objects(copy, objects, refs)
    if found is None:
        put_refs(objects, refs, overwrite=False)
    return copied


def restore(
    backup: Backup,
    store: Store,
    catalog: Catalog,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Restored:
    """Put back refs that are missing, and fill the catalog with the backup's rows and with what
    the store knows of since.

    Branches that moved on, and a catalog that is not empty, are left as they are, or refused:
    unless `overwrite` says that the branches become what they were, as one more version each,
    and that the catalog's rows are replaced. Ends with a check that every ref leads somewhere.
    """
    done = Restored(written=not dry_run)
    content = _merged(backup, store, done)
    if not (overwrite or dry_run):
        _refuse_rows(catalog, content)
    _restore_refs(backup, store, done, overwrite=overwrite, dry_run=dry_run)
    if not dry_run:
        replace_rows(catalog, content)
        _check(store)
    done.missing += missing_of(store, content)
    return done


def _merged(backup: Backup, store: Store, done: Restored) -> Content:
    """The backup's rows, and the pages that rounds wrote to the store since: the later of both."""
    dumped = pages_of(read_dump(backup.catalog), str(backup.catalog))
    kept = load_pages(store)
    before = {(page.project["key"], page.round["number"]) for page in dumped.rounds}
    # The dump's rows come last: of equally old ones they are the more complete.
    joined = Pages(
        rounds=[*kept.rounds, *dumped.rounds], registries=[*kept.registries, *dumped.registries]
    )
    content, left_out = content_of(joined)
    owners = {row["id"]: row["key"] for row in content["mir_projects"]}
    for row in content["mir_rounds"]:
        said = f"round {row['number']} of `{owners[row['project_id']]}`"
        if (owners[row["project_id"]], row["number"]) not in before:
            done.newer_rounds.append(said)
        if row["state"] == "open":
            done.open_rounds.append(f"{said}: run `{row['run_id']}` of `{row['dag_id']}`")
    done.missing += left_out
    done.rows = {table: len(rows) for table, rows in content.items()}
    return content


def _refuse_rows(catalog: Catalog, content: Content) -> None:
    found = rows_of(catalog)
    if any(found.values()) and any(differences(content, found)):
        raise ConflictError(
            "The catalog is not empty, and its rows would be replaced",
            code="catalog-not-empty",
            hint="See what would change with `--dry-run`, and say `--overwrite` to do it",
        )


def _restore_refs(
    backup: Backup, store: Store, done: Restored, *, overwrite: bool, dry_run: bool
) -> None:
    refs = backup.refs()
    missing = {}
    for difference in _differences(store, refs):
        if difference.fate == "missing":
            missing[difference.key] = refs[difference.key]
            done.refs.append(str(difference))
        elif overwrite and difference.key.startswith(keys.HEADS):
            done.refs.append(f"{difference.name}: it becomes what it was, as one more version")
            if not dry_run:
                _set_back(store, _parsed(difference.key, refs[difference.key]))
        else:
            done.kept.append(str(difference))
    if not dry_run:
        put_refs(store.objects, {**missing, **_others(refs)}, overwrite=False)


def _others(refs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The registry of classes and the catalog's pages: where they are, they are newer."""
    return {
        key: body for key, body in refs.items() if key == keys.CLASSES or key.startswith(keys.PAGES)
    }


def _differences(store: Store, refs: Mapping[str, bytes]) -> Iterator[Difference]:
    for key, body in sorted(refs.items()):
        if not key.startswith((keys.HEADS, keys.TAGS)):
            continue
        then, now = _parsed(key, body), read_ref(store.objects, key)
        if then.commit is None or then.commit == now.commit or _is_set_back(store, then, now):
            continue
        fate = _fate(store, then, now)
        yield Difference(key=key, fate=fate, commit=then.commit, now=now.commit)


def _fate(store: Store, then: Ref, now: Ref) -> Fate:
    if now.seen is None:
        return "missing"
    if now.commit is None:
        return "deleted"
    if now.commit_at(then.seq) == then.commit or _leads_to(store, now.commit, then.commit):
        return "newer"
    return "other"


def _leads_to(store: Store, commit: str, wanted: str | None) -> bool:
    """Along the first parents, as a branch grows."""
    assert wanted is not None
    generation = store.commit(wanted).generation
    now: str | None = commit
    while now is not None and now != wanted:
        read = store.commit(now)
        now = read.parents[0] if read.parents and read.generation > generation else None
    return now == wanted


def _parsed(key: str, body: bytes) -> Ref:
    objects = MemoryObjects("the backup's refs")
    objects.create(key, body)
    return read_ref(objects, key)


def _is_set_back(store: Store, then: Ref, now: Ref) -> bool:
    """Whether it was brought back to the backup's commit before, and is there since."""
    made = store.commit(now.commit).operation if now.commit else None
    return made is not None and made.kind == "restore" and made.inputs == (then.commit,)


def _set_back(store: Store, then: Ref) -> None:
    """As a deletion and a restoration: what came since stays in the reflog, and in its commits."""
    name = keys.decode(then.key.removeprefix(keys.HEADS))
    assert then.commit is not None
    if store.branch(name).exists:
        store.branch(name).delete()
    with store.edit(
        name,
        op_id=f"set-back-{secrets.token_hex(8)}",
        operation=Operation(
            kind="restore",
            parameters={"moves": then.seq - then.first_seq},
            inputs=(then.commit,),
        ),
        message="Restore what a backup has",
        base=store.commit(then.commit),
        project=store.commit(then.commit).project,
    ):
        pass


def _check(store: Store) -> None:
    """Every ref must lead to commits and manifests that are there."""
    report = audit(store, "quick")
    if not report.clean:
        raise MirError(
            f"The restored store is damaged: {report.problems[0].reason}",
            code="damaged-store",
            hint="See all of it with `mir store fsck`; objects come back with `--objects URL`",
        )
