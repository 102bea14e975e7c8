"""The past of all branches: what commits say of themselves and where they come from.

Commits never change: each is read once and its few words are kept, so that a graph of ten thousand
versions is walked in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final

from mir_ops.store.ancestry import read_before

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store
    from mir_ops.store.refs import Ref

_THREADS: Final = 16
_AHEAD: Final = 4096  # versions of a branch that are read together
_PARENTS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One version, in the words of its commit; `boxes` and `labelled` are of the ground truth."""

    id: str
    parents: tuple[str, ...]
    inputs: tuple[str, ...]
    generation: int
    created_at: datetime
    kind: str
    author: str
    message: str
    keywords: tuple[str, ...]
    project: str | None
    round: str | None
    run: str | None
    images: int
    labelled: int
    boxes: int
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A branch: its newest version and that one's number; `deleted` ones can be restored."""

    name: str
    number: int
    first: int
    tip: Moment
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A version of a branch: `branch@V3`."""

    branch: str
    number: int

    def __str__(self) -> str:
        return f"{self.branch}@V{self.number}"


@dataclass(frozen=True, kw_only=True)
class Past:
    """The versions of a project, the newest first and each before its parents.

    `names` says what branches call each; one that a branch began with has its name elsewhere.
    """

    datasets: tuple[Dataset, ...]
    deleted: tuple[Dataset, ...]
    moments: Mapping[str, Moment]
    names: Mapping[str, tuple[Numbered, ...]]

    @cached_property
    def heirs(self) -> Mapping[str, tuple[Moment, ...]]:
        """What was made from each version, the newest first."""
        found: dict[str, list[Moment]] = {}
        for moment in self.moments.values():
            for source in dict.fromkeys((*moment.parents, *moment.inputs)):
                found.setdefault(source, []).append(moment)
        return {source: tuple(heirs) for source, heirs in found.items()}

    def of_branch(self, name: str) -> list[Moment]:
        """The versions of one branch, the newest first."""
        numbered = ((each, names) for each, names in self.names.items())
        held = {each for each, names in numbered if any(one.branch == name for one in names)}
        return [moment for commit, moment in self.moments.items() if commit in held]


class History:
    """What the commits of a store say; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Moment] = {}
        self._ended: dict[tuple[str, int], str | None] = {}
        self._read: dict[str | None, tuple[object, Past]] = {}
        self._lock = Lock()

    def read(self, project: str | None = None) -> Past:
        """The branches whose newest version is of the project, and their versions that are.

        Without a project: everything that is in the store.
        """
        heads = self._store.heads()
        state = tuple((name, ref.seq) for name, ref in heads.items())
        kept = self._read.get(project)
        if kept is not None and kept[0] == state:
            return kept[1]
        ends = {name: ref.commit or self._end_of(name, ref) for name, ref in heads.items()}
        with self._lock:
            self._learn(heads.values(), filter(None, ends.values()))
        found = [
            Dataset(
                name=name,
                number=ref.seq - (ref.commit is None),
                first=ref.first_seq,
                tip=self._known[end],
                deleted=ref.commit is None,
            )
            for name, ref in heads.items()
            if (end := ends[name]) and project in (None, self._known[end].project)
        ]
        alive = tuple(each for each in found if not each.deleted)
        moments = _in_order(self._known, [each.tip.id for each in alive], project)
        past = Past(
            datasets=alive,
            deleted=tuple(each for each in found if each.deleted),
            moments=moments,
            names=_names(self._known, alive, moments),
        )
        self._read[project] = (state, past)
        return past

    def _end_of(self, name: str, ref: Ref) -> str | None:
        """The commit that a deleted branch had."""
        from mir_ops.store.refs import find_deleted

        key = (name, ref.seq)
        if key not in self._ended:
            self._ended[key] = find_deleted(self._store.objects, ref) if ref.seen else None
        return self._ended[key]

    def _learn(self, heads: Iterable[Ref], ends: Iterable[str]) -> None:
        """Read all commits that these lead to and that are not known, many at a time."""
        waiting = {*ends, *(commit for ref in heads for _, commit in ref.recent)}
        with ThreadPoolExecutor(_THREADS) as pool:
            while missing := [commit for commit in waiting if commit not in self._known]:
                read = list(pool.map(self._store.commit, missing))
                self._known |= {commit.id: _moment(commit) for commit in read}
                oldest = [one for one in read if any(p not in self._known for p in one.parents)]
                waiting = {parent for commit in oldest for parent in commit.parents}
                if len(oldest) < _THREADS:
                    for commit in oldest:
                        before = read_before(self._store, commit, _AHEAD)
                        self._known |= {each.id: _moment(each) for each in before}
                        waiting.update(parent for each in before for parent in each.parents)


def _moment(commit: Commit) -> Moment:
    truth = commit.stats.layers.get("ground_truth")
    model = commit.operation.parameters.get("model")
    return Moment(
        id=commit.id,
        parents=commit.parents,
        inputs=commit.operation.inputs,
        generation=commit.generation,
        created_at=commit.created_at,
        kind=commit.operation.kind,
        author=commit.author,
        message=commit.message,
        keywords=commit.keywords,
        project=commit.project,
        round=commit.round,
        run=commit.run,
        images=commit.stats.assets,
        labelled=truth.assets if truth else 0,
        boxes=truth.rows if truth else 0,
        model=model if isinstance(model, str) else None,
    )


def _names(
    known: Mapping[str, Moment], datasets: Iterable[Dataset], shown: Mapping[str, Moment]
) -> dict[str, tuple[Numbered, ...]]:
    """Each branch counts its versions back along the first parents."""
    found: dict[str, list[Numbered]] = {}
    for each in datasets:
        commit = each.tip.id
        for number in range(each.number, each.first - 1, -1):
            if commit in shown:
                found.setdefault(commit, []).append(Numbered(branch=each.name, number=number))
            if not known[commit].parents:
                break
            commit = known[commit].parents[0]
    return {commit: tuple(names) for commit, names in found.items()}


def _in_order(
    known: Mapping[str, Moment], tips: Sequence[str], project: str | None
) -> dict[str, Moment]:
    """What the tips descend from, the newest first, each before its parents.

    What does not belong is left out: its descendants then have its nearest ancestors that do.
    """
    reached = _reached(known, tips)
    children = dict.fromkeys(reached, 0)
    for commit in reached:
        for parent in set(known[commit].parents):
            children[parent] += 1
    heap = [(-known[c].created_at.timestamp(), c) for c, count in children.items() if not count]
    heapq.heapify(heap)
    order: list[str] = []
    while heap:
        _, commit = heapq.heappop(heap)
        order.append(commit)
        for parent in set(known[commit].parents):
            children[parent] -= 1
            if not children[parent]:
                heapq.heappush(heap, (-known[parent].created_at.timestamp(), parent))
    return dict(_visible(known, order, project))


def _reached(known: Mapping[str, Moment], tips: Iterable[str]) -> set[str]:
    reached: set[str] = set()
    waiting = list(tips)
    while waiting:
        commit = waiting.pop()
        if commit not in reached:
            reached.add(commit)
            waiting.extend(known[commit].parents)
    return reached


def _visible(
    known: Mapping[str, Moment], order: Sequence[str], project: str | None
) -> Iterator[tuple[str, Moment]]:
    nearest: dict[str, tuple[str, ...]] = {}  # of each commit: itself, or its ancestors that belong
    shown: dict[str, Moment] = {}
    for commit in reversed(order):
        moment = known[commit]
        above = dict.fromkeys(seen for parent in moment.parents for seen in nearest[parent])
        parents = tuple(above)[:_PARENTS_SHOWN]
        if project in (None, moment.project):
            nearest[commit] = (commit,)
            same = parents == moment.parents
            shown[commit] = moment if same else replace(moment, parents=parents)
        else:
            nearest[commit] = parents
    return ((commit, shown[commit]) for commit in order if commit in shown)
