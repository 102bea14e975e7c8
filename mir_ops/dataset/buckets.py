"""Sources in S3 buckets: an archive at a key, or all files below a prefix as a folder."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from mir_ops.dataset.network import (
    PORTS,
    Network,
    address_of,
    check_size,
    check_url,
    refused,
    shown,
)
from mir_ops.dataset.pace import Pace, Progress
from mir_ops.dataset.unfinished import find_unfinished
from mir_ops.errors import NotFoundError, StoreError
from mir_ops.formats.trees import ArchiveLimits, is_safe_name

if TYPE_CHECKING:
    from mir_ops.store.objects import Entry
    from mir_ops.store.s3 import S3Objects
    from mir_ops.workspace import Workspace

_THREADS: Final = 16
_BATCH: Final = 1024


def fetch_s3(
    url: str, target: Path, network: Network, workspace: Workspace | None, on_progress: Progress
) -> None:
    """Fetch an object to a file; where there is none, or the URL ends with `/`, a folder."""
    objects, key = _opened(url, network, workspace)
    if key and (found := objects.describe(key)):
        _fetch_one(url, objects, key, found, target, network, on_progress)
        return
    below = f"{key}/" if key else ""
    entries = _entries(url, objects, below, network, target)
    _fetch_all(url, objects, below, entries, target, network, on_progress)


def _opened(url: str, network: Network, workspace: Workspace | None) -> tuple[S3Objects, str]:
    """The folder that the URL is in, and its last part."""
    from mir_ops.store.s3 import S3Objects

    try:
        parts, endpoint = urlsplit(url), _endpoint(url)
    except ValueError as error:
        raise refused(url, str(error)) from None
    ours = workspace is not None and _endpoint(workspace.store_url) == endpoint
    if endpoint and not ours:
        server = check_url(endpoint)
        address_of(server.hostname or "", server.port or PORTS[server.scheme], network)
    folder, _, key = parts.path.rpartition("/")
    objects = S3Objects.open(
        parts._replace(path=folder).geturl(),
        access_key=workspace.access_key if workspace and ours else None,
        secret_key=workspace.secret_key if workspace and ours else None,
    )
    return objects, unquote(key)


def _fetch_one(
    url: str,
    objects: S3Objects,
    key: str,
    found: tuple[int, str],
    target: Path,
    network: Network,
    on_progress: Progress,
) -> None:
    size, etag = found
    _clear(target, keep_folder=False)
    here = find_unfinished(target)
    if here.tag != etag or here.length != size:
        here = here.start(etag, size)
        target.touch()
    check_size(url, size, target, network, held=here.size)
    pace = Pace("MB", size, before=here.size)
    for count in objects.fetch_rest(key, target, etag, here.size) if not here.is_whole else ():
        pace.add(count)
        on_progress(pace.share, f"download: {pace}")
    if target.stat().st_size != size:
        raise StoreError(
            f"`{shown(url)}` ended after {target.stat().st_size} of {size} bytes",
            code="download-failed",
            hint="Run the same command again",
        )


def _entries(
    url: str, objects: S3Objects, below: str, network: Network, target: Path
) -> list[Entry]:
    """What is to be fetched; refused where it is too much, or not as files can be called."""
    found: list[Entry] = []
    total = 0
    for entry in objects.entries(below):
        name = entry.key.removeprefix(below)
        if name.endswith("/") or not name:  # what some tools leave for an empty folder
            continue
        if not is_safe_name(name) or "//" in name:
            raise refused(url, f"its key `{shown(name)}` cannot be the name of a file")
        total += entry.size
        check_size(url, total, target, network, held=total)  # for the limit, not for space
        found.append(entry)
        if len(found) > ArchiveLimits().entries:
            raise refused(url, f"it has more than {ArchiveLimits().entries} files")
    if not found:
        raise NotFoundError(
            f"There is nothing at `{shown(url)}`", code="no-such-source", hint="Check the address"
        )
    return found


def _fetch_all(
    url: str,
    objects: S3Objects,
    below: str,
    entries: list[Entry],
    target: Path,
    network: Network,
    on_progress: Progress,
) -> None:
    """Files appear whole and with the bucket's times: what is here already is not fetched again."""
    _clear(target, keep_folder=True)
    arriving = target.with_name("arriving")
    arriving.mkdir(exist_ok=True)
    paths = {target / entry.key.removeprefix(below): entry for entry in entries}
    _remove_others(target, set(paths))
    missing = [(path, entry) for path, entry in paths.items() if not _is_same(path, entry)]
    check_size(url, sum(entry.size for _, entry in missing), target, network)
    pace = Pace("files", len(entries), before=len(entries) - len(missing))

    def fetch(number: int) -> None:
        path, entry = missing[number]
        _fetch_file(url, objects, entry, arriving / str(number), path)

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(missing), _BATCH):
            for _ in pool.map(fetch, range(start, min(start + _BATCH, len(missing)))):
                pace.add(1)
                on_progress(pace.share, f"download: {pace}")


def _fetch_file(url: str, objects: S3Objects, entry: Entry, arrived: Path, path: Path) -> None:
    if not objects.fetch(entry.key, arrived) or arrived.stat().st_size != entry.size:
        raise StoreError(
            f"`{shown(url)}` changed while it was fetched: `{shown(entry.key)}`",
            code="download-failed",
            hint="Run the same command again",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(arrived, (entry.modified, entry.modified))
        arrived.replace(path)
    except OSError as error:
        reason = f"its key `{shown(entry.key)}` cannot be the name of a file: {error.strerror}"
        raise refused(url, reason) from None


def _is_same(path: Path, entry: Entry) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == entry.size and int(status.st_mtime) == int(entry.modified)


def _remove_others(target: Path, wanted: set[Path]) -> None:
    for path in target.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def _clear(target: Path, *, keep_folder: bool) -> None:
    """Away with what an earlier call left when there was something else at the same URL."""
    if target.is_dir() and not keep_folder:
        shutil.rmtree(target)
    elif target.is_file() and keep_folder:
        target.unlink()
    if keep_folder:
        target.mkdir(exist_ok=True)


def _endpoint(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("endpoint_url", [""])[0]
