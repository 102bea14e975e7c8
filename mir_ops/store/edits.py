"""Editing a branch: gather changes, write them once, move the ref, exactly once per operation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError
from mir_ops.store import keys
from mir_ops.store.backoff import Backoff
from mir_ops.store.commits import Commit, Operation, Stats, from_microseconds, write_commit
from mir_ops.store.manifests import (
    Manifest,
    read_manifest,
    read_taxonomy,
    write_manifest,
    write_taxonomy,
)
from mir_ops.store.operations import find_committed
from mir_ops.store.pins import Pin
from mir_ops.store.refs import (
    MovedError,
    Ref,
    move_ref,
    read_ref,
    record_move,
    settle_oldest,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from mir_ops.store.changesets import ChangeSet, Part
    from mir_ops.store.compactions import Compaction
    from mir_ops.store.store import Store
    from mir_ops.taxonomy import Taxonomy

log = logging.getLogger(__name__)


class Edit:
    """Changes to one branch. Leaving the block commits them; an exception inside commits nothing.

    Another writer may move the branch meanwhile: the changes are replayed on the new tip, unless
    both touched the same asset of the same table. An operation id commits once, however often
    the block is run; `commit` is then the first one's.
    """

    def __init__(
        self,
        store: Store,
        branch: str,
        *,
        op_id: str,
        operation: Operation,
        message: str,
        base: Commit | None = None,
        start: str | None = None,
        parents: Sequence[str] = (),
        author: str = "mir",
        project: str | None = None,
        round: str | None = None,  # noqa: A002 - the word of the domain
        run: str | None = None,
        keywords: Sequence[str] = (),
        declared: Callable[[], Taxonomy | None] | None = None,
    ) -> None:
        from mir_ops.store.changesets import ChangeSet

        self.branch = branch
        self.op_id = op_id
        self._store = store
        self._objects = store.objects
        self._operation = operation
        self._message = message
        self._base = base
        self._parents = tuple(parents)
        self._author = author
        self._project = project
        self._round = round
        self._run = run
        self._keywords = tuple(keywords)
        self._declared = declared
        self._pin = Pin(self._objects, op_id)
        self._gathered = ChangeSet()
        self._changes: ChangeSet | Compaction = self._gathered
        self._start = start
        self._commit: Commit | None = None

    @property
    def commit(self) -> Commit:
        """What the block became, once it was left."""
        if self._commit is None:
            raise RuntimeError("An edit has no commit before its block was left")
        return self._commit

    def put_assets(self, table: pa.Table) -> None:
        """Add assets, or replace the rows of known ones as a whole."""
        self._gathered.put_assets(table)

    def remove_assets(self, asset_ids: pa.Array | pa.ChunkedArray | Sequence[bytes]) -> None:
        """Take assets out, and out of every layer."""
        from mir_ops.store import rows

        self._gathered.remove_assets(rows.as_ids(asset_ids))

    def put_layer(
        self,
        name: str,
        table: pa.Table,
        assets: pa.Array | pa.ChunkedArray | Sequence[bytes] | None = None,
    ) -> None:
        """Replace all rows of each asset in `assets` (default: those in the table).

        An asset in `assets` without rows is covered: somebody looked, nothing is there.
        """
        from mir_ops.store import rows

        self._gathered.put_layer(name, table, None if assets is None else rows.as_ids(assets))

    def write_layer(self, name: str, parts: Iterable[Part], *, size: int) -> None:
        """Replace a whole layer by parts: rows, and the assets that they cover, as `put_layer`.

        Each part is stored before the next is asked for. Parts ascend by asset, and an asset is
        in one of them; `size` is how many rows there are, about: it decides over their files.
        """
        self._gathered.write_layer(self._objects, name, parts, size)

    def clear_layer(
        self, name: str, assets: pa.Array | pa.ChunkedArray | Sequence[bytes] | None = None
    ) -> None:
        """Forget what a layer says about these assets, or the whole layer."""
        from mir_ops.store import rows

        self._gathered.clear_layer(name, None if assets is None else rows.as_ids(assets))

    def put_taxonomy(self, taxonomy: Taxonomy) -> None:
        """Replace names and aliases of the classes."""
        self._gathered.taxonomy = taxonomy

    def take(self, changes: ChangeSet | Compaction) -> None:
        """Commit these changes, made elsewhere, instead of the ones put here."""
        self._changes = changes

    def __enter__(self) -> Self:
        self._start = self._start or read_ref(self._objects, keys.head(self.branch)).commit
        if self._base is not None and self._base.id == self._start:
            self._base = None
        base = self._base.id if self._base else None
        self._pin.hold(commit for commit in (self._start, base) if commit)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._pin.release()
            return
        try:
            self._commit = self._commit_changes()
        except (ConflictError, InvalidInputError, NotFoundError):
            self._pin.release()
            raise
        except BaseException:
            self._pin.abandon()
            raise
        self._pin.release()

    def _commit_changes(self) -> Commit:
        backoff = Backoff()
        while True:
            ref = read_ref(self._objects, keys.head(self.branch))
            if found := find_committed(self._objects, ref, self.op_id):
                return self._store.commit(found)
            if ref.seen is None:
                self._store.check_new_ref(keys.HEADS, self.branch)
            commit = self._write(ref)
            self._objects.sync()
            try:
                after = move_ref(
                    self._objects, ref, commit.id, self.op_id, committed=self._is_committed
                )
            except MovedError:
                if not backoff.wait():
                    raise self._conflict("other writers were always first") from None
                continue
            return self._finish(ref, after)

    def _is_committed(self, ref: Ref) -> bool:
        return find_committed(self._objects, ref, self.op_id) is not None

    def _finish(self, before: Ref, after: Ref) -> Commit:
        commit_id = find_committed(self._objects, after, self.op_id)
        assert commit_id is not None
        try:
            if after.commit == commit_id and after.seq == before.seq + 1:
                record_move(self._objects, before, after, self.op_id)
        except MirError as error:
            # The commit stands: the ref itself knows the operation until its record exists.
            log.warning("Wrote no record of operation %s: %s", self.op_id, error)
        return self._store.commit(commit_id)

    def _write(self, ref: Ref) -> Commit:
        tip = None if ref.commit is None else self._store.commit(ref.commit)
        self._check_not_overtaken(tip)
        content = self._base or tip
        settle_oldest(self._objects, ref)
        manifest, stats = self._changes.apply(
            self._objects,
            Manifest() if content is None else read_manifest(self._objects, content.manifest),
            Stats() if content is None else content.stats,
        )
        manifest = self._with_declared(manifest)
        parents = self._all_parents(tip)
        return write_commit(
            self._objects,
            Commit(
                id="",
                parents=tuple(commit.id for commit in parents),
                manifest=write_manifest(self._objects, manifest),
                generation=1 + max((commit.generation for commit in parents), default=0),
                op_id=self.op_id,
                operation=self._operation,
                project=self._project,
                round=self._round,
                run=self._run,
                author=self._author,
                message=self._message,
                created_at=from_microseconds(int(self._objects.clock() * 1_000_000)),
                keywords=self._keywords,
                stats=stats,
                equivalent_to=tip.id if tip and self._changes.equivalent else None,
            ),
        )

    def _with_declared(self, manifest: Manifest) -> Manifest:
        """With the classes of the writer's label file; those of a compaction stay as they are."""
        declared = self._declared() if self._declared and not self._changes.equivalent else None
        if declared is None:
            return manifest
        known = read_taxonomy(self._objects, manifest.taxonomy)
        recorded = declared.over(known)
        if recorded == known:
            return manifest
        return replace(manifest, taxonomy=write_taxonomy(self._objects, recorded))

    def _all_parents(self, tip: Commit | None) -> list[Commit]:
        extra = (self._store.commit(parent) for parent in self._parents)
        known = {commit.id: commit for commit in (tip, self._base, *extra) if commit is not None}
        return list(known.values())

    def _check_not_overtaken(self, tip: Commit | None) -> None:
        """Changes on top of a tip that others moved must not undo what they did."""
        if tip is None or tip.id == self._start:
            if tip is None and self._start is not None:
                raise self._conflict("it was deleted")
            return
        if self._base is not None:
            raise self._conflict("this operation replaces the content of the tip that it saw")
        from mir_ops.store.diffs import changed_assets

        start = None if self._start is None else self._store.read_commit_version(self._start)
        now = self._store.read_commit_version(tip.id)
        ours = self._changes.taxonomy
        moved = start is not None and start.manifest.taxonomy != now.manifest.taxonomy
        if ours and moved and ours != now.taxonomy:
            raise self._conflict("both changed the taxonomy")
        both = changed_assets(start, now, self._changes.touched(), self._changes.dropped)
        if both:
            name, amount = next(iter(both.items()))
            raise self._conflict(f"both changed {amount} assets of `{name}`")

    def _conflict(self, reason: str) -> ConflictError:
        return ConflictError(
            f"Branch `{self.branch}` moved while it was edited: {reason}",
            code="branch-moved",
            hint="Read the branch again and repeat the operation",
        )
