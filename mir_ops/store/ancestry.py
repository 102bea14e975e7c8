"""Where two histories meet."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from mir_ops.store.commits import Commit


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
