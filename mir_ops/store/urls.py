"""Store URLs: `file:///directory`, `s3://bucket/prefix?endpoint_url=…`, or a path."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.store.objects import MemoryObjects, ObjectStore


def open_objects(
    url: str, *, create: bool, access_key: str | None, secret_key: str | None
) -> ObjectStore:
    """The place that a URL names. A missing directory is made when `create` says so."""
    scheme = urlsplit(url).scheme if "://" in url or url == "memory:" else "file"
    if scheme == "file":
        return _open_directory(_directory(url), create)
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


def _open_directory(root: Path, create: bool) -> ObjectStore:
    from mir_ops.store.local import LocalObjects

    if create:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"Cannot make the directory `{root}`: {error}",
                code="permission-denied",
                hint="Choose a directory that this user may write to",
            ) from error
    if not root.is_dir():
        raise no_such_store(root.as_uri())
    return LocalObjects(root)
