"""Store URLs: `file:///directory`, `s3://bucket/prefix?endpoint_url=…`, or a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.store.objects import MemoryObjects, ObjectStore

_NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph", "lustre", "glusterfs")


def open_objects(
    url: str, *, create: bool, access_key: str | None, secret_key: str | None
) -> ObjectStore:
    """The place that a URL names. A missing directory is made when `create` says so."""
    scheme = urlsplit(url).scheme if "://" in url or url == "memory:" else "file"
    if scheme == "file":
        root = _directory(url)
        _check_file_system(root, url)
        return _open_directory(root, create)
    if scheme == "s3":
        from mir_ops.store.s3 import S3Objects

        return S3Objects.open(url, access_key=access_key, secret_key=secret_key)
    if scheme == "memory":
        return MemoryObjects(url)
    raise InvalidInputError(
        f"`{url}` is not the URL of a store",
        code="invalid-store-url",
        hint="Use `file:///directory` or `s3://bucket/prefix?endpoint_url=http://host:port`",
    )


def no_such_store(url: str) -> NotFoundError:
    """The error when nothing at this place says that it is a store."""
    return NotFoundError(
        f"There is no dataset store at `{url}`",
        code="no-such-store",
        hint="Check the address, or create one with `mir init`",
    )


def _directory(url: str) -> Path:
    parts = urlsplit(url) if "://" in url else None
    if parts is not None and parts.netloc not in ("", "localhost"):
        raise InvalidInputError(
            f"`{url}` names a host, `{parts.netloc}`",
            code="invalid-store-url",
            hint="A local store is `file:///directory`, with three slashes",
        )
    return Path(os.path.abspath(unquote(parts.path) if parts else url))


def _check_file_system(root: Path, url: str) -> None:
    """Locks and renames of network file systems do not keep what they promise."""
    options = dict(parse_qsl(urlsplit(url).query)) if "://" in url else {}
    if unknown := [name for name in options if name != "network"]:
        raise InvalidInputError(
            f"A local store has no option `{unknown[0]}`", code="invalid-store-url"
        )
    kind = _file_system(root) if options.get("network") != "allow" else None
    if kind in _NETWORK:
        raise InvalidInputError(
            f"`{root}` is on a network file system, {kind}",
            code="network-file-system",
            hint="Use a local disk or S3; `file:///directory?network=allow` takes the risk",
        )


def _file_system(root: Path) -> str | None:
    """The kind of file system that a directory is on, where the kernel says so."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    found = [line.split(" ") for line in mounts if line.count(" ") >= 3]
    inside = [(mount, kind) for _, mount, kind, *_ in found if root.is_relative_to(mount)]
    return max(inside, key=lambda entry: len(entry[0]))[1] if inside else None


def _open_directory(root: Path, create: bool) -> ObjectStore:
    from mir_ops.store.local import LocalObjects, access_error

    if create:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise access_error(f"the directory `{root}`", error) from error
    if not root.is_dir():
        raise no_such_store(root.as_uri())
    return LocalObjects(root)
