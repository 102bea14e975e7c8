"""What piles up on a host goes, and nothing that somebody may want."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mir_ops.cli.main import main
from mir_ops.errors import InvalidInputError
from mir_ops.executor.keeper import started_at
from mir_ops.executor.owners import owner_path, owning
from mir_ops.upkeep.cleaning import (
    DAY,
    Rules,
    Stale,
    Wanted,
    find_jobs,
    find_labelled,
    find_logs,
    remove,
)
from mir_ops.workspace import Workspace

OP = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


def make_old(path: Path, *, days: float = 30) -> Path:
    """As if nothing in it was changed for so long."""
    past = time.time() - days * DAY
    for each in [*path.rglob("*"), path]:
        os.utime(each, (past, past), follow_symlinks=False)
    return path


def job(work_dir: Path, op_id: str = OP, *, days: float = 30) -> Path:
    folder = work_dir / "jobs" / op_id
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "model.bin").write_bytes(b"x" * 1000)
    return make_old(folder, days=days)


def stale_in(work_dir: Path, *, wanted: Wanted | None = None) -> list[Stale]:
    return list(find_jobs(work_dir, wanted=wanted or Wanted(), rules=Rules()))


def test_an_old_job_goes_with_all_in_it(tmp_path: Path) -> None:
    folder = job(tmp_path)

    (found,) = stale_in(tmp_path)
    assert (found.kind, found.path, found.byte_size) == ("job", folder, 1000)
    assert found.age > 29 * DAY
    assert remove(found, tmp_path / "jobs")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_young_file_in_it_keeps_a_job(tmp_path: Path) -> None:
    (job(tmp_path) / "out" / "model.bin").touch()
    assert stale_in(tmp_path) == []


def test_a_job_of_an_open_round_or_of_a_container_stays(tmp_path: Path) -> None:
    job(tmp_path)
    assert stale_in(tmp_path, wanted=Wanted(operations={OP})) == []


def test_a_job_that_a_task_owns_stays(tmp_path: Path) -> None:
    job(tmp_path)
    with owning(tmp_path / "jobs", OP + "f" * 32):
        assert stale_in(tmp_path) == []


def test_a_job_that_a_task_takes_up_meanwhile_stays(tmp_path: Path) -> None:
    folder = job(tmp_path)
    (found,) = stale_in(tmp_path)
    with owning(tmp_path / "jobs", OP):
        assert not remove(found, tmp_path / "jobs")
    assert folder.is_dir()


def test_a_task_waits_until_its_old_job_is_gone(tmp_path: Path) -> None:
    """Removing owns the job: a task never finds half of one."""
    seen: list[bool] = []
    for number in range(20):
        folder = job(tmp_path)
        (found,) = stale_in(tmp_path)

        def task(folder: Path = folder) -> None:
            with owning(tmp_path / "jobs", OP):
                whole = {path.name for path in folder.rglob("*")} == {"out", "model.bin"}
                seen.append(whole or not folder.exists())

        worker = threading.Thread(target=task)
        worker.start()
        if number % 2:
            time.sleep(0.001)
        remove(found, tmp_path / "jobs")
        worker.join()
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if folder.exists():
            folder.rmdir()
    assert seen == [True] * 20


def test_a_job_whose_executor_runs_stays(tmp_path: Path) -> None:
    """A child process outlives the task that started it: nobody holds the lock then."""
    folder = job(tmp_path)
    record = folder / "process.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record.write_text(json.dumps({"pid": child.pid, "started": started_at(child.pid)}))
        make_old(folder)
        assert stale_in(tmp_path) == []
        child.communicate(b"\n")
    assert [found.path for found in stale_in(tmp_path)] == [folder]
    record.write_text("{")
    make_old(folder)
    assert stale_in(tmp_path) == []  # nobody can tell


def test_locks_without_an_owner_go(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    path = owner_path(tmp_path / "jobs", OP)
    path.touch()
    make_old(path)

    (found,) = stale_in(tmp_path)
    assert remove(found, tmp_path / "jobs")
    assert not path.exists()


def test_only_names_of_ours_are_looked_at(tmp_path: Path) -> None:
    for name in ("mine", OP.upper(), f"{OP}0", "..", f"{OP}-backup", f"{OP}.lock.txt"):
        if name != "..":
            (tmp_path / "jobs" / name).mkdir(parents=True)
    for name in ("cache", "labels", "model-zoo", "copy-of-data", "pictures"):
        (tmp_path / name).mkdir()
    make_old(tmp_path)
    assert stale_in(tmp_path) == []


def test_files_of_killed_processes_go(tmp_path: Path) -> None:
    names = ("model-ab12cd34", "copy-abcd_123", "jobs/pictures-x1y2z3a4")
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    make_old(tmp_path, days=3)

    assert sorted(found.path for found in stale_in(tmp_path)) == sorted(
        tmp_path / name for name in names
    )


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious" / "file").write_text("x")
    work = tmp_path / "work"
    (work / "jobs").mkdir(parents=True)
    (work / "jobs" / OP).symlink_to(outside / "precious")
    inside = work / "jobs" / OTHER
    inside.mkdir()
    (inside / "out").symlink_to(outside / "precious")
    make_old(tmp_path)

    (found,) = stale_in(work)
    assert found.path == inside
    assert remove(found, work / "jobs")
    assert (outside / "precious" / "file").read_text() == "x"
    assert (work / "jobs" / OP).is_symlink()


def test_a_folder_that_becomes_a_link_is_left(tmp_path: Path) -> None:
    folder = job(tmp_path)
    (found,) = stale_in(tmp_path)
    precious = tmp_path / "precious"
    folder.rename(precious)
    folder.symlink_to(precious)

    assert not remove(found, tmp_path / "jobs")
    assert (precious / "out" / "model.bin").is_file()


def test_logs_of_old_runs_go_and_those_of_open_rounds_stay(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    run, waiting = "manual__2026-01-01T00:00:00+00:00", "weeks/of waiting"
    for name in (run, "young", waiting.replace("/", "%2F").replace(" ", "%20")):
        (logs / "dag_id=round__digits" / f"run_id={name}" / "task_id=train").mkdir(parents=True)
    (logs / "dag_processor" / "2026-01-01" / "dags-folder").mkdir(parents=True)
    (logs / "mine" / "run_id=x").mkdir(parents=True)
    make_old(logs, days=200)
    make_old(logs / "dag_id=round__digits" / "run_id=young", days=100)

    wanted = Wanted(runs={("round__digits", waiting)})
    found = find_logs(logs, wanted=wanted, rules=Rules())
    assert [one.path.relative_to(logs).as_posix() for one in found] == [
        f"dag_id=round__digits/run_id={run}",
        "dag_processor/2026-01-01",
    ]


def test_a_term_of_less_than_a_day_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="`job_days` is 0: what is a day old may be in use"):
        Rules(job_days=0)


def test_the_command_shows_first_and_then_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    folder = job(tmp_path / ".mir" / "work")
    capsys.readouterr()

    assert main(["clean", "--dry-run"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert folder.is_dir()
    assert main(["clean"]) == 0
    assert "Removed 1 thing, 1000 bytes" in capsys.readouterr().err
    assert not folder.exists()


def test_what_an_open_round_needs_is_asked_of_the_catalog(tmp_path: Path) -> None:
    from mir_ops.catalog import apply_project
    from mir_ops.upkeep.housekeeping import clean

    work = tmp_path / "work"
    ws = Workspace(
        store_url=(tmp_path / "store").as_uri(),
        catalog_url=f"sqlite:///{tmp_path / 'catalog.db'}",
        work_dir=work,
    )
    spec = apply_project(
        ws.catalog,
        {
            "name": "digits",
            "classes": ["one"],
            "sources": {"training": "/t.zip", "validation": "/v.zip", "pool": "/p.zip"},
            "executor": {"name": "sample"},
        },
    ).spec
    opened = ws.catalog.rounds.open(
        "digits", deployment="local", dag_id="dag", run_id="run-1", spec=spec, conf={}
    )
    ws.catalog.steps.start(opened.id, "train", OP + "0" * 32)
    wanted, unwanted = job(work), job(work, OTHER)

    assert [one.path for one in clean(ws, rules=Rules()).removed] == [unwanted]
    assert wanted.is_dir()
    ws.catalog.rounds.fail(opened.id, reason="given up")
    assert [one.path for one in clean(ws, rules=Rules()).removed] == [wanted]


def label_task(labels: Path, name: str, *, closed: bool) -> Path:
    task = labels / name
    for file in ("images/a.jpg", "done/a.xml", "request.json"):
        (task / file).parent.mkdir(parents=True, exist_ok=True)
        (task / file).write_bytes(b"x" * 100)
    if closed:
        (task / "closed").write_bytes(b"x")
    return make_old(task, days=100)


def test_of_a_label_task_that_is_over_the_images_go_and_peoples_work_stays(tmp_path: Path) -> None:
    over = label_task(tmp_path, "street-round-1-0123456789ab", closed=True)
    label_task(tmp_path, "street-round-2-0123456789ab", closed=False)
    label_task(tmp_path, "somebodys-folder", closed=True)
    half = tmp_path / ".street-round-3-0123456789ab.77.partial"
    (half / "images").mkdir(parents=True)
    make_old(half)

    half_found, found = find_labelled(tmp_path, rules=Rules())
    assert (half_found.kind, half_found.path) == ("temporary", half)
    assert (found.kind, found.path, found.byte_size) == ("labelled", over / "images", 100)
    assert remove(found, tmp_path / "jobs")
    assert sorted(path.name for path in over.iterdir()) == ["closed", "done", "request.json"]
    assert [one.kind for one in find_labelled(tmp_path, rules=Rules())] == ["temporary"]


def test_a_label_task_that_closed_lately_keeps_its_images(tmp_path: Path) -> None:
    task = label_task(tmp_path, "street-round-1-0123456789ab", closed=True)
    (task / "closed").touch()
    assert list(find_labelled(tmp_path, rules=Rules())) == []


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    from mir_ops.upkeep.housekeeping import clean

    ws = Workspace(
        store_url=(tmp_path / "store").as_uri(),
        catalog_url=f"sqlite:///{tmp_path / 'none' / 'catalog.db'}",
        work_dir=tmp_path / "work",
    )
    task = label_task(ws.work_dir / "labels", "street-round-1-0123456789ab", closed=True)
    kept = job(ws.work_dir)
    (tmp_path / "none").write_text("where the catalog's folder would be")

    done = clean(ws, rules=Rules())

    assert [one.path for one in done.removed] == [task / "images"]
    assert [reason.partition(":")[0] for reason in done.failed] == ["jobs"]  # who asks no catalog
    assert kept.is_dir()


@pytest.mark.docker
def test_builds_that_lost_their_name_go_and_what_anybody_names_or_uses_stays(
    engine: Any, tmp_path: Path
) -> None:
    from mir_ops.catalog import Catalog
    from mir_ops.upkeep.old_images import LABEL, find_old_images, remove_image

    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    mark = secrets.token_hex(4)

    def build(number: int, label: str, tag: str | None = None) -> str:
        file = io.BytesIO(f"FROM scratch\nLABEL {label}={mark} number={number}\n".encode())
        return str(engine.images.build(fileobj=file, tag=tag, rm=True)[0].id)

    nameless, older = build(1, LABEL), build(2, LABEL, f"mir-ops/test-{mark}:0.0.0")
    registered, contained = build(3, LABEL), build(4, LABEL)
    named = build(5, LABEL, f"somebody/test-{mark}:1")
    others = build(6, "theirs")
    every = [nameless, older, registered, contained, named, others]
    container = engine.api.create_container(contained, command="x")
    catalog.executors.add(
        name="mine", image="mine:1", folder=None, digest=registered, network=False,
        run_as_root=False, protocol="1.1.0", templates={},
    )  # fmt: skip
    try:
        now = time.time() + 31 * DAY
        old = find_old_images(engine.api, catalog, days=30, now=now)
        found = [one for one in old if one.image_id in every]
        assert {one.image_id for one in found} == {nameless, older}
        young = find_old_images(engine.api, catalog, days=30)
        assert not {one.image_id for one in young} & {*every}
        assert all(remove_image(engine.api, one) for one in found)
        left = {*every} & {*engine.api.images(quiet=True, all=True)}
        assert left == {registered, contained, named, others}
    finally:
        engine.api.remove_container(container)
        for image_id in {*every} & {*engine.api.images(quiet=True, all=True)}:
            engine.api.remove_image(image_id, force=True)
        catalog.close()
