"""Walking back along histories, and where two of them meet."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from mir_ops.store.commits import Commit
from mir_ops.store.refs import find_moves_before

if TYPE_CHECKING:
    from mir_ops.store.store import Store

_THREADS: Final = 16


def read_line(store: Store, commit_id: str, most: int) -> list[Commit]:
    """A commit and those before it along first parents, the newest first; `most` at the most.

    A server far away is asked for many at a time.
    """
    found = [store.commit(commit_id)]
    early: set[str] = set()
    while len(found) < most and found[-1].parents:
        if found[-1].parents[0] not in early:
            early |= {each.id for each in read_before(store, found[-1], most - len(found))}
        found.append(store.commit(found[-1].parents[0]))
    return found


def read_before(store: Store, commit: Commit, most: int) -> list[Commit]:
    """Commits that the branch of this one had before it, read together; maybe not all."""
    ids = find_moves_before(store.objects, commit.id, commit.op_id, most)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(store.commit, ids))


def find_merge_base(read: Callable[[str], Commit], one: Commit, other: Commit) -> Commit | None:
    """The newest commit, by generation, that both descend from; None: the histories never met."""
    sides = {one.id: 1}
    sides[other.id] = sides.get(other.id, 0) | 2
    heap = [(-commit.generation, commit.id) for commit in {one.id: one, other.id: other}.values()]
    heapq.heapify(heap)
    while heap:
        _, commit_id = heapq.heappop(heap)
        commit = read(commit_id)
        if sides[commit_id] == 3:
            return commit
        for parent_id in commit.parents:
            if parent_id not in sides:
                heapq.heappush(heap, (-read(parent_id).generation, parent_id))
            sides[parent_id] = sides.get(parent_id, 0) | sides[commit_id]
    return None
