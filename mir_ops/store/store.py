"""A dataset store: branches of dataset versions, tags, blobs and classes behind one URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.store import keys, refs, registry, revisions, roots
from mir_ops.store.blobs import Blobs
from mir_ops.store.commits import Commit, Operation, read_commit
from mir_ops.store.edits import Edit
from mir_ops.store.features import create_store, read_features, read_identity
from mir_ops.store.objects import ObjectStore, referred_by
from mir_ops.store.operations import find_committed
from mir_ops.store.probes import Depth
from mir_ops.store.urls import no_such_store, open_objects
from mir_ops.store.versions import Version

if TYPE_CHECKING:
    from mir_ops.store.diffs import Diff
    from mir_ops.taxonomy import Taxonomy


class Store:
    """Open one with `Store.open(url)`. Safe to use from several threads and processes."""

    def __init__(
        self,
        objects: ObjectStore,
        store_id: str,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        self.objects = objects
        self.id = store_id
        self.author = "mir"  # of edits that name nobody
        self.declared: Callable[[], Taxonomy | None] | None = None  # what every edit records
        self._keys = (access_key, secret_key)
        self.blobs = Blobs(objects, self._shared_roots)
        self._cached_commit = lru_cache(4096)(lambda commit_id: read_commit(objects, commit_id))

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self.objects.url

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = False,
        access_key: str | None = None,
        secret_key: str | None = None,
        assets: str | None = None,
    ) -> Store:
        """Open the store at a URL; `create` makes one where there is none.

        New blobs then go to the URL or folder `assets`, which several stores may share.
        """
        objects = open_objects(url, create=create, access_key=access_key, secret_key=secret_key)
        depth: Depth = "quick" if url.startswith("s3:") else "conditions"
        found = cls.on(objects, create=create or url.startswith("memory:"), probe=depth)
        store = cls(objects, found.id, access_key=access_key, secret_key=secret_key)
        if assets is not None:
            store.share_assets(assets)
        return store

    @classmethod
    def on(
        cls, objects: ObjectStore, *, create: bool = False, probe: Depth = "conditions"
    ) -> Store:
        """The store whose bytes live here."""
        found = objects.find(keys.FORMAT)
        if found is None and not create:
            raise no_such_store(objects.url)
        if found is None:
            create_store(objects, probe)
            found = objects.find(keys.FORMAT) or b""
        read_features(objects)
        return cls(objects, read_identity(objects, found))

    def scratch(self, folder: Path) -> Store:
        """A store over this one: it reads what is here, writes to `folder` alone, and starts
        without branches and tags."""
        from mir_ops.store.local import LocalObjects
        from mir_ops.store.scratch import ScratchObjects

        folder.mkdir(parents=True, exist_ok=True)
        objects = ScratchObjects(self.objects, LocalObjects(folder))
        access_key, secret_key = self._keys
        store = Store(objects, self.id, access_key=access_key, secret_key=secret_key)
        store.blobs = Blobs(objects, store._shared_roots, first=objects.url)
        return store

    def branch(self, name: str) -> Branch:
        """A branch by name; it need not exist yet."""
        keys.check_branch_name(name)
        return Branch(self, name)

    def branches(self) -> list[Branch]:
        """All branches that exist, by name."""
        return [self.branch(name) for name, ref in self.heads().items() if ref.commit]

    def heads(self) -> dict[str, refs.Ref]:
        """Where all branches stand, by name, the deleted ones as well."""
        listed = self.objects.list(keys.HEADS)
        names = sorted(keys.decode(key.removeprefix(keys.HEADS)) for key in listed)
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(lambda name: refs.read_ref(self.objects, keys.head(name)), names)
            return dict(zip(names, found, strict=True))

    def by(self, author: str) -> Store:
        """The same store, for somebody whose name its edits record."""
        other = copy(self)
        other.author = author
        return other

    def commit(self, commit_id: str) -> Commit:
        """A commit by its full id."""
        return self._cached_commit(commit_id)

    def resolve(self, rev: str) -> Commit:
        """The commit that `branch`, `branch@tag`, `branch@V3` or the start of an id names."""
        return revisions.resolve(self, rev)

    def read(self, rev: str | Commit) -> Version:
        """The dataset version of a revision."""
        return Version(self.objects, self.resolve(rev) if isinstance(rev, str) else rev)

    def read_commit_version(self, commit_id: str) -> Version:
        """The dataset version of a commit's full id."""
        return Version(self.objects, self.commit(commit_id))

    def create_tag(self, name: str, commit_id: str) -> None:
        """Give a commit a fixed name; the same name for the same commit is no error."""
        revisions.create_tag(self, name, commit_id)

    def tags(self, branch: str | None = None) -> dict[str, str]:
        """Commit ids by tag; of a branch: those named `branch@…`, and those without an `@`."""
        names = [keys.decode(key.removeprefix(keys.TAGS)) for key in self.objects.list(keys.TAGS)]
        wanted = [
            name
            for name in sorted(names)
            if branch is None or "@" not in name or name.startswith(f"{branch}@")
        ]
        with ThreadPoolExecutor(16) as pool:
            read = pool.map(lambda name: refs.read_ref(self.objects, keys.tag(name)).commit, wanted)
            return {name: commit for name, commit in zip(wanted, read, strict=True) if commit}

    def find_tag(self, name: str) -> Commit | None:
        """The commit of a tag, or None when there is no such tag."""
        found = refs.read_ref(self.objects, keys.tag(name)).commit
        return None if found is None else self.commit(found)

    def find_operation(self, branch: str, op_id: str) -> Commit | None:
        """The commit of an operation on a branch, if it was committed already."""
        ref = refs.read_ref(self.objects, keys.head(branch))
        found = find_committed(self.objects, ref, op_id)
        return None if found is None else self.commit(found)

    def edit(
        self,
        branch: str,
        *,
        op_id: str,
        operation: Operation,
        message: str,
        base: Commit | Version | None = None,
        start: Commit | None = None,
        parents: Sequence[str | Commit] = (),
        author: str | None = None,
        project: str | None = None,
        round: int | str | None = None,  # noqa: A002 - the word of the domain
        run: str | None = None,
        keywords: Sequence[str] = (),
    ) -> Edit:
        """Change a branch in a `with` block. `base`: start from this content, not from the tip.

        `start` is the tip that the caller saw (default: the one on entering): what others commit
        after it is kept, or is a conflict.
        """
        keys.check_branch_name(branch)
        keys.check_op_id(op_id)
        return Edit(
            self,
            branch,
            op_id=op_id,
            operation=operation,
            message=message,
            base=base.commit if isinstance(base, Version) else base,
            start=start.id if start else None,
            parents=[parent if isinstance(parent, str) else parent.id for parent in parents],
            author=author or self.author,
            project=project,
            round=None if round is None else str(round),
            run=run,
            keywords=keywords,
            declared=self.declared,
        )

    def merge(
        self,
        branch: str,
        host: Version | Commit,
        guests: Sequence[Version | Commit],
        *,
        op_id: str,
        operation: Operation,
        message: str,
        strategy: str = "stop",
        splits: Sequence[str | None] | None = None,
        exclude: Sequence[Version | Commit] = (),
        start: Commit | None = None,
        author: str | None = None,
        project: str | None = None,
        round: int | str | None = None,  # noqa: A002 - the word of the domain
        run: str | None = None,
    ) -> Commit:
        """Commit the host with the changes of the guests.

        `splits` sets the split of each source's assets, the host's first; assets of the versions
        in `exclude` are left out. Under `stop` a conflict raises and the branch stays where it is.
        `start` is the tip of the branch that the caller saw, as for an edit.
        """
        from mir_ops.store.merges import plan_merge

        if found := self.find_operation(branch, op_id):
            return found
        sources = [self._version(source) for source in (host, *guests)]
        left_out = [self._version(version) for version in exclude]
        plan = plan_merge(self, sources, strategy=strategy, splits=splits, exclude=left_out)
        with self.edit(
            branch,
            op_id=op_id,
            operation=operation,
            message=message,
            base=plan.base,
            start=start,
            parents=plan.parents,
            author=author,
            project=project,
            round=round,
            run=run,
        ) as edit:
            edit.take(plan.changes)
        return edit.commit

    def diff(self, a: str | Commit | Version, b: str | Commit | Version) -> Diff:
        """What changed from version A to version B."""
        from mir_ops.store.diffs import diff

        one, other = (v if isinstance(v, Version) else self.read(v) for v in (a, b))
        return diff(one, other)

    def compact(self, branch: str, *, op_id: str | None = None) -> Commit:
        """Rewrite what many small commits left as few segments: the same rows, read faster."""
        from mir_ops.store.compactions import Compaction, is_due

        tip = self.branch(branch).tip()
        tables = Version(self.objects, tip).manifest.tables
        if not any(is_due(table) for table in tables.values()):
            return tip
        with self.edit(
            branch,
            op_id=op_id or f"compact-{tip.id}",
            operation=Operation(kind="compact", inputs=(tip.id,)),
            message="Compact",
        ) as edit:
            edit.take(Compaction())
        return edit.commit

    def share_assets(self, url: str) -> None:
        """Keep new blobs at a URL or folder that several stores may share; remembered."""
        access_key, secret_key = self._keys
        place = roots.share_root(self, url, access_key=access_key, secret_key=secret_key)
        self.blobs = Blobs(self.objects, self._shared_roots, first=place)

    def put_blob(self, source: bytes | Path) -> str:
        """Store bytes or a file and return its SHA-256."""
        return self.blobs.put_all([source])[0]

    def put_blobs(self, sources: Iterable[bytes | Path]) -> list[str]:
        """Store many; durable when this returns."""
        return self.blobs.put_all(sources)

    def get_blob(self, sha256: str) -> bytes:
        """The bytes of a blob, checked against its name."""
        return self.blobs.get(sha256)

    def fetch_blob(self, sha256: str, destination: Path) -> None:
        """Copy a blob to a file, which appears complete and checked or not at all."""
        self.blobs.fetch(sha256, destination)

    def has_blobs(self, digests: Sequence[str]) -> set[str]:
        """Which of these blobs are stored."""
        return self.blobs.has(digests)

    def register_classes(self, names: Sequence[str]) -> dict[str, int]:
        """The ids of classes by normalised name; new names get new ids, known ones keep theirs."""
        return registry.register_classes(self.objects, names)

    def classes(self) -> dict[str, int]:
        """All classes ever registered, by name."""
        return registry.read_classes(self.objects)

    def _shared_roots(self) -> tuple[ObjectStore, ...]:
        urls = read_features(self.objects).blob_roots
        return roots.open_roots(self.url, urls, *self._keys)

    def _version(self, source: Version | Commit) -> Version:
        return source if isinstance(source, Version) else Version(self.objects, source)

    def check_new_ref(self, prefix: str, name: str) -> None:
        """Refuse a name that differs from another one's only in case."""
        revisions.check_new_ref(self, prefix, name)


@dataclass(frozen=True, slots=True)
class Branch:
    """A name that moves from version to version."""

    store: Store
    name: str

    @property
    def exists(self) -> bool:
        """Whether it has a tip."""
        return self.ref().commit is not None

    @property
    def seq(self) -> int:
        """How often it moved: the number of its newest version, 0 before the first."""
        return self.ref().seq

    @property
    def first_seq(self) -> int:
        """The number of its first version, after 1 when a deleted branch had the name before."""
        return self.ref().first_seq

    def number_of(self, commit_id: str) -> int | None:
        """The number of a version among its last 64; None: it is none of them."""
        ref = self.ref()
        known = [commit for _, commit in ref.recent]
        if commit_id not in known:
            return None
        return ref.seq - len(known) + 1 + known.index(commit_id)

    def find_tip(self) -> Commit | None:
        """Its newest commit, or None when the branch does not exist."""
        commit_id = self.ref().commit
        if commit_id is None:
            return None
        with referred_by(f"branch `{self.name}`"):
            return self.store.commit(commit_id)

    def tip(self) -> Commit:
        """Its newest commit."""
        tip = self.find_tip()
        if tip is None:
            raise revisions.no_such_branch(self.store, self.name)
        return tip

    def read(self) -> Version:
        """Its newest version."""
        return Version(self.store.objects, self.tip())

    def log(self, limit: int | None = None) -> Iterator[Commit]:
        """Its commits, newest first, along the first parents."""
        commit: Commit | None = self.tip()
        while commit is not None and (limit is None or limit > 0):
            yield commit
            limit = None if limit is None else limit - 1
            with referred_by(f"commit {commit.id[:12]}"):
                commit = self.store.commit(commit.parents[0]) if commit.parents else None

    def delete(self) -> None:
        """Leave a tombstone: commits and numbers stay, the name can be used again."""
        revisions.delete_branch(self.store, self.name)

    def rename(self, name: str) -> Commit:
        """Go on under another name; this one is deleted."""
        return revisions.rename_branch(self.store, self.name, name)

    def restore(self) -> Commit:
        """Undo a deletion: one more version, with the rows and the history of the last one."""
        return revisions.restore_branch(self.store, self.name)

    def ref(self) -> refs.Ref:
        """The ref as it is now, also of a branch that does not exist."""
        return refs.read_ref(self.store.objects, keys.head(self.name))
