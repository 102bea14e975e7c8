"""Rounds that nobody starts: events, continuation, approval, and who is told, on a real Airflow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from round_worlds import RoundWorld, write_images

from mir_ops.catalog import Round, edit_project
from mir_ops.cli.main import main
from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.rounds.record import read_record

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1200)]

PROJECT = "street"  # as in the docs
DAG = f"round__{PROJECT}"
ANY = "active_learning_round"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "triggers.md"
SECONDS = 500.0  # a round takes 20 on a quiet machine of two cores


@pytest.fixture(scope="module")
def typed(airflow: LocalAirflow) -> Callable[..., Any]:
    """Types the n-th block of the docs' section into a shell, and returns what it prints."""
    login = {"AIRFLOW_USER": "admin", "AIRFLOW_PASSWORD": airflow.passwords["admin"]}
    # A login comes first, in the first of them.
    blocks = re.findall(r"^```bash\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    token, _, start = blocks[0].partition("\n\n")
    said = {"start": start, "data": blocks[1], "approve": blocks[2]}

    def run(what: str, change: Callable[[str], str] = str, **env: str) -> Any:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{token}\n{change(said[what])}"],
            env={**os.environ, **login, "AIRFLOW": airflow.url, "NO_PROXY": "127.0.0.1", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def console(airflow: LocalAirflow) -> Iterator[Callable[..., Any]]:
    """Asks the console's API, or for a page of it, as the admin."""
    login = {"username": "admin", "password": airflow.passwords["admin"]}
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=120.0) as http:
        token = http.post(f"{airflow.url}/auth/token", json=login).json()["access_token"]

        def ask(method: str, path: str, sent: object = None, *, page: bool = False) -> Any:
            address = f"{airflow.url}/mir/{path}" if page else f"{airflow.url}/mir/api/v1/{path}"
            headers = {"Authorization": f"Bearer {token}"}
            content, json_ = (sent, None) if isinstance(sent, bytes) else (None, sent)
            answer = http.request(method, address, content=content, json=json_, headers=headers)
            assert answer.is_success, answer.text
            return answer if page else answer.json()

        yield ask


@pytest.fixture(scope="module", autouse=True)
def clock(airflow: LocalAirflow, world: RoundWorld) -> Iterator[str]:
    """The DAG of a project whose rounds start every minute, and whose first one never ends."""
    config, schedule = {"hang": True}, {"cron": "* * * * *"}
    world.apply("clock", config=config, schedule=schedule, time_seconds=3600)
    yield "round__clock"
    edit_project(world.workspace.catalog, "clock", {"schedule": None})
    airflow.wait_for_dag("round__clock")
    for run in airflow.client.runs("round__clock", limit=100):
        if not run.finished:
            airflow.client.cancel(run.dag_id, run.run_id)


@pytest.fixture(scope="module")
def first(airflow: LocalAirflow, world: RoundWorld, typed: Callable[..., Any]) -> DagRun:
    """Round 1, up to where it waits for somebody to approve its model."""
    world.apply(
        PROJECT,
        schedule={"new_labels": 1000, "new_data": True, "continuous": True},
        stop={"plateau": {"rounds": 1, "gain": 1.0}},  # no second model is so much better
        promote="best",
        approve_model=True,
        notify=["broken", "team"],
    )
    airflow.wait_for_dag(DAG)
    run = airflow.client.run(DAG, typed("start")["dag_run_id"])
    _until(lambda: _state(airflow, run, "approve_model") == "awaiting_input")
    return run


def test_an_event_that_finds_a_round_open_is_skipped_and_links_it(
    airflow: LocalAirflow, world: RoundWorld, first: DagRun, typed: Callable[..., Any]
) -> None:
    started = time.monotonic()
    typed("data")

    _until(lambda: len(airflow.client.runs(DAG)) == 2)
    event = next(run for run in airflow.client.runs(DAG) if run.run_id != first.run_id)
    ended = airflow.client.wait_for_run(DAG, event.run_id, timeout=SECONDS)

    assert event.run_id.startswith("asset_triggered__")
    assert ended.state == "success"
    assert set(airflow.client.task_states(DAG, event.run_id).values()) == {"skipped"}
    assert airflow.client.links(DAG, event.run_id, "open_round") == {
        "Round": None,
        "Open round": f"{airflow.url}/dags/{DAG}/runs/{quote(first.run_id, safe='')}",
    }
    assert len(world.workspace.catalog.rounds.list(PROJECT)) == 1
    print(f"skipped {time.monotonic() - started:.1f} s after the event")  # noqa: T201


def test_a_person_who_finds_a_round_open_is_told_which(
    airflow: LocalAirflow, first: DagRun, capsys: pytest.CaptureFixture[str]
) -> None:
    login = ["--url", airflow.url, "--user", "admin", "--password", airflow.passwords["admin"]]
    code = main(["round", "start", PROJECT, *login])
    said = capsys.readouterr().err

    assert code == 1
    assert f"error: `open_round`: Round 1 of `{PROJECT}` is open: run `{first.run_id}`" in said
    (run,) = airflow.client.runs(ANY, limit=1)
    links = airflow.client.links(ANY, run.run_id, "open_round")
    there = f"{airflow.url}/dags/{DAG}/runs/{quote(first.run_id, safe='')}"
    assert links == {"Round": None, "Open round": there}


def test_a_continuous_project_goes_on_until_a_rule_stops_it(
    airflow: LocalAirflow,
    world: RoundWorld,
    first: DagRun,
    typed: Callable[..., Any],
    console: Callable[..., Any],
) -> None:
    typed("approve", RUN=quote(first.run_id, safe=""))
    done = airflow.client.wait_for_run(DAG, first.run_id, timeout=SECONDS)
    _until(lambda: len(_rounds(world)) == 2)
    run_id = _rounds(world)[1].run_id
    second = airflow.client.run(DAG, run_id)
    _until(lambda: _state(airflow, second, "approve_model") == "awaiting_input")
    console("POST", f"projects/{PROJECT}/rounds/2/answer", {"option": "Reject"})
    refused = airflow.client.wait_for_run(DAG, run_id, timeout=SECONDS)

    assert (done.state, refused.state) == ("success", "success")
    assert run_id.startswith("asset_triggered__")
    assert [each.state for each in _rounds(world)] == ["closed", "closed"]
    assert airflow.client.task_states(DAG, run_id)["promote_model"] == "skipped"
    assert airflow.client.task_states(DAG, run_id)["mine"] == "skipped"
    log = airflow.client.log(DAG, run_id, "close_round")
    assert "Not going on by itself: map50 gained" in log


def test_a_refused_model_is_not_promoted_and_the_record_says_who_refused(
    world: RoundWorld,
) -> None:
    approved, refused = (
        read_record(world.workspace, each.record)["steps"] for each in _rounds(world)
    )

    models = [each.model_id for each in world.workspace.catalog.models.list(PROJECT)]
    assert approved["approve_model"] == {"model": models[0], "approved": True, "by": "admin"}
    assert (approved["promote_model"]["name"], approved["promote_model"]["model_id"]) == (
        "best",
        models[0],
    )
    assert refused["approve_model"] == {"model": models[-1], "approved": False, "by": "admin"}
    assert "promote_model" not in refused
    assert world.workspace.catalog.packages.promotion("best").model_id == models[0]


def test_those_whom_the_project_names_are_told(world: RoundWorld, airflow: LocalAirflow) -> None:
    told = _told(world, PROJECT)

    closing = ["waiting-for-approval", "round-closed"]
    assert [event for event, *_ in told] == ["waiting-for-labels", *closing, *closing]
    first = told[:3]
    assert first[0][1:3] == ["Round 1 of street waits for labels", "4 images are to be labelled"]
    assert first[1][2].startswith("Model `")
    assert "would be called `best`: map50 " in first[1][2]
    assert first[2][2].startswith("Its newest model has mAP@0.5 ")
    run = _rounds(world)[0].run_id
    assert {line[3] for line in first} == {f"{airflow.url}/dags/{DAG}/runs/{quote(run, safe='')}"}


def test_those_whom_the_project_names_are_told_that_a_gate_failed(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    write_images(world.root / "leaking", 3, seed=0)  # of the training images
    data = world.root / "data"
    sources = {"training": data / "training", "validation": world.root / "leaking",
               "pool": data / "pool"}  # fmt: skip
    paths = {role: str(path) for role, path in sources.items()}
    world.apply("leaks", sources=paths, notify=["team"])

    run = airflow.client.trigger(ANY, conf={"project": "leaks"})
    ended = airflow.client.wait_for_run(ANY, run.run_id, timeout=SECONDS)

    assert ended.state == "failed"
    assert airflow.client.task_states(ANY, run.run_id)["gate_data"] == "failed"
    _until(lambda: bool(_told(world, "leaks")))
    ((event, subject, text, url),) = _told(world, "leaks")
    assert (event, subject) == ("gate-failed", "Round 1 of leaks was stopped by a gate")
    assert "no-leakage" in text
    assert url == f"{airflow.url}/dags/{ANY}/runs/{quote(run.run_id, safe='')}"


def test_data_that_is_imported_starts_a_round_once_enough_of_it_is_labelled(
    airflow: LocalAirflow, world: RoundWorld, console: Callable[..., Any]
) -> None:
    dag, rounds = "round__lane", world.workspace.catalog.rounds
    world.apply("lane", schedule={"new_labels": 5})
    airflow.wait_for_dag(dag)

    _import_labelled(airflow, world, console, _shared(world, 3, seed=1000))
    _until(lambda: len(airflow.client.runs(dag)) == 1)
    (few,) = airflow.client.runs(dag)
    ended = airflow.client.wait_for_run(dag, few.run_id, timeout=SECONDS)

    assert (ended.state, rounds.list("lane")) == ("success", [])
    assert set(airflow.client.task_states(dag, few.run_id).values()) == {"skipped"}
    log = airflow.client.log(dag, few.run_id, "open_round")
    assert "3 of 5 images are newly labelled: not yet" in log

    _import_labelled(airflow, world, console, _uploaded(world, console, 2, seed=1003))
    _until(lambda: bool(rounds.list("lane")))
    (opened,) = rounds.list("lane")
    airflow.client.cancel(dag, opened.run_id)

    assert opened.run_id.startswith("asset_triggered__")
    assert (opened.dag_id, opened.number) == (dag, 1)


def test_a_tick_starts_a_round_and_one_that_finds_it_open_is_skipped_and_links_it(
    airflow: LocalAirflow, world: RoundWorld, clock: str
) -> None:
    def over() -> list[DagRun]:
        return [run for run in airflow.client.runs(clock, limit=100) if run.finished]

    _until(lambda: bool(over()))

    (opened,) = world.workspace.catalog.rounds.list("clock")
    tick = over()[-1]
    assert (opened.state, opened.run_id[:11]) == ("open", "scheduled__")
    assert (tick.state, tick.run_id[:11]) == ("success", "scheduled__")
    assert tick.run_id > opened.run_id
    assert set(airflow.client.task_states(clock, tick.run_id).values()) == {"skipped"}
    link = f"{airflow.url}/dags/{clock}/runs/{quote(opened.run_id, safe='')}"
    links = airflow.client.links(clock, tick.run_id, "open_round")
    assert links == {"Round": None, "Open round": link}


def _import_labelled(
    airflow: LocalAirflow, world: RoundWorld, console: Callable[..., Any], path: str
) -> None:
    """What lies at this path in the sharing folder, into the training version of `lane`."""
    asked = {"path": path, "to": "training", "split": "train", "unknown_classes": "add"}
    run_id = console("POST", "projects/lane/imports", asked)["run_id"]
    ended = airflow.client.wait_for_run("dataset_import", run_id, timeout=SECONDS)
    assert ended.state == "success"


def _shared(world: RoundWorld, count: int, *, seed: int) -> str:
    """So many images that somebody put into the sharing folder."""
    write_images(world.root / "sharing" / f"lane-{seed}", count, seed=seed)
    return f"lane-{seed}"


def _uploaded(world: RoundWorld, console: Callable[..., Any], count: int, *, seed: int) -> str:
    """So many images that somebody sent from a machine of their own, as one archive."""
    own = world.root / "own" / str(seed)
    write_images(own, count, seed=seed)
    content = Path(shutil.make_archive(str(own), "zip", own)).read_bytes()
    path: str = console("POST", "projects/lane/uploads?name=night.zip", content)["path"]
    assert (world.root / "sharing" / path).read_bytes() == content
    return path


def test_a_round_is_started_and_stopped_in_the_console(
    airflow: LocalAirflow, world: RoundWorld, console: Callable[..., Any]
) -> None:
    world.apply("stopped", config={"hang": True}, time_seconds=3600)
    airflow.wait_for_dag("round__stopped")
    rounds = "projects/stopped/rounds"

    started = console("POST", rounds, {"request": "ab" * 4, "budget": 2})
    again = console("POST", rounds, {"request": "ab" * 4, "budget": 2})
    _until(lambda: _training(airflow, started["run_id"]))
    page = console(
        "GET", f"runs/{started['dag_id']}/{quote(started['run_id'], safe='')}", page=True
    )
    stopped = console("POST", f"{rounds}/1/stop")

    assert again == started
    assert page.url.path.endswith("/mir/projects/stopped/rounds/1")
    assert (page.status_code, stopped) == (200, {"number": 1, "state": "failed"})
    ended = airflow.client.wait_for_run(started["dag_id"], started["run_id"], timeout=SECONDS)
    assert (ended.state, ended.conf["budget"]) == ("failed", 2)
    assert len(airflow.client.runs("round__stopped")) == 1


def test_people_are_asked_now_told_enough_and_their_model_approved_in_the_console(
    airflow: LocalAirflow, world: RoundWorld, console: Callable[..., Any]
) -> None:
    labels, rounds = "projects/crossing/labels", "projects/crossing/rounds"
    world.apply(
        "crossing",
        labels={"backend": "folder", "poll_seconds": 3600},  # nothing happens by itself
        stop={"rounds": 1},
        promote="crossing",
        approve_model=True,
    )
    run = airflow.client.trigger("people_round", conf={"project": "crossing"})
    _until(lambda: _state(airflow, run, "wait_for_labels") == "deferred")
    _until(lambda: console("GET", labels)["tasks"][0]["waits"])
    _label(world, "crossing", 2)

    (task,) = console("GET", labels)["tasks"]
    console("POST", f"{labels}/{task['id']}/fetch")
    _until(lambda: console("GET", labels)["tasks"][0]["done"] == 2)
    still = _state(airflow, run, "wait_for_labels")
    console("POST", f"{labels}/{task['id']}/enough")
    _until(lambda: _state(airflow, run, "approve_model") == "awaiting_input")
    waiting = console("GET", f"{rounds}/1")["round"]["waiting"]
    page = console("GET", "projects/crossing/rounds/1", page=True).text
    console("POST", f"{rounds}/1/answer", {"option": "Approve"})
    ended = airflow.client.wait_for_run(run.dag_id, run.run_id, timeout=SECONDS)

    assert (task["done"], task["requested"], still, ended.state) == (0, 5, "deferred", "success")
    assert waiting["what"] == "approval"
    assert 'value="Approve"' in page
    (turn,) = world.workspace.catalog.rounds.list("crossing")
    steps = read_record(world.workspace, turn.record)["steps"]
    assert (steps["import_labels"]["done"], steps["approve_model"]["by"]) == (2, "admin")
    model = steps["approve_model"]["model"]
    assert world.workspace.catalog.packages.promotion("crossing").model_id == model
    assert console("GET", labels)["tasks"][0]["waits"] is False


def _label(world: RoundWorld, project: str, count: int) -> None:
    """What a person does: a box on so many images."""
    (task,) = world.people.glob(f"{project}-*")
    for image in sorted((task / "images").iterdir())[:count]:
        box = VocObject(name="dog", box=(2.0, 2.0, 10.0, 10.0))
        file = VocFile(filename=image.name, size=(32, 32), objects=(box,))
        (task / "done" / f"{image.stem}.xml").write_bytes(write_voc(file))


def _training(airflow: LocalAirflow, run_id: str) -> bool:
    return airflow.client.task_states("round__stopped", run_id).get("train") == "running"


def _told(world: RoundWorld, project: str) -> list[list[str]]:
    """Event, subject, text and address of each message about a project."""
    kept = world.root / "told.txt"
    lines = kept.read_text().splitlines() if kept.exists() else []
    said = [line.split(" | ") for line in lines]
    return [words for words in said if f" of {project} " in words[1]]


def _rounds(world: RoundWorld) -> list[Round]:
    return world.workspace.catalog.rounds.list(PROJECT)


def _state(airflow: LocalAirflow, run: DagRun, task: str) -> str:
    states = airflow.client.task_states(run.dag_id, run.run_id)
    for name in (name for name, state in states.items() if state == "failed"):
        pytest.fail(airflow.client.log(run.dag_id, run.run_id, name))
    return states[task]


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.3)
