"""A backup: a folder with the catalog and the store's refs, taken while rounds run.

The catalog is read first. Every commit that it names was written before, so that refs read later
lead to it; and what happened in between is found on its branch by the operation that is done again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mir_ops import __version__
from mir_ops.catalog import Catalog
from mir_ops.catalog.pages import keep_all
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from mir_ops.store import Store, keys
from mir_ops.store.objects import ObjectStore, Versioned
from mir_ops.upkeep.copies import Copied, check_same_store, copy_objects
from mir_ops.upkeep.dumps import dump_catalog
from mir_ops.workspace import Workspace

FORMAT: Final = 1
MANIFEST: Final = "backup.json"
CATALOG: Final = "catalog.jsonl"
REFS: Final = "refs.jsonl"
# All that is ever replaced under its key. The identity comes last: without it there is no store.
_MUTABLE: Final = ("meta/", "refs/", keys.PAGES, keys.FORMAT)
_READ: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup whose files are what they were when it was made."""

    folder: Path
    store_id: str
    created_at: datetime
    rows: Mapping[str, int]  # of the catalog, by table

    @property
    def catalog(self) -> Path:
        return self.folder / CATALOG

    def refs(self) -> dict[str, bytes]:
        """The store's mutable objects by key."""
        lines = (self.folder / REFS).read_text(encoding="utf-8").splitlines()
        read = (json.loads(line) for line in lines)
        return {line["key"]: base64.b64decode(line["body"]) for line in read}


def back_up(
    catalog: Catalog, store: Store, folder: Path, *, deployment: str, objects: str | None = None,
    workspace: Workspace | None = None,
) -> tuple[Backup, Copied | None]:  # fmt: skip
    """Write a backup into `folder`, which has none yet.

    With `objects`, the URL or folder of a copy of the store, what that lacks is copied there too,
    and it is a store that can be opened. A folder without `backup.json` is no backup: whenever
    this is killed, it can simply run again.
    """
    if (folder / MANIFEST).exists():
        raise ConflictError(
            f"`{folder}` has a backup already", code="backup-exists", hint="Name a new folder"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep_all(catalog, store, deployment)
    rows = dump_catalog(catalog, folder / CATALOG)
    refs = _read_mutable(store.objects)
    _write_refs(folder / REFS, refs)
    copied = None
    if objects is not None:
        target = open_place(objects, workspace)
        copied = copy_objects(store.objects, target)
        put_refs(target, refs, overwrite=True)
    said = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(),
        "code_version": __version__,
        "store": store.id,
        "url": store.url,
        "copied_to": objects,
        "rows": rows,
        "files": {name: _digest(folder / name) for name in (CATALOG, REFS)},
    }
    _finish(folder / MANIFEST, json.dumps(said, indent=1).encode())
    return open_backup(folder), copied


def open_backup(folder: Path) -> Backup:
    """The backup in a folder, all of its files read and found unchanged."""
    try:
        said: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if said["format"] != FORMAT:
            raise StoreError(
                f"`{folder}` is a backup of format {said['format']}, this program reads {FORMAT}",
                code="backup-too-new",
                hint="Upgrade mir-ops",
            )
        for name in (CATALOG, REFS):
            if _digest(folder / name) != said["files"][name]:
                raise _damaged(folder, f"`{name}` was changed since it was made")
        return Backup(
            folder=folder,
            store_id=str(said["store"]),
            created_at=datetime.fromisoformat(said["created_at"]),
            rows={str(name): int(count) for name, count in said["rows"].items()},
        )
    except FileNotFoundError as error:
        raise NotFoundError(
            f"There is no whole backup in `{folder}`: `{Path(error.filename).name}` is missing",
            code="no-backup",
            hint="Name the folder of one backup; one that was broken off has no `backup.json`",
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, f"`{MANIFEST}` cannot be read: {error}") from None


def put_refs(objects: ObjectStore, refs: Mapping[str, bytes], *, overwrite: bool) -> list[str]:
    """Put the refs where there are none, or also in the place of others; the keys that changed."""
    changed = []
    for key, body in sorted(refs.items(), key=lambda item: _rank(item[0])):
        seen = objects.find_versioned(key)
        if seen is None or (overwrite and seen.body != body):
            _put(objects, key, body, seen)
            changed.append(key)
    return changed


def open_place(url: str, workspace: Workspace | None) -> ObjectStore:
    """The place of a copy; with the keys of the workspace's own store."""
    from mir_ops.store.urls import open_objects

    access_key = workspace.access_key if workspace else None
    secret_key = workspace.secret_key if workspace else None
    return open_objects(url, create=True, access_key=access_key, secret_key=secret_key)


def restore_objects(source: ObjectStore, target: ObjectStore, refs: Mapping[str, bytes]) -> Copied:
    """Fill the place of a lost store from its copy, up to the refs."""
    if source.find(keys.FORMAT) != refs.get(keys.FORMAT):
        raise ConflictError(
            f"At `{source.url}` is no copy of the store that was backed up",
            code="other-store",
            hint="Name the place that the backup was made with",
        )
    check_same_store(source, target)
    return copy_objects(source, target)


def _read_mutable(objects: ObjectStore) -> dict[str, bytes]:
    found = {}
    for prefix in _MUTABLE:
        for key in [prefix] if prefix == keys.FORMAT else objects.list(prefix):
            if (body := objects.find(key)) is not None:
                found[key] = body
    return found


def _write_refs(path: Path, refs: Mapping[str, bytes]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for line in _ref_lines(refs):
            file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _ref_lines(refs: Mapping[str, bytes]) -> Iterator[str]:
    for key, body in refs.items():
        yield json.dumps({"key": key, "body": base64.b64encode(body).decode()})


def _put(objects: ObjectStore, key: str, body: bytes, seen: Versioned | None) -> None:
    if key == keys.FORMAT:
        objects.create(key, body)
    else:
        objects.swap(key, body, seen)


def _rank(key: str) -> int:
    return next(rank for rank, prefix in enumerate(_MUTABLE) if key.startswith(prefix))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ):
            digest.update(part)
    return digest.hexdigest()


def _finish(path: Path, body: bytes) -> None:
    """The manifest last, and all of it on disk: from here on the folder is a backup."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(folder: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"The backup in `{folder}` is damaged: {reason}",
        code="damaged-backup",
        hint="Take an earlier one",
    )
