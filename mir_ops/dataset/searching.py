"""Find dataset versions by what their commits say: no row, and no manifest, is read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mir_ops.dataset.keywords import tokens

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store

# How much it counts where a word was found, and how alike two words must be at least.
_WEIGHTS: Final = {"keyword": 4.0, "class": 3.0, "dataset": 3.0, "message": 2.0}
_ALIKE: Final = 0.75
_SHORTEST_PART: Final = 3
_THREADS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a commit says that a search looks at."""

    id: str
    parent: str | None
    created: float
    kind: str
    assets: int
    message: str
    author: str
    keywords: tuple[str, ...]
    classes: tuple[int, ...]

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, UTC)


_FIELDS: Final = tuple(field.name for field in fields(Facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A version that a search found. `matched` names the fields and words that were like it."""

    branch: str
    number: int
    facts: Facts
    matched: tuple[str, ...]
    words: int
    score: float


def search(
    store: Store,
    query: str,
    *,
    class_names: Mapping[int, Sequence[str]],
    memory: Path | None = None,
    known: dict[str, Facts] | None = None,
) -> list[Hit]:
    """The versions of all branches that are like the query, the best and newest first.

    Versions that have all of its words, or else those that have the most. `class_names` are the
    names and aliases of the classes; `memory` is a file that keeps what commits say between calls,
    `known` a mapping that does.
    """
    words = list(dict.fromkeys(tokens(query)))
    versions = list(_Versions(store, memory, known).all())
    vocabulary = _Vocabulary(class_names)
    texts = [vocabulary.fields(branch, facts) for branch, _, facts in versions]
    alike = {word: _alike(word, vocabulary.words) for word in words}
    hits = []
    for (branch, number, facts), found in zip(versions, texts, strict=True):
        hit = _hit(branch, number, facts, found, alike)
        if hit is not None:
            hits.append(hit)
    most = max((hit.words for hit in hits), default=0)
    best = [hit for hit in hits if hit.words == most]
    return sorted(best, key=lambda hit: (-hit.score, -hit.facts.created, hit.branch))


class _Versions:
    """What the commits of all branches say; commits never change, so each is read once."""

    def __init__(self, store: Store, memory: Path | None, known: dict[str, Facts] | None) -> None:
        self._store = store
        self._memory = memory
        self._known = _read_memory(memory) if known is None else known
        self._fresh: list[Facts] = []

    def all(self) -> Iterator[tuple[str, int, Facts]]:
        """Branch, number and facts of every version."""
        refs = [(branch.name, branch.ref()) for branch in self._store.branches()]
        recent = {commit for _, ref in refs for _, commit in ref.recent} - self._known.keys()
        with ThreadPoolExecutor(_THREADS) as pool:
            for commit in pool.map(self._store.commit, recent):
                self._learn(commit)
        for name, ref in refs:
            commit_id = ref.commit
            for number in range(ref.seq, ref.first_seq - 1, -1):
                if commit_id is None:
                    break
                facts = self._facts(commit_id)
                yield name, number, facts
                commit_id = facts.parent
        self._remember()

    def _facts(self, commit_id: str) -> Facts:
        if commit_id not in self._known:
            self._learn(self._store.commit(commit_id))
        return self._known[commit_id]

    def _learn(self, commit: Commit) -> None:
        layers = commit.stats.layers.values()
        facts = Facts(
            id=commit.id,
            parent=commit.parents[0] if commit.parents else None,
            created=commit.created_at.timestamp(),
            kind=commit.operation.kind,
            assets=commit.stats.assets,
            message=commit.message,
            author=commit.author,
            keywords=commit.keywords,
            classes=tuple(sorted({class_id for layer in layers for class_id in layer.classes})),
        )
        self._known[commit.id] = facts
        self._fresh.append(facts)

    def _remember(self) -> None:
        if self._memory is None or not self._fresh:
            return
        lines = [json.dumps([getattr(facts, name) for name in _FIELDS]) for facts in self._fresh]
        # A folder that may only be read is no mistake: the store is read again another time.
        with suppress(OSError), self._memory.open("a", encoding="ascii") as file:
            file.write("\n".join([*lines, ""]))


class _Vocabulary:
    """The words of versions, gathered once each."""

    def __init__(self, class_names: Mapping[int, Sequence[str]]) -> None:
        self.words: set[str] = set()
        self._classes = {
            class_id: tuple(word for name in names for word in tokens(name))
            for class_id, names in class_names.items()
        }
        self._texts: dict[str, tuple[str, ...]] = {}

    def fields(self, branch: str, facts: Facts) -> dict[str, tuple[str, ...]]:
        """The words of each field of a version."""
        found = {
            "keyword": tuple(word for text in facts.keywords for word in self._words_of(text)),
            "class": tuple(
                w for class_id in facts.classes for w in self._classes.get(class_id, ())
            ),
            "dataset": self._words_of(branch),
            "message": self._words_of(facts.message),
        }
        self.words.update(*found.values())
        return found

    def _words_of(self, text: str) -> tuple[str, ...]:
        if text not in self._texts:
            self._texts[text] = tuple(tokens(text))
        return self._texts[text]


def _alike(word: str, vocabulary: set[str]) -> dict[str, float]:
    """The words of the vocabulary that are like a word, from 0 to 1."""
    found: dict[str, float] = {}
    matcher = difflib.SequenceMatcher(b=word, autojunk=False)
    for other in vocabulary:
        if other == word:
            found[other] = 1.0
        elif len(word) >= _SHORTEST_PART and other.startswith(word):
            found[other] = 0.9
        elif len(word) >= _SHORTEST_PART and word in other:
            found[other] = 0.8
        elif 2 * min(len(word), len(other)) >= _ALIKE * (len(word) + len(other)):
            matcher.set_seq1(other)
            if matcher.quick_ratio() >= _ALIKE and (ratio := matcher.ratio()) >= _ALIKE:
                found[other] = 0.7 * ratio
    return found


def _hit(
    branch: str,
    number: int,
    facts: Facts,
    fields: Mapping[str, tuple[str, ...]],
    alike: Mapping[str, Mapping[str, float]],
) -> Hit | None:
    matched, score, words = [], 0.0, 0
    for likes in alike.values():
        found = [
            (_WEIGHTS[field] * likes[word], f"{field} {word}")
            for field, held in fields.items()
            for word in held
            if word in likes
        ]
        if found:
            best = max(found)
            words, score = words + 1, score + best[0]
            matched.append(best[1])
    if not words:
        return None
    return Hit(
        branch=branch,
        number=number,
        facts=facts,
        matched=tuple(dict.fromkeys(matched)),
        words=words,
        score=score,
    )


def _read_memory(memory: Path | None) -> dict[str, Facts]:
    known: dict[str, Facts] = {}
    try:
        lines = memory.read_text(encoding="ascii").split("\n") if memory else []
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        with suppress(ValueError, TypeError):  # the end of a file whose writer was killed
            values = dict(zip(_FIELDS, json.loads(line), strict=True))
            lists = {name: tuple(values[name]) for name in ("keywords", "classes")}
            known[values["id"]] = Facts(**values | lists)
    return known
