"""Pages: small documents that others keep beside the refs, each replaced by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mir_ops.store import keys
from mir_ops.store.backoff import Backoff
from mir_ops.store.objects import ObjectStore, OutcomeUnknownError, PreconditionError

_THREADS: Final = 16


def write_page(
    objects: ObjectStore, names: tuple[str, ...], make: Callable[[bytes | None], bytes]
) -> bool:
    """Put what `make` makes of the page as it is (None: absent) in its place; True: it changed.

    Where somebody else writes the page meanwhile, `make` is asked again: what it reads then is
    newer than what they read, so that an older page never replaces a newer one.
    """
    key, backoff = keys.page(*names), Backoff()
    while True:
        seen = objects.find_versioned(key)
        body = make(seen.body if seen else None)
        if seen is not None and seen.body == body:
            return False
        try:
            objects.swap(key, body, seen)
        except (PreconditionError, OutcomeUnknownError):
            if not backoff.wait():
                raise
        else:
            return True


def read_pages(objects: ObjectStore) -> dict[tuple[str, ...], bytes]:
    """All pages by their names."""
    found = list(objects.list(keys.PAGES))
    with ThreadPoolExecutor(_THREADS) as pool:
        bodies = pool.map(objects.find, found)
        return {
            keys.names_of_page(key): body
            for key, body in zip(found, bodies, strict=True)
            if body is not None
        }
