"""Shared asset roots: several stores keep their media in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from mir_ops.errors import NotFoundError
from mir_ops.store import keys
from mir_ops.store.features import add_blob_root
from mir_ops.store.objects import ObjectStore
from mir_ops.store.urls import open_objects

if TYPE_CHECKING:
    from mir_ops.store.store import Store


def share_root(
    store: Store, url: str, *, access_key: str | None = None, secret_key: str | None = None
) -> str:
    """Keep new blobs of a store at `url`, where other stores may keep theirs; returns its URL.

    The root knows its stores before they know it: none of them may ever call its blobs dead.
    """
    root = open_objects(url, create=True, access_key=access_key, secret_key=secret_key)
    if root.url == store.url:
        return root.url
    root.create(keys.sharing_store(store.id), store.url.encode())
    root.sync()
    option = "?network=allow" if _is_local(root.url) and "network=allow" in url else ""
    add_blob_root(store.objects, root.url + option)
    return root.url


def open_roots(
    store_url: str, urls: Sequence[str], access_key: str | None, secret_key: str | None
) -> tuple[ObjectStore, ...]:
    """The shared roots that a store names, in their order."""
    opened = []
    for url in urls:
        # The store's metadata chose this address: our keys go only where the store itself is.
        ours = _endpoint(url) == _endpoint(store_url)
        try:
            root = open_objects(
                url,
                create=False,
                access_key=access_key if ours else None,
                secret_key=secret_key if ours else None,
            )
        except NotFoundError as error:
            raise NotFoundError(
                f"The store at `{store_url}` keeps its blobs at `{url}`, which is not there",
                code="no-such-asset-root",
                hint="Mount the disk, or copy the directory back to this place",
            ) from error
        opened.append(root)
    return tuple(opened)


def sharing_stores(root: ObjectStore) -> dict[str, str]:
    """The stores that keep blobs here besides the one whose place it is: URL by store id."""
    found = {}
    for key in root.list(keys.SHARING):
        body = root.find(key)
        if body is not None:
            found[key.removeprefix(keys.SHARING)] = body.decode(errors="replace")
    return found


def _is_local(url: str) -> bool:
    return urlsplit(url).scheme == "file"


def _endpoint(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parse_qs(parts.query).get("endpoint_url", [""])[0]
