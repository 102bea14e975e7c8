"""The trigger that waits for labels, asked directly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from round_worlds import RoundWorld, make_world

from mir_ops.dataset import import_dataset
from mir_ops.labeling import LabelRequest, open_backend
from mir_ops.store.schema import PREDICTIONS

WAIT = """
import asyncio, json, os
from mir_airflow.triggers.labels import LabelsTrigger

async def main():
    trigger = LabelsTrigger(mir_conn_id="mir_default", labels_conn_id="people", **ARGUMENTS)
    path, again = trigger.serialize()
    assert path == "mir_airflow.triggers.labels.LabelsTrigger"
    assert LabelsTrigger(**again).serialize() == (path, again)
    MEANWHILE
    async for event in trigger.run():
        return event.payload

print("\\n" + json.dumps(asyncio.run(asyncio.wait_for(main(), 60))))
"""


@pytest.fixture
def asked(tmp_path: Path) -> tuple[RoundWorld, int]:
    """A round that waits for people, and nobody has labelled anything."""
    world = make_world(tmp_path / "world")
    world.apply("waiting", backend="folder")
    catalog = world.workspace.catalog
    round_ = catalog.rounds.open(
        "waiting", deployment=world.workspace.deployment, dag_id="d", run_id="r",
        spec=catalog.projects.get("waiting").spec, conf={},
    )  # fmt: skip
    store = world.workspace.store
    pool = import_dataset(
        store, world.root / "data" / "pool", "waiting/mined", op_id="mine", unknown_classes="add"
    )
    backend = open_backend("folder", options={"path": str(world.people)})
    task = backend.create(
        LabelRequest(
            key="ab" * 32,
            title="waiting round 1",
            classes={0: "cat", 1: "dog"},
            assets=store.read(pool.commit).assets(),
            predictions=PREDICTIONS.empty_table(),
            fetch_image=store.fetch_blob,
        )
    )
    catalog.steps.start(round_.id, "mine", "mine")
    mined = {"commit": pool.commit.id, "picked": 15, "model_id": None}
    catalog.steps.finish(round_.id, "mine", "mine", mined)
    catalog.label_tasks.add(
        round_id=round_.id, op_id="op", backend="folder", external_id=task, requested=15
    )
    catalog.steps.start(round_.id, "create_label_task", "op")
    result = {"task": task, "backend": "folder", "requested": 15, "op_id": "op"}
    catalog.steps.finish(round_.id, "create_label_task", "op", result)
    return world, round_.id


def test_past_the_deadline_the_round_goes_on(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    event = _wait(in_airflow, *asked, seconds=-1)

    assert event == {
        "status": "deadline",
        "message": "The time for labelling is over",
        "hint": None,
    }


def test_a_lost_task_is_an_error_and_not_done(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    world, _ = asked
    for task in world.people.iterdir():
        shutil.rmtree(task)

    event = _wait(in_airflow, *asked, seconds=60)

    assert event["status"] == "failed"
    assert event["message"].startswith("No label task `waiting-round-1-abababababab` in")
    assert event["hint"] == "Restore the folder, or clear `create_label_task` to ask again"


def test_an_outage_is_waited_out(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    pytest.importorskip("psycopg2")
    world, _ = asked
    (task,) = world.people.iterdir()
    for image in (task / "images").iterdir():
        (task / "skipped").mkdir(exist_ok=True)
        (task / "skipped" / image.stem).touch()
    back = """name = "AIRFLOW_CONN_MIR_DEFAULT"
    works, nobody = os.environ[name], "postgresql+psycopg2://nobody@127.0.0.1:9/nothing"
    away = json.loads(works)
    away["extra"]["catalog_url"] = nobody
    os.environ[name] = json.dumps(away)
    asyncio.get_running_loop().call_later(2, os.environ.__setitem__, name, works)"""

    event = _wait(in_airflow, *asked, seconds=60, meanwhile=back)

    assert event["status"] == "done"
    assert event["message"] == "0 of 15 images labelled, 15 skipped"


def _wait(
    in_airflow: Callable[..., str],
    world: RoundWorld,
    round_id: int,
    *,
    seconds: float,
    meanwhile: str = "pass",
) -> dict[str, Any]:
    arguments = {
        "round_id": round_id,
        "deadline": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        "poll_seconds": 0.5,
    }
    code = WAIT.replace("ARGUMENTS", repr(arguments)).replace("MEANWHILE", meanwhile)
    env = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields)
        for name, fields in world.connections().items()
    }
    event: dict[str, Any] = json.loads(in_airflow(code, **env).splitlines()[-1])
    return event
