"""The DAG `housekeeping` on a real scheduler: what goes, what stays, and a part that fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from round_worlds import RoundWorld

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.upkeep.cleaning import DAY

pytestmark = [pytest.mark.airflow, pytest.mark.long, pytest.mark.timeout(600)]

DAG = "housekeeping"
SECONDS = 240.0
OLD, OPEN, YOUNG = ("0a" * 16, "1b" * 16, "2c" * 16)
TASK = "street-round-1-0123456789ab"
ASKING = "street-round-2-0123456789ab"


def make(path: Path, *, days: float = 0) -> Path:
    """A file, and a folder for it; changed so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    past = time.time() - days * DAY
    for each in (path, path.parent):
        os.utime(each, (past, past))
    return path


def until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def test_it_cleans_what_is_old_and_a_part_that_fails_stops_no_other(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    client, work = airflow.client, world.workspace.work_dir
    logs = airflow.home / "logs"
    until(lambda: all(run.finished for run in client.runs(DAG)), "its scheduled run ended")
    world.apply("street")
    catalog = world.workspace.catalog
    spec = catalog.projects.get("street").spec
    round_ = catalog.rounds.open(
        "street", deployment="local", dag_id="dag", run_id="run-1", spec=spec, conf={}
    )
    catalog.steps.start(round_.id, "train", OPEN + "0" * 32)
    goes = [
        make(work / "jobs" / OLD / "model.bin", days=30),
        make(work / "model-ab12cd34" / "part", days=3),
        make(work / "labels" / TASK / "images" / "a.jpg", days=100),
        make(logs / "dag_id=dag" / "run_id=run-0" / "attempt=1.log", days=200),
    ]
    stays = [
        make(work / "jobs" / OPEN / "model.bin", days=30),
        make(work / "jobs" / YOUNG / "model.bin", days=3),
        make(work / "labels" / TASK / "done" / "a.xml", days=100),
        make(work / "labels" / TASK / "request.json", days=100),
        make(work / "labels" / TASK / "closed", days=100),
        make(work / "labels" / ASKING / "images" / "a.jpg", days=100),
        make(work / "labels" / ASKING / "request.json", days=100),
        make(work / "mine" / "file", days=1000),
        make(logs / "dag_id=dag" / "run_id=run-1" / "attempt=1.log", days=200),
    ]
    wrong = make(work / "downloads" / "00" / "lock" / "file", days=30).parent  # no file of ours

    run = client.trigger(DAG, conf={"dry_run": True})
    assert client.wait_for_run(DAG, run.run_id, timeout=SECONDS).state == "success"
    assert client.xcom(DAG, run.run_id, "clean")["removed"] == len(goes)
    assert all(path.exists() for path in (*goes, *stays))

    run = client.trigger(DAG, conf={})
    until(
        lambda: client.task_states(DAG, run.run_id)["clean"] == "up_for_retry",
        "the part that fails is told",
    )
    assert [path for path in goes if path.exists()] == []
    assert [path for path in stays if not path.exists()] == []
    log = client.log(DAG, run.run_id, "clean", try_number=1)
    assert "Not all could be cleaned: downloads: " in log
    until(
        lambda: client.task_states(DAG, run.run_id)["keep_catalog"] == "success",
        "the store knows the catalog",
    )

    (wrong / "file").unlink()
    wrong.rmdir()
    client.clear(DAG, run.run_id, ["clean", "keep_catalog"])
    assert client.wait_for_run(DAG, run.run_id, timeout=SECONDS).state == "success"
    assert client.xcom(DAG, run.run_id, "clean") == {"removed": 0, "bytes": 0}
    assert client.xcom(DAG, run.run_id, "keep_catalog") == 0
    assert [path for path in stays if not path.exists()] == []
    catalog.rounds.fail(round_.id, reason="given up")
