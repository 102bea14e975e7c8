"""Whatever a round depends on is killed, in whichever phase: it closes, with nothing done twice."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ceph_gateway
import pytest
from ceph_gateway import Gateway
from chaos import QUICK_TO_NOTICE, ChaosAirflow, Stage, stopping_dag, until
from mir_airflow.links import LABELS_KEY
from processes import processes_below
from rotation import chosen
from round_kills import (
    CELLS,
    PHASES,
    Cell,
    Phase,
    Victims,
    annotations,
    label,
    stops,
    strike,
)
from round_worlds import RoundWorld, make_world

from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.errors import MirError
from mir_ops.rounds.airflow_api import DagRun, TaskState
from mir_ops.store import Store
from mir_ops.workspace import Workspace

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.label_studio,
    pytest.mark.s3,
    pytest.mark.timeout(1200),
]

DAG = "struck_round"
WAIT = "wait_for_labels"
FIXED = Cell(victim="triggerer", phase="waiting")
IMAGES = 4
COMMITS = {  # of one round, by branch, the newest first
    "evaluation": ["evaluate"],
    "import/pool": ["import"],
    "import/training": ["import"],
    "import/validation": ["import"],
    "labels": ["label"],
    "mined": ["subset", "mine", "import"],
    "mining": ["mine", "import"],
    "training": ["merge", "merge", "branch"],
}
QUICK = {
    **QUICK_TO_NOTICE,
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}


@dataclass(frozen=True, kw_only=True)
class Theatre:
    """Airflow, Label Studio and an S3 server, and the world that they work on."""

    world: RoundWorld
    stage: Stage
    victims: Victims

    @property
    def airflow(self) -> ChaosAirflow:
        return self.victims.airflow


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    if missing := ceph_gateway.missing_programs():
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}")
    if not LocalLabelStudio.is_installed():
        pytest.skip("Label Studio is not installed here: run `make label-studio`")
    with (
        tempfile.TemporaryDirectory(prefix="mir-kills-", dir="/tmp") as folder,
        ceph_gateway.running() as gateway,
        LocalLabelStudio(Path(folder) / "studio") as studio,
    ):
        root = Path(folder)
        world, stage = _world(root / "world", gateway), Stage(root / "stage")
        stage.folder.mkdir()
        (root / "dags").mkdir()
        code = stopping_dag(DAG, stage, retries=6, retry_seconds=2)
        (root / "dags" / "struck_round.py").write_text(code)
        with ChaosAirflow(
            root / "airflow", dags=root / "dags", connections=_connections(world, studio), env=QUICK
        ) as airflow:
            airflow.wait_for_dag(DAG)
            victims = Victims(airflow=airflow, studio=studio, gateway=gateway)
            yield Theatre(world=world, stage=stage, victims=victims)
        assert processes_below(root / "airflow") == {}


def test_a_round_survives_kills(theatre: Theatre) -> None:
    """A fixed one, and the one that is this commit's."""
    survive(theatre, [FIXED, chosen([cell for cell in CELLS if cell != FIXED], "round-kills")])


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("phase", PHASES)
def test_a_round_survives_every_kill(
    theatre: Theatre, phase: Phase, record_property: Callable[[str, object], None]
) -> None:
    broken, began = {}, time.monotonic()
    cells = [cell for cell in CELLS if cell.phase == phase]
    for cell in cells:
        try:
            survive(theatre, [cell])
        except Exception as error:  # noqa: BLE001 - the other cells are run too
            broken[str(cell)] = repr(error)
    kept, each = len(cells) - len(broken), (time.monotonic() - began) / len(cells)
    figure = f"{phase}: {kept} of {len(cells)} kills, each image labelled and each commit made once"
    record_property("figure", f"{figure} ({each:.0f} s each)")
    assert broken == {}


@pytest.mark.long
def test_a_call_of_label_studio_ends_the_wait(
    theatre: Theatre, record_property: Callable[[str, object], None]
) -> None:
    client, studio = theatre.airflow.client, theatre.victims.studio
    project = f"called-{secrets.token_hex(2)}"
    _apply(theatre.world, project, poll_seconds=3600)
    theatre.stage.arm({})
    run = client.trigger(DAG, conf={"project": project})
    asked = _asked(theatre, project, run)
    until(lambda: _is_deferred(theatre, run), "the round waits for labels")
    page = f"{studio.url}/projects/{asked.split('-')[0]}/data"
    until(lambda: client.links(DAG, run.run_id, WAIT) == {"Label project": page}, "the link")

    label(studio, asked, share=0.5)

    until(lambda: client.xcom(DAG, run.run_id, WAIT, key=LABELS_KEY)["done"] == 2, "the XCom")
    assert client.xcom(DAG, run.run_id, WAIT, key=LABELS_KEY)["by"] == {studio.login["user"]: 2}
    label(studio, asked)
    labelled = time.monotonic()
    labels = theatre.world.workspace.store.branch(f"{project}/labels")
    until(lambda: labels.find_tip() is not None, "the commit")
    figure = f"{time.monotonic() - labelled:.0f} s from the last submit to the commit of labels"
    record_property("figure", figure)
    assert _wait(theatre, run).state == "success"
    check_once(theatre.world.workspace, project)


def survive(theatre: Theatre, cells: Sequence[Cell]) -> None:
    project = f"killed-{secrets.token_hex(3)}"
    _apply(theatre.world, project)
    theatre.stage.arm(stops(cells))
    run = theatre.airflow.client.trigger(DAG, conf={"project": project})

    for phase in PHASES:
        struck = [cell for cell in cells if cell.phase == phase]
        if phase == "waiting":
            _label(theatre, project, run, struck)
            continue
        for cell in struck:
            strike(cell, theatre.victims, theatre.stage)
    done = _wait(theatre, run)

    assert done.state == "success", _logs(theatre, run)
    assert annotations(theatre.victims.studio, project) == [[1] * IMAGES]
    check_once(theatre.world.workspace, project)


def check_once(workspace: Workspace, project: str) -> None:
    """One round, one model, one request for labels, and on each branch what one round commits."""
    catalog, store = workspace.catalog, workspace.store
    (round_,) = catalog.rounds.list(project)
    assert (round_.state, round_.number) == ("closed", 1)
    assert len(catalog.models.list(project)) == 1
    (asked,) = catalog.label_tasks.list(round_.id)
    assert (asked.requested, asked.done, asked.skipped) == (IMAGES, IMAGES, 0)
    mine = [branch for branch in store.branches() if branch.name.startswith(f"{project}/")]
    logs = {branch.name.partition("/")[2]: list(branch.log()) for branch in mine}
    made = {name: [commit.operation.kind for commit in log] for name, log in logs.items()}
    assert made == COMMITS
    commits = {commit.id: commit.op_id for log in logs.values() for commit in log}
    assert len(set(commits.values())) == len(commits)
    assert store.branch(f"{project}/labels").tip().stats.assets == IMAGES
    assert store.branch(f"{project}/training").tip().stats.assets == 10 + IMAGES


def _label(theatre: Theatre, project: str, run: DagRun, struck: Sequence[Cell]) -> None:
    """People label; in between, what the cells say is killed."""
    studio, asked = theatre.victims.studio, _asked(theatre, project, run)
    for cell in struck:
        until(lambda: _is_deferred(theatre, run), "the round waits for labels")
        label(studio, asked, share=0.5)
        theatre.victims.kill(cell, supervisor=None, meanwhile=lambda: None)
    label(studio, asked)


def _asked(theatre: Theatre, project: str, run: DagRun) -> str:
    """The label task, once there is one."""
    catalog, found = theatre.world.workspace.catalog, []

    def asked() -> bool:
        failed = [task.task_id for task in _tasks(theatre, run) if task.state == "failed"]
        assert failed == [], _logs(theatre, run)
        rounds = catalog.rounds.list(project)
        found[:] = catalog.label_tasks.list(rounds[0].id) if rounds else []
        return bool(found)

    until(asked, f"labels are asked for: {run.run_id}")
    return found[0].external_id


def _is_deferred(theatre: Theatre, run: DagRun) -> bool:
    return {task.task_id: task.state for task in _tasks(theatre, run)}.get(WAIT) == "deferred"


def _tasks(theatre: Theatre, run: DagRun) -> list[TaskState]:
    try:
        return theatre.airflow.client.tasks(run.dag_id, run.run_id)
    except MirError:  # it is about to start
        return []


def _wait(theatre: Theatre, run: DagRun) -> DagRun:
    found = [run]

    def finished() -> bool:
        try:
            found[0] = theatre.airflow.client.run(run.dag_id, run.run_id)
        except MirError:
            return False
        return found[0].finished

    until(finished, f"{run.run_id} ends")
    return found[0]


def _logs(theatre: Theatre, run: DagRun) -> dict[str, str]:
    """What the tasks that did not succeed said last."""
    client = theatre.airflow.client
    return {
        task.task_id: client.log(DAG, run.run_id, task.task_id, try_number=task.try_number)[-3000:]
        for task in client.tasks(DAG, run.run_id)
        if task.state not in ("success", "skipped", "") and task.try_number
    }


def _world(root: Path, gateway: Gateway) -> RoundWorld:
    """A world whose store lies on the S3 server."""
    gateway.client().create_bucket(Bucket="rounds")
    world = make_world(root)
    url = f"s3://rounds/store?endpoint_url={gateway.endpoint}"
    keys = {"access_key": ceph_gateway.ACCESS_KEY, "secret_key": ceph_gateway.SECRET_KEY}
    Store.open(url, create=True, **keys)
    return replace(world, workspace=replace(world.workspace, store_url=url, **keys))


def _connections(world: RoundWorld, studio: LocalLabelStudio) -> dict[str, dict[str, Any]]:
    workspace = world.workspace
    mir = {
        **world.connections()["mir_default"],
        "login": workspace.access_key,
        "password": workspace.secret_key,
    }
    mir["extra"] = {**mir["extra"], "image_secret": secrets.token_hex(16)}
    studio_token = studio.login["token"]
    labels = {"conn_type": "mir_labels", "password": studio_token, "extra": {"url": studio.url}}
    return {"mir_default": mir, "mir_labels": labels}


def _apply(world: RoundWorld, project: str, *, poll_seconds: int = 1) -> None:
    mining = {"strategy": "entropy", "budget": IMAGES, "control": 0}
    labels = {"backend": "label-studio", "poll_seconds": poll_seconds}
    world.apply(project, labels=labels, mining=mining)
