"""Many processes on a few branches, killed at random: what was acknowledged happened once."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import history_writer
import pytest
from sample_tables import recount

from mir_ops.store import Commit, Store
from mir_ops.store.audits import audit
from mir_ops.store.outcomes import find_outcome

BRANCHES = ("p/training", "p/pool", "p/labels", "q/training")


@dataclass(slots=True)
class Told:
    """What the writers were told, by operation."""

    branches: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)  # commit
    failed: set[str] = field(default_factory=set)

    @property
    def unknown(self) -> list[str]:
        """Those whose writer was killed, or was told that nobody knows."""
        return sorted(self.branches.keys() - self.acknowledged.keys() - self.failed)

    @classmethod
    def read(cls, folder: Path) -> Told:
        told = cls()
        for path in folder.glob("*.log"):
            for entry in map(json.loads, path.read_text().splitlines()):
                if "begin" in entry:
                    told.branches[entry["begin"]] = entry["branch"]
                elif "acknowledged" in entry:
                    told.acknowledged[entry["acknowledged"]] = entry["commit"]
                elif "failed" in entry:
                    told.failed.add(entry["failed"])
        return told


class Crowd:
    """Writers that are replaced when they are killed, until enough operations were begun."""

    def __init__(self, store: Store, folder: Path, *, processes: int, operations: int) -> None:
        self.killed = 0
        self._store, self._folder = store, folder
        self._processes, self._wanted = processes, operations
        self._each = max(4, operations // processes // 3)
        self._started = 0
        self._running: list[ForkServerProcess] = []
        # Writers start as forks of a process that has imported everything and has no threads.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["history_writer"])

    def run(self, *, kill_every: float, seconds: float) -> None:
        chosen = random.Random(0)
        deadline = time.monotonic() + seconds
        kill_at = time.monotonic() + 2 * kill_every
        answered = 0
        try:
            while self._fill():
                assert time.monotonic() < deadline, "the writers did not finish"
                threading.Event().wait(0.02)
                # On a busy machine, too, something is done between two kills.
                due = time.monotonic() > kill_at and self._count("acknowledged") > answered
                if due and self._running:
                    chosen.choice(self._running).kill()
                    self.killed += 1
                    answered = self._count("acknowledged")
                    kill_at = time.monotonic() + chosen.uniform(0.2, 1.8) * kill_every
        finally:
            for writer in self._running:
                writer.kill()
                writer.join()

    def _fill(self) -> bool:
        for writer in [one for one in self._running if not one.is_alive()]:
            assert writer.exitcode in (0, -signal.SIGKILL), f"a writer ended: {writer.exitcode}"
            self._running.remove(writer)
            writer.close()
        begun = self._count("begin")
        while begun < self._wanted and len(self._running) < self._processes:
            self._running.append(self._start())
        return bool(self._running)

    def _count(self, said: str) -> int:
        wanted = f'"{said}":'.encode()
        return sum(path.read_bytes().count(wanted) for path in self._folder.glob("*.log"))

    def _start(self) -> ForkServerProcess:
        name = f"writer{self._started}"
        self._started += 1
        path = self._folder / f"{name}.log"
        arguments = (self._store.url, path, name, self._each, BRANCHES)
        writer = self._context.Process(target=history_writer.write, args=arguments)
        writer.start()
        return writer


def logs(store: Store) -> dict[str, list[Commit]]:
    return {branch.name: list(branch.log()) for branch in store.branches()}


def check_history(store: Store, told: Told) -> None:
    """Acknowledged exactly once and where it was said; failed never; unknown at most once."""
    history = logs(store)
    happened = Counter(commit.op_id for commits in history.values() for commit in commits)
    where = {c.op_id: (name, c.id) for name, commits in history.items() for c in commits}
    for op_id, commit in told.acknowledged.items():
        assert happened[op_id] == 1, f"acknowledged {op_id} happened {happened[op_id]} times"
        assert where[op_id] == (told.branches[op_id], commit)
    assert [op_id for op_id in told.failed if happened[op_id]] == []
    assert [op_id for op_id in told.unknown if happened[op_id] > 1] == []
    strangers = [op for op in happened if op not in told.branches and "compact" not in op]
    assert strangers == []
    for name, commits in history.items():
        assert store.branch(name).seq == len(commits)
        assert [commit.generation for commit in commits] == sorted(
            (commit.generation for commit in commits), reverse=True
        )


def check_outcomes(store: Store, told: Told, op_ids: Sequence[str]) -> None:
    """`mir store resolve` agrees with the history."""
    happened = {c.op_id: c.id for commits in logs(store).values() for c in commits}
    for op_id in op_ids:
        outcome = find_outcome(store, op_id)
        if op_id in happened:
            assert outcome.commit is not None
            assert (outcome.branch, outcome.commit.id) == (told.branches[op_id], happened[op_id])
        else:
            expected = ("not-committed",) if op_id in told.failed else ("not-committed", "unknown")
            assert outcome.state in expected


def check_content(store: Store) -> None:
    report = audit(store, "deep")
    assert report.clean, report.problems[:5]
    for branch in store.branches():
        recount(branch.read())


@pytest.mark.parametrize(
    ("processes", "operations", "kill_every"),
    [
        pytest.param(4, 40, 0.7, id="quick"),
        pytest.param(
            8,
            2200,
            1.0,
            id="long",
            marks=[pytest.mark.long, pytest.mark.timeout(3000)],
        ),
    ],
)
def test_killed_writers_lose_and_repeat_nothing(
    local_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    operations: int,
    kill_every: float,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    folder = tmp_path / "logs"
    folder.mkdir()
    crowd = Crowd(local_store, folder, processes=processes, operations=operations)

    crowd.run(kill_every=kill_every, seconds=2900)

    told = Told.read(folder)
    assert len(told.branches) >= operations
    assert crowd.killed >= 1
    assert len(told.acknowledged) > operations // 4
    assert len(local_store.branches()) == len(BRANCHES)
    check_history(local_store, told)
    check_outcomes(local_store, told, [*told.unknown, *sorted(told.failed)][:200])
    check_content(local_store)
    record_property(
        "figure",
        f"{len(told.branches)} operations: {len(told.acknowledged)} acknowledged, "
        f"{len(told.failed)} refused, {len(told.unknown)} unknown, {crowd.killed} kills",
    )

    for op_id in told.unknown:  # running an operation again settles it
        history_writer.edit(local_store, told.branches[op_id], op_id, random.Random(op_id))

    happened = Counter(c.op_id for commits in logs(local_store).values() for c in commits)
    assert [op_id for op_id in told.unknown if happened[op_id] != 1] == []
    assert audit(local_store, "meta").clean
