"""What pages need of a store that takes long to find and never changes: kept for the next one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from mir_ops.console.versions.differences import Difference
from mir_ops.dataset.history import History
from mir_ops.dataset.searching import Facts, Hit, search
from mir_ops.store import keys

if TYPE_CHECKING:
    from mir_ops.dataset import Analysis
    from mir_ops.store import Store

_ANALYSES: Final = 64  # some 20 kB each
_THREADS: Final = 16
_DIFFERENCES: Final = 8  # 32 bytes for each image that differs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Findings:
    """One for a store. What is being found is found once: others who ask for any wait."""

    def __init__(self, store: Store) -> None:
        self.history = History(store)
        self._store = store
        self._facts: dict[str, Facts] = {}
        self._tags: dict[str, str] = {}
        self._analyses: _Kept[str, Analysis] = _Kept(_ANALYSES, self._analyse)
        self._differences: _Kept[tuple[str, str], Difference] = _Kept(
            _DIFFERENCES, lambda pair: Difference.of(store, *pair)
        )

    def analysis(self, commit: str) -> Analysis:
        """Histograms, balance and suggestions of a version, by its full id."""
        return self._analyses.get(commit)

    def difference(self, one: str, other: str) -> Difference:
        """What changed from one version to another, by their full ids."""
        return self._differences.get((one, other))

    def search(self, query: str) -> list[Hit]:
        """Versions of the whole store that are like the query, the best first."""
        names = {class_id: [name] for name, class_id in self._store.classes().items()}
        return search(self._store, query, class_names=names, known=self._facts)

    def tags(self) -> dict[str, list[str]]:
        """The tags of each version by its full id; a tag never moves, so each is read once."""
        listed = self._store.objects.list(keys.TAGS)
        names = sorted(keys.decode(key.removeprefix(keys.TAGS)) for key in listed)
        fresh = [name for name in names if name not in self._tags]
        with ThreadPoolExecutor(_THREADS) as pool:
            for name, commit in zip(fresh, pool.map(self._store.find_tag, fresh), strict=True):
                if commit is not None:
                    self._tags[name] = commit.id
        found: dict[str, list[str]] = {}
        for name in names:
            if name in self._tags:
                found.setdefault(self._tags[name], []).append(name)
        return found

    def _analyse(self, commit: str) -> Analysis:
        from mir_ops.dataset import analyse

        return analyse(self._store.read_commit_version(commit))


class _Kept(Generic[K, V]):
    """The last answers of a function that is asked from several threads."""

    def __init__(self, most: int, find: Callable[[K], V]) -> None:
        self._most, self._find = most, find
        self._found: OrderedDict[K, V] = OrderedDict()
        self._finding = Lock()

    def get(self, key: K) -> V:
        if (found := self._found.get(key)) is not None:
            return found
        with self._finding:
            if key not in self._found:
                self._found[key] = self._find(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
            return self._found[key]
