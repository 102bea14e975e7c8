"""Every step of a commit, a merge and a compaction fails in every way: old or new, no third."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty_objects import KINDS, FaultyObjects, Killed, copied
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows, commit_assets, recount

from mir_ops.errors import MirError
from mir_ops.store import Store, backoff, local, pins, refs, sidecars
from mir_ops.store.audits import audit
from mir_ops.store.objects import MemoryObjects

IDS, NEW, OTHER = asset_ids(6), asset_ids(3, seed=5), asset_ids(4, seed=6)


def commit(store: Store) -> str:
    with store.edit("b", op_id="op", operation=OPERATION, message="Change") as edit:
        edit.put_assets(asset_rows(NEW, split="val"))
        edit.remove_assets(IDS[:1])
        edit.put_layer("ground_truth", box_rows(NEW, class_id=2), assets=NEW)
    return edit.commit.id


def merge(store: Store) -> str:
    sources = store.resolve("b"), [store.resolve("guest")]
    return store.merge("b", *sources, op_id="op", operation=OPERATION, message="Merge").id


def compact(store: Store) -> str:
    return store.compact("b", op_id="op").id


@dataclass(frozen=True)
class Case:
    run: Callable[[Store], str]
    assets: int


CASES = {
    "commit": Case(commit, 8),
    "merge": Case(merge, 10),
    "compaction": Case(compact, 6),
}


@pytest.fixture(scope="module")
def prepared() -> MemoryObjects:
    objects = MemoryObjects()
    prepare(Store.on(objects, create=True))
    return objects


def prepare(store: Store) -> None:
    """A branch with deltas on its base, and another that comes from it."""
    commit_assets(store, "b", IDS, op_id="first", boxes=2)
    with store.edit(
        "guest", op_id="guest", operation=OPERATION, message="Guest", base=store.read("b")
    ) as edit:
        edit.put_assets(asset_rows(OTHER))
        edit.put_layer("ground_truth", box_rows(OTHER, class_id=1), assets=OTHER)
    with store.edit("b", op_id="second", operation=OPERATION, message="Second") as edit:
        edit.put_layer("ground_truth", box_rows(IDS[:2], 3, class_id=3), assets=IDS[:3])
        edit.put_assets(asset_rows(IDS[:2], split="train"))


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff.time, "sleep", lambda _: None)
    for module in (refs, pins):
        monkeypatch.setattr(module, "Backoff", lambda: backoff.Backoff(deadline_seconds=0.5))


def try_everything(
    prepared: MemoryObjects, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> int:
    """How many steps failed in this way; raises unless all of them left the store as promised."""
    monkeypatch.setattr(sidecars, "_open", {})
    counting = FaultyObjects(copied(prepared))
    CASES[name].run(Store(counting, ""))
    for step in range(1, counting.steps + 1):
        try_one(prepared, CASES[name], kind, step, monkeypatch)
    return counting.steps


def try_one(
    prepared: MemoryObjects, case: Case, kind: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecars, "_open", {})
    objects = copied(prepared)
    before = Store(objects, "").resolve("b")
    faulty = FaultyObjects(objects, step, kind)
    reported = None
    try:
        reported = case.run(Store(faulty, ""))
    except (Killed, MirError):
        assert faulty.happened
    tip = Store(objects, "").resolve("b")
    assert tip.id == before.id or (tip.op_id, tip.parents[0]) == ("op", before.id)
    assert reported in (None, tip.id)
    faulty.arrive_late()
    assert Store(objects, "").resolve("b").id == tip.id

    again = case.run(Store(objects, ""))

    store = Store(objects, "")
    operations = [one.op_id for one in store.branch("b").log()]
    assert operations == ["op", "second", "first"]
    assert again == store.resolve("b").id
    assert reported in (None, again)
    version = store.read("b")
    assert version.stats.assets == case.assets
    recount(version)
    assert_sound(store)


def assert_sound(store: Store) -> None:
    report = audit(store, "meta")
    assert report.clean, report.problems


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", ["kill after", "answer lost", "flipped"])
@pytest.mark.parametrize("name", ["merge"])
def test_a_fault_leaves_old_or_new(
    prepared: MemoryObjects, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = try_everything(prepared, name, kind, monkeypatch)

    assert steps > 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("no_waiting")
def test_every_fault_at_every_step_leaves_old_or_new(
    prepared: MemoryObjects,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    figures = []
    for name in CASES:
        steps = [try_everything(prepared, name, kind, monkeypatch) for kind in KINDS]
        assert min(steps) == max(steps)
        figures.append((name, steps[0]))

    for name, amount in figures:
        record_property("figure", f"{name}: {amount} steps x {len(KINDS)} faults, all clean")
    total = sum(amount for _, amount in figures) * len(KINDS)
    record_property("figure", f"in all: {total} faults, all clean")


class FailingDisk:
    """Counts writes, links, renames and directory flushes of a local store; one of them fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int = -1, kind: str = "") -> None:
        self.steps = 0
        self.fail_at = fail_at
        self.kind = kind
        write = local._write

        def writing(path: Path, body: bytes | Path) -> None:
            if self._now() and self.kind == "short write":
                content = body if isinstance(body, bytes) else body.read_bytes()
                path.write_bytes(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            self._fail()
            write(path, body)

        monkeypatch.setattr(local, "_write", writing)
        for owner, name in ((local, "_sync_directory"), (os, "link"), (os, "replace")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, do: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: object) -> None:
            self._now()
            self._fail()
            do(*args)

        return counted

    def _now(self) -> bool:
        self.steps += 1
        return self.steps == self.fail_at

    def _fail(self) -> None:
        if self.steps != self.fail_at:
            return
        if self.kind == "kill":
            raise Killed
        raise OSError(errno.EIO if self.kind == "input-output error" else errno.ENOSPC, self.kind)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    "kind",
    [
        "short write",
        pytest.param("input-output error", marks=pytest.mark.long),
        pytest.param("kill", marks=pytest.mark.long),
    ],
)
def test_failing_disk_leaves_old_or_new(kind: str, tmp_path: Path) -> None:
    prepare(Store.open(str(tmp_path / "prepared"), create=True))
    shutil.copytree(tmp_path / "prepared", tmp_path / "count")
    with pytest.MonkeyPatch.context() as patch:
        counting = FailingDisk(patch)
        commit(Store.open(str(tmp_path / "count")))
    assert counting.steps > 15

    for step in range(1, counting.steps + 1):
        root = tmp_path / str(step)
        shutil.copytree(tmp_path / "prepared", root)
        before = Store.open(str(root)).resolve("b").id
        reported = None
        with pytest.MonkeyPatch.context() as patch, suppress(Killed, MirError):
            FailingDisk(patch, step, kind)
            reported = commit(Store.open(str(root)))
        store = Store.open(str(root))
        tip = store.resolve("b")
        assert tip.id == before or tip.op_id == "op"
        assert reported in (None, tip.id)

        again = commit(store)

        assert [one.op_id for one in store.branch("b").log()] == ["op", "second", "first"]
        assert store.resolve("b").id == again
        assert_sound(store)
        shutil.rmtree(root)
