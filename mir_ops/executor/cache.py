"""Copies of assets on this host, shared by all jobs: fetched once, verified, linked many times."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mir_ops.store import Store

_THREADS: Final = 8
# A cached file carries this time. A job links the file itself: if its executor wrote to it in
# spite of the missing permission, the time has moved and the file is fetched again.
_SEAL_NS: Final = 1_000_000_000 * 10**9


class AssetCache:
    """A folder of files named by the SHA-256 of their bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, store: Store, asset_id: str) -> Path:
        """The asset as a read-only local file. Link or copy it, never write to it."""
        path = self.directory / asset_id[:2] / asset_id
        if not _is_sealed(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(store, asset_id, path)
        return path

    def get_all(self, store: Store, asset_ids: Sequence[str]) -> list[Path]:
        """The same for many assets, several at a time, in their order."""
        if len(asset_ids) < 2 * _THREADS:
            return [self.get(store, asset_id) for asset_id in asset_ids]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="asset-cache") as pool:
            return list(pool.map(lambda asset_id: self.get(store, asset_id), asset_ids))

    def _fetch(self, store: Store, asset_id: str, path: Path) -> None:
        with NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as file:
            partial = Path(file.name)
        try:
            store.fetch_blob(asset_id, partial)
            partial.chmod(0o444)
            os.utime(partial, ns=(_SEAL_NS, _SEAL_NS))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _is_sealed(path: Path) -> bool:
    try:
        status = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return status.st_mtime_ns == _SEAL_NS
