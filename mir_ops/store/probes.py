"""Whether a place keeps what a store is built on, tried out under real concurrency."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from mir_ops.errors import MirError, StoreError
from mir_ops.store.objects import ObjectStore, OutcomeUnknownError, PreconditionError, Versioned

# `conditions`: one request after another. `quick`: races too, once. `full`: races again and again.
Depth = Literal["conditions", "quick", "full"]
Outcome = Literal["kept", "broken", "warning"]

THREADS: Final = 16
_SKEW_WARNING: Final = 30.0  # seconds; at 15 minutes S3 stops to accept signatures
_NOT_NEEDED: Final = ("list-after-write", "swap-missing")  # today; a later version may need them
_LISTED_WITHIN: Final = 10.0
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One property and whether the place kept it."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a probe of one place found. `skew` is how far its clock is ahead of ours."""

    url: str
    depth: Depth
    time: float
    skew: float
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The properties that a store cannot do without."""
        return tuple(finding for finding in self.findings if finding.outcome == "broken")

    def check(self) -> None:
        """Refuse a place that would lose updates."""
        if self.broken:
            named = "; ".join(f"`{finding.name}`: {finding.detail}" for finding in self.broken)
            raise StoreError(
                f"`{self.url}` does not keep what a store needs: {named}",
                code="unsupported-server",
                hint="Use a local disk, or a server with If-Match and If-None-Match on PutObject",
            )

    def to_dict(self) -> dict[str, object]:
        """JSON-able, without the address."""
        return {
            "depth": self.depth,
            "time": round(self.time, 3),
            "skew": round(self.skew, 3),
            "findings": {finding.name: finding.outcome for finding in self.findings},
        }


class BrokenError(Exception):
    """A property was seen to be broken; the message says how."""


def probe(objects: ObjectStore, *, depth: Depth = "full") -> Probe:
    """Try out every property; what this writes under `meta/probe-…` it removes again."""
    tests = [("create-taken", create_taken), ("swap-stale", swap_stale)]
    if depth != "conditions":
        tests += [
            ("read-after-write", read_after_write),
            ("create-after-delete", create_after_delete),
            ("create-race", create_race),
            ("swap-race", swap_race),
        ]
    if depth == "full":
        tests += [("list-after-write", list_after_write), ("swap-missing", swap_missing)]
    with Bench.open(objects, rounds=3 if depth == "full" else 1) as bench:
        findings: list[Finding] = []
        for name, test in tests:
            findings.append(_finding(name, bench, test))
            if findings[-1].outcome == "broken":
                break  # what comes later builds on it
    skew = objects.clock() - time.time()
    return Probe(
        url=objects.url,
        depth=depth,
        time=objects.clock(),
        skew=skew,
        findings=(*findings, _clock(skew)),
    )


class Bench:
    """Keys to try things out with, removed afterwards."""

    def __init__(self, objects: ObjectStore, rounds: int) -> None:
        self.objects = objects
        self.rounds = rounds
        self.prefix = f"meta/probe-{secrets.token_hex(8)}"
        self.lost_answers = 0
        self._used: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, objects: ObjectStore, *, rounds: int) -> Iterator[Bench]:
        """Removes the keys also when a property was broken or the place stopped answering."""
        bench = cls(objects, rounds)
        try:
            yield bench
        finally:
            for key in bench._used:
                with suppress(MirError):
                    objects.delete(key)

    def key(self) -> str:
        """A key that nobody uses."""
        self._used.append(f"{self.prefix}-{len(self._used)}")
        return self._used[-1]

    def written(self, key: str, body: bytes, expected: Versioned | None) -> bool:
        """Whether a swap went through; False when it was refused. A lost answer is read back."""
        try:
            self.objects.swap(key, body, expected)
        except PreconditionError:
            return False
        except OutcomeUnknownError:
            self.lost_answers += 1
            return self.objects.find(key) == body  # no body is written twice
        return True

    def read(self, key: str) -> Versioned:
        """What is there, after something was written."""
        found = self.objects.find_versioned(key)
        if found is None:
            raise BrokenError("an object that was written is not found")
        return found

    def at_once(self, act: Callable[[int], bool], threads: int = THREADS) -> list[bool]:
        """Run in so many threads, started together."""
        gate = threading.Barrier(threads)

        def run(index: int) -> bool:
            gate.wait()
            return act(index)

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(run, range(threads)))


def create_taken(bench: Bench) -> str:
    """Creating what exists must be refused."""
    key = bench.key()
    if not bench.written(key, b"first", None):
        raise BrokenError("a new object was refused")
    if bench.written(key, b"second", None) or bench.read(key).body != b"first":
        raise BrokenError("creating an object that exists replaced it")
    return "creating what exists is refused"


def swap_stale(bench: Bench) -> str:
    """A swap of what was replaced meanwhile must be refused, one of what is there must not."""
    key = bench.key()
    bench.written(key, b"first", None)
    first = bench.read(key)
    if not bench.written(key, b"second", first):
        raise BrokenError("replacing an unchanged object was refused")
    if bench.written(key, b"third", first) or bench.read(key).body != b"second":
        raise BrokenError("an object was replaced although it had changed")
    return "replacing what changed is refused"


def swap_missing(bench: Bench) -> str:
    """A swap of what was deleted must not bring it back."""
    key = bench.key()
    bench.written(key, b"first", None)
    first = bench.read(key)
    bench.objects.delete(key)
    if bench.written(key, b"second", first) or bench.objects.find(key) is not None:
        raise BrokenError("replacing an object that was deleted created it")
    return "replacing what was deleted is refused"


def create_after_delete(bench: Bench) -> str:
    """A name can be used again after a deletion."""
    key = bench.key()
    for body in (b"first", b"second"):
        if not bench.written(key, body, None) or bench.read(key).body != body:
            raise BrokenError("creating an object again after deleting it was refused")
        bench.objects.delete(key)
        if bench.objects.find(key) is not None:
            raise BrokenError("a deleted object was still found")
    return "a deleted object can be created again"


def read_after_write(bench: Bench) -> str:
    """What was answered is read, by every connection."""
    key = bench.key()
    if bench.objects.find(key) is not None:  # a place that remembers absence shows it below
        raise BrokenError("an object that was never written was found")
    expected: Versioned | None = None
    for number in range(3 * bench.rounds):
        body = b"%d" % number
        if not bench.written(key, body, expected):
            raise BrokenError("replacing an unchanged object was refused")
        if not all(bench.at_once(partial(_reads, bench, key, body), 4 if bench.rounds > 1 else 1)):
            raise BrokenError("an older body was read after a newer one was written")
        expected = bench.read(key)
    return f"{3 * bench.rounds} writes were read at once"


def create_race(bench: Bench) -> str:
    """Of many creators of one object exactly one wins, and it is its body that stays."""
    for _ in range(bench.rounds):
        key = bench.key()
        won = bench.at_once(partial(_creates, bench, key))
        if sum(won) != 1:
            raise BrokenError(f"{sum(won)} of {THREADS} concurrent creators succeeded")
        if bench.read(key).body != b"%d" % won.index(True):
            raise BrokenError("the body of a creator that was refused stayed")
    return f"one of {THREADS} concurrent creators won, in {bench.rounds} of {bench.rounds} races"


def swap_race(bench: Bench) -> str:
    """A counter that many increment by compare-and-swap counts every acknowledged increment."""
    key = bench.key()
    bench.written(key, b"0", None)
    threads, each = (THREADS, 4) if bench.rounds > 1 else (8, 2)
    before = bench.lost_answers
    bench.at_once(partial(_increments, bench, key, each), threads)
    counted, made = int(bench.read(key).body.split()[0]), threads * each
    if counted < made:
        raise BrokenError(f"{made - counted} of {made} acknowledged updates were lost")
    if counted > made + bench.lost_answers - before:
        raise BrokenError(f"{made} updates were acknowledged, {counted} happened")
    return f"{threads} writers made {made} increments and all of them count"


def list_after_write(bench: Bench) -> str:
    """What was written is listed, if not at once then soon: only collection and checks list."""
    names = {bench.key() for _ in range(20)}
    for key in names:
        bench.written(key, b"listed", None)
    start = time.monotonic()
    while missing := names - set(bench.objects.list(bench.prefix)):
        if time.monotonic() - start > _LISTED_WITHIN:
            raise BrokenError(f"{len(missing)} of {len(names)} written objects are not listed")
        time.sleep(0.2)
    return "written objects are listed"


def _reads(bench: Bench, key: str, body: bytes, _: int) -> bool:
    return bench.read(key).body == body


def _creates(bench: Bench, key: str, index: int) -> bool:
    return bench.written(key, b"%d" % index, None)


def _increments(bench: Bench, key: str, amount: int, _: int) -> bool:
    writer = secrets.token_hex(8).encode()
    done = tries = 0
    deadline = time.monotonic() + _PATIENCE
    while done < amount:
        seen = bench.read(key)
        tries += 1
        body = b"%d %s %d" % (int(seen.body.split()[0]) + 1, writer, tries)
        if bench.written(key, body, seen):
            done += 1
        elif time.monotonic() > deadline:
            raise BrokenError("writers that try again and again never came through")
    return True


def _finding(name: str, bench: Bench, test: Callable[[Bench], str]) -> Finding:
    try:
        return Finding(name=name, outcome="kept", detail=test(bench))
    except BrokenError as error:
        outcome: Outcome = "warning" if name in _NOT_NEEDED else "broken"
        return Finding(name=name, outcome=outcome, detail=str(error))
    except StoreError as error:
        if error.code != "unsupported-server":
            raise
        return Finding(name=name, outcome="broken", detail=str(error))


def _clock(skew: float) -> Finding:
    detail = f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours"
    outcome: Outcome = "kept" if abs(skew) <= _SKEW_WARNING else "warning"
    return Finding(name="clock", outcome=outcome, detail=detail)


def lines(found: Probe) -> Sequence[str]:
    """The findings for people, one a line."""
    return [f"{one.outcome:8} {one.name:20} {one.detail}" for one in found.findings]
