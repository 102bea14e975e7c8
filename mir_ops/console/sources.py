"""What the console works on: the versions of a store and the projects of a catalog."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.console.images.files import Served
from mir_ops.console.images.history import History, history_of
from mir_ops.console.images.indexes import Indexes
from mir_ops.console.images.lookups import Lookup
from mir_ops.console.versions.findings import Findings
from mir_ops.dataset.history import Past
from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.store import Commit, Store, Version
from mir_ops.store.objects import KeepsNear

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog
    from mir_ops.console.models.looks import Looks
    from mir_ops.label_files import LabelFiles
    from mir_ops.workspace import Workspace

NO_PROJECT = "-"  # stands for "of no project" in addresses; only `mir view` serves it

_COMMIT = re.compile(r"[0-9a-f]{8,64}")
_WHOLE = re.compile(r"[0-9a-f]{64}")


class Sources:
    """A store and a catalog, read by project.

    With `every_version` all versions of the store can be read under the project `-`. That is for
    the person who holds the store's files anyway, never for a server that several people share.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog | None = None,
        *,
        every_version: bool = False,
        image_secret: str | None = None,
        sharing_dir: Path | None = None,
        looks: Looks | None = None,
        label_files: LabelFiles | None = None,
    ) -> None:
        self.store = store
        if isinstance(store.objects, KeepsNear):
            store.objects.keep_near()
        self.sharing_dir = sharing_dir  # where callers of the API name data
        self.looks = looks  # lets models look at pictures where there is no Airflow
        self.label_files = label_files  # which the next commits record
        self.image_secret = image_secret  # signs what label tools may see; without: nothing
        self.catalog = catalog
        self.every_version = every_version
        self.findings = Findings(store)
        self.indexes = Indexes()
        self._read = lru_cache(maxsize=16)(store.read)
        self._resolve = lru_cache(maxsize=4096)(store.resolve)

    @cached_property
    def workspace(self) -> Workspace:
        """Store and catalog, for what takes a workspace; it has no folder to work in."""
        from mir_ops.workspace import Workspace

        if self.catalog is None:
            raise StoreError("There is no catalog here", code="no-catalog")
        return Workspace.around(self.store, self.catalog)

    def tips(self, project: str | None = None) -> list[tuple[str, Commit]]:
        """Branches with their newest version; of one project, or all that may be read."""
        return [
            (branch.name, tip)
            for branch in sorted(self.store.branches(), key=lambda branch: branch.name)
            if (tip := branch.find_tip()) and (project is None or tip.project == project)
        ]

    def version(self, project: str, commit_id: str) -> Version:
        """The version, if it belongs to the project; that another has it stays unsaid."""
        missing = NotFoundError(
            f"No version `{commit_id[:64]}` in project `{project}`", code="no-such-version"
        )
        if not _COMMIT.fullmatch(commit_id):
            raise missing
        try:
            commit = self._commit(commit_id)
        except NotFoundError:
            raise missing from None
        if not self._belongs(commit, project):
            raise missing
        return self._read(commit.id)

    def revision(self, project: str, rev: str) -> Version:
        """The version that a branch, `branch@V3`, a tag or the start of an id names there."""
        try:
            commit = self._commit(rev)
        except (NotFoundError, InvalidInputError):
            commit = None
        if commit is None or not self._belongs(commit, project):
            raise NotFoundError(
                f"No version `{rev[:200]}` in project `{project}`", code="no-such-version"
            )
        return self._read(commit.id)

    def past(self, project: str) -> Past:
        """All versions of a project, or of the whole store, and what came of them."""
        return self.findings.history.read(None if project == NO_PROJECT else project)

    def gate_report(self, project: str, number: int, stage: str) -> bytes:
        """The newest report of a round's gate, a page of its own; `stage` is data or labels."""
        reports = []
        if self.catalog is not None:
            round_ = self.catalog.rounds.get_number(project, number)
            reports = [each for each in self.catalog.gates.list(round_.id) if each.stage == stage]
        if not reports:
            raise NotFoundError(
                f"Round {number} of `{project}` has no report of a gate `{stage[:64]}`",
                code="no-such-report",
            )
        return self.store.get_blob(reports[-1].html_blob)

    def note_activity(self, op_id: str) -> None:
        """People did something at the label tool, just now."""
        if self.catalog is None:
            raise NotFoundError("There is no such label task", code="no-such-label-task")
        self.catalog.label_tasks.update(op_id, last_activity=datetime.now(UTC))

    def origins(self, project: str, version: Version) -> list[Commit]:
        """The versions that this one was made from, as far as the project may see them."""
        parents = [self.store.commit(commit_id) for commit_id in version.commit.parents[:8]]
        return [commit for commit in parents if self._belongs(commit, project)]

    def _commit(self, rev: str) -> Commit:
        """The commit of a revision; a whole id names the same one forever."""
        return (self._resolve if _WHOLE.fullmatch(rev) else self.store.resolve)(rev)

    def lookup(self, asset_id: str) -> Lookup:
        """What finds the rows of one image, in any version."""
        return Lookup(self.indexes.memory, self.store.objects, asset_id)

    def history(self, project: str, version: Version, lookup: Lookup) -> History:
        """What became of an image, as far as the project may see it."""
        return history_of(
            self.store, lookup, version.id, told=lambda commit: self._belongs(commit, project)
        )

    def _belongs(self, commit: Commit, project: str) -> bool:
        if project == NO_PROJECT:
            return self.every_version
        return commit.project == project

    def asset(self, version: Version, asset_id: str) -> Served:
        """What is needed to send the asset's bytes, if the version has it."""
        if _WHOLE.fullmatch(asset_id):
            assets = self.indexes.assets(version)
            if (place := assets.find(asset_id)) is not None:
                size = int(assets.width[place]), int(assets.height[place])
                return Served(asset_id, assets.media_types[place].as_py(), *size)
        raise NotFoundError(
            f"No image `{asset_id[:64]}` in version {version.commit.id[:12]}", code="no-such-image"
        )
