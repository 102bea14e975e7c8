"""The trigger that waits for labels, asked directly."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from round_worlds import RoundWorld, make_world

from mir_ops.dataset import import_dataset
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling import ImageAddresses, LabelBackend, LabelRequest, open_backend
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.store.schema import PREDICTIONS

FASTER = 90  # times the trigger's clock runs

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

print("\\n" + json.dumps(asyncio.run(asyncio.wait_for(main(), 300))))
"""

SENSE = """
import json
from airflow.sdk.exceptions import TaskDeferred
from mir_airflow.sensors.labels import LabelsSensor

try:
    LabelsSensor(task_id="wait_for_labels", round_id=ROUND, labels_conn_id="people").execute({})
except TaskDeferred as deferred:
    print("\\n" + json.dumps(deferred.trigger.serialize()[1]))
"""


@pytest.fixture
def asked(tmp_path: Path) -> tuple[RoundWorld, int]:
    """A round that waits for people, and nobody has labelled anything."""
    world = make_world(tmp_path / "world")
    world.apply("waiting", backend="folder")
    backend = open_backend("folder", options={"path": str(world.people)})
    return world, _ask(world, backend)[0]


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


def test_a_call_of_the_label_tool_ends_the_pause(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    world, round_id = asked
    (task,) = world.people.iterdir()
    called = f"""from datetime import UTC, datetime
    from pathlib import Path
    from mir_ops.catalog import Catalog

    def label_and_call():
        for image in Path({str(task)!r}, "images").iterdir():
            Path({str(task)!r}, "skipped", image.stem).touch()
        catalog = Catalog.open({world.workspace.catalog_url!r})
        catalog.label_tasks.update("op", last_activity=datetime.now(UTC))

    asyncio.get_running_loop().call_later(4, label_and_call)"""

    event = _wait(in_airflow, world, round_id, seconds=3600, meanwhile=called, poll_seconds=600)

    assert event["message"] == "0 of 15 images labelled, 15 skipped"


def test_what_is_done_is_enough_once_somebody_says_so(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    world, round_id = asked
    (task,) = world.people.iterdir()
    image = next((task / "images").iterdir())
    (task / "skipped").mkdir(exist_ok=True)
    (task / "skipped" / image.stem).touch()
    (asked_for,) = world.workspace.catalog.label_tasks.list(round_id)
    world.workspace.catalog.label_tasks.update(asked_for.op_id, enough_at=datetime.now(UTC))

    event = _wait(in_airflow, world, round_id, seconds=3600)

    assert (event["status"], event["message"]) == ("done", "0 of 15 images labelled, 1 skipped")


def test_what_is_enough_is_heard_also_when_it_was_said_while_the_tool_was_asked(
    in_airflow: Callable[..., str], asked: tuple[RoundWorld, int]
) -> None:
    world, round_id = asked
    said = """from datetime import UTC, datetime
    really = LabelsTrigger.ask

    def ask(self, workspace, options):
        answer, now = really(self, workspace, options), datetime.now(UTC)
        workspace.catalog.label_tasks.update("op", enough_at=now, last_activity=now)
        return answer

    LabelsTrigger.ask = ask"""

    event = _wait(in_airflow, world, round_id, seconds=3600, meanwhile=said, poll_seconds=600)

    assert (event["status"], event["message"]) == ("done", "0 of 15 images labelled")


def test_a_label_tool_that_is_away_from_the_start_is_waited_for(
    in_airflow: Callable[..., str], tmp_path: Path
) -> None:
    world = make_world(tmp_path / "world")
    world.apply("waiting", backend="label-studio")
    round_id, _ = _ask(world, open_backend("folder", options={"path": str(world.people)}))
    asked = {"task": f"1-{'ab' * 6}", "backend": "label-studio", "requested": 15, "op_id": "op"}
    world.workspace.catalog.steps.finish(round_id, "create_label_task", "op", asked)
    away = {"conn_type": "mir_labels", "password": "t", "extra": {"url": "http://127.0.0.1:9"}}

    said = in_airflow(SENSE.replace("ROUND", str(round_id)), **_environment(world, away))

    deferred = json.loads(said.splitlines()[-1])
    assert deferred["round_id"] == round_id
    left = datetime.fromisoformat(deferred["deadline"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=90)
    assert "Could not ask the label tool, trying again: Label Studio at" in said


@pytest.mark.long
@pytest.mark.label_studio
@pytest.mark.timeout(900)
def test_a_label_studio_that_is_down_for_an_hour_is_waited_for(
    in_airflow: Callable[..., str], tmp_path: Path
) -> None:
    if not LocalLabelStudio.is_installed():
        pytest.skip("Label Studio is not installed here: run `make label-studio`")
    world, studio = make_world(tmp_path / "world"), LocalLabelStudio(tmp_path / "studio")
    world.apply("waiting", backend="label-studio")
    scaled = f"""import types
    import mir_airflow.triggers.labels as labels
    real = asyncio.sleep
    labels.asyncio = types.SimpleNamespace(
        sleep=lambda seconds: real(seconds / {FASTER}), to_thread=asyncio.to_thread
    )"""
    with studio, ThreadPoolExecutor(1) as beside:
        options = {"url": studio.url, "secret_key": studio.login["token"]}
        round_id, task_id = _ask(world, open_backend("label-studio", options=options))
        people = {
            "conn_type": "mir_labels",
            "password": studio.login["token"],
            "extra": {"url": studio.url},
        }
        waiting = beside.submit(
            _wait, in_airflow, world, round_id, seconds=7 * 86400, meanwhile=scaled,
            poll_seconds=60, people=people,
        )  # fmt: skip
        studio.stop()
        time.sleep(3600 / FASTER)
        assert not waiting.done()
        studio.start()
        studio.wait_ready()
        with StudioClient(studio.url, studio.login["token"]) as client:
            for task in client.tasks(int(task_id.split("-")[0]), "id"):
                client.post(f"/api/tasks/{task['id']}/annotations/", {"result": []})
        event = waiting.result(timeout=300)

    assert event["status"] == "done", event
    assert event["message"].startswith("15 of 15 images labelled, by labels@example.org (15), last")


def _ask(world: RoundWorld, backend: LabelBackend) -> tuple[int, str]:
    """A round of the project `waiting` that has asked for labels of the pool."""
    catalog, store = world.workspace.catalog, world.workspace.store
    round_ = catalog.rounds.open(
        "waiting", deployment="tests", dag_id="d", run_id="r",
        spec=catalog.projects.get("waiting").spec, conf={},
    )  # fmt: skip
    pool = import_dataset(
        store, world.root / "data" / "pool", "waiting/mined", op_id="mine", unknown_classes="add"
    )
    task = backend.create(
        LabelRequest(
            key="ab" * 32,
            title="waiting round 1",
            classes={0: "cat", 1: "dog"},
            assets=store.read(pool.commit).assets(),
            predictions=PREDICTIONS.empty_table(),
            fetch_image=store.fetch_blob,
            find_addresses=_addresses,
        )
    )
    catalog.steps.start(round_.id, "mine", "mine")
    mined = {"commit": pool.commit.id, "picked": 15, "model_id": None}
    catalog.steps.finish(round_.id, "mine", "mine", mined)
    catalog.label_tasks.add(
        round_id=round_.id, op_id="op", backend=backend.kind, external_id=task, requested=15
    )
    catalog.steps.start(round_.id, "create_label_task", "op")
    result = {"task": task, "backend": backend.kind, "requested": 15, "op_id": "op"}
    catalog.steps.finish(round_.id, "create_label_task", "op", result)
    return round_.id, task


def _addresses(names: Sequence[str]) -> ImageAddresses:
    ends = datetime.now(UTC) + timedelta(days=30)
    return ImageAddresses(urls={name: f"http://127.0.0.1:9/{name}" for name in names}, until=ends)


def _wait(
    in_airflow: Callable[..., str],
    world: RoundWorld,
    round_id: int,
    *,
    seconds: float,
    meanwhile: str = "pass",
    poll_seconds: float = 0.5,
    people: dict[str, Any] | None = None,
) -> dict[str, Any]:
    arguments = {
        "round_id": round_id,
        "deadline": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        "poll_seconds": poll_seconds,
    }
    code = WAIT.replace("ARGUMENTS", repr(arguments)).replace("MEANWHILE", meanwhile)
    event: dict[str, Any] = json.loads(
        in_airflow(code, **_environment(world, people)).splitlines()[-1]
    )
    return event


def _environment(world: RoundWorld, people: dict[str, Any] | None) -> dict[str, str]:
    connections = {**world.connections(), **({"people": people} if people else {})}
    return {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()
    }
