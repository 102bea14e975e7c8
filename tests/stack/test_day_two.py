"""Day two, as an operator has it: `make backup` while rounds run, disks that are lost and
`make restore`, `make upgrade` over an executor that runs.

From a copy of the checkout with a `.env` of its own, and with images of its own names: an upgrade
builds them.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from production_stack import DAG, ROOT, Stack, compose_command, image, running, skip_without, until
from stack_rounds import begin, closed_once, finish, training
from test_stack_survives import PEOPLE, annotator

from mir_ops.labeling.studio_client import StudioClient

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(2400)]

CHECKOUT = (
    "docker", "dags", "executors", "mir_ops", "plugins", "scripts", "Makefile", "LICENSE",
    "README.md", "pyproject.toml", "constraints.txt", "constraints-label-studio.txt",
    "docker-compose.yaml", "docker-compose.build.yaml", ".dockerignore", ".env.example",
)  # fmt: skip
MINUTES = "0.002"  # in days: what is older is neither a process that lives nor a task that runs
OURS = ("airflow", "postgres", "s3", "label-studio")


class DayTwo:
    """A stack, and the Makefile of its checkout."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def make(self, target: str, *words: str, check: bool = True) -> str:
        """What `make target` says, on either of its outputs."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        kept["COMPOSE_HTTP_TIMEOUT"] = "600"
        done = subprocess.run(
            ["make", target, f"COMPOSE={compose_command()}", *words],
            cwd=self.stack.root, env=kept, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode == 0) == check, done.stdout
        return done.stdout

    def lose(self, *volumes: str) -> None:
        """The machine is gone with these disks: no container of the stack is left."""
        stack = self.stack
        stack.compose("rm", "--stop", "--force", "-v")
        for container in stack.executors():
            container.remove(force=True)
        for name in volumes:
            stack.engine.volumes.get(f"{stack.name}_{name}").remove()

    def known(self) -> dict[str, Any]:
        """What the next round starts from: refs, rounds, steps and models, as users see them."""
        catalog, store = self.stack.catalog(), self.stack.store()
        rounds = catalog.rounds.list()
        return {
            "heads": {name: (ref.seq, ref.commit) for name, ref in store.heads().items()},
            "tags": dict(store.tags()),
            "projects": [project.key for project in catalog.projects.list()],
            "rounds": {(each.project, each.number): (each.state, each.record) for each in rounds},
            "steps": {
                (each.run_id, step.step): step.result
                for each in rounds
                for step in catalog.steps.list(each.id)
                if step.state == "done"
            },
            "models": sorted(model.op_id for model in catalog.models.list()),
        }

    def check(self) -> None:
        """Nothing is broken, from where tasks run."""
        said = self.make("status")
        assert " failed " not in said, said
        self.stack.mir("store", "fsck", "deep")  # which fails where it finds something


@pytest.fixture(scope="module")
def day(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DayTwo]:
    """A stack with Label Studio whose operator has a checkout and nothing else."""
    skip_without(engine, "label-studio")
    folder = tmp_path_factory.mktemp("day")
    with own_images(engine, folder.name) as names:
        settings = {
            "LABEL_TOOL": "label_studio",
            "COMPOSE_FILE": f"docker-compose.yaml:docker-compose.build.yaml:{folder}/oracle.yaml",
            **names,
        }
        root = copy_of_checkout(folder / "checkout")
        (root / ".env").symlink_to(folder / ".env")
        with running(folder, "label-studio", engine=engine, root=root, **settings) as stack:
            yield DayTwo(stack)


def copy_of_checkout(folder: Path) -> Path:
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in CHECKOUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


@contextmanager
def own_images(engine: Any, stem: str) -> Iterator[dict[str, str]]:
    """The stack's images under names of this test's own; Airflow's is another build."""
    tag = f"mir-test/{stem}"
    names = {}
    for name in OURS:
        names[f"{name.replace('-', '_').upper()}_IMAGE"] = f"{tag}-{name}:1"
        engine.images.get(image(name)).tag(f"{tag}-{name}", "1")
    older = io.BytesIO(f"FROM {image('airflow')}\nLABEL mir.test=older\n".encode())
    engine.images.build(fileobj=older, tag=names["AIRFLOW_IMAGE"], rm=True)
    try:
        yield names
    finally:
        for each in names.values():
            engine.images.remove(each, force=True)


def begin_with_people(day: DayTwo, project: str) -> Any:
    run = begin(day.stack, project, idle=0, labels=PEOPLE)
    until(lambda: _waits(day.stack, run), "the round waits for people")
    return run


def _waits(stack: Stack, run: Any) -> bool:
    states = stack.client.task_states(DAG, run.run_id)
    return states.get("wait_for_labels") == "deferred"


def commits_once(stack: Stack, project: str) -> None:
    """On no branch of a project one operation has two commits."""
    store = stack.store()
    names = [branch.name for branch in store.branches() if branch.name.startswith(f"{project}/")]
    commits = {commit.id: commit.op_id for name in names for commit in store.branch(name).log()}
    assert len(set(commits.values())) == len(commits)


def test_databases_that_are_lost_come_back_with_what_rounds_did_since(
    day: DayTwo, tmp_path: Path
) -> None:
    stack = day.stack
    asking = begin_with_people(day, "people")
    stack.bring("kept")
    assert stack.round("kept").state == "success"
    second = begin(stack, "kept", idle=60)

    day.make("backup", f"DIR={tmp_path}/backup")
    assert training(stack, second) != []  # nobody was stopped for it
    assert finish(stack, second).state == "success"
    before = day.known()
    day.lose("postgres-data")
    said = day.make("restore", f"DIR={tmp_path}/backup")

    assert "Healthy" in said
    assert day.known() == before
    tidied = stack.run_in("airflow-scheduler", "sh", "/opt/mir-ops/docker/airflow/tidy.sh", MINUTES)
    assert "Performing Delete" in tidied  # and no run of a round: these go on
    assert finish(stack, second).state == "success"  # to Airflow it was running
    assert day.known()["heads"] == before["heads"]
    stack.bring("kept")  # quick again
    third = stack.round("kept")
    assert third.state == "success", stack.failures(third)
    assert [each.state for each in stack.catalog().rounds.list("kept")] == ["closed"] * 3
    assert stack.store().branch("kept/training").tip().stats.splits == {"train": 115, "val": 60}
    commits_once(stack, "kept")
    with annotator(stack):
        ended = finish(stack, asking)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "people")
    with StudioClient(stack.label_url, stack.settings["LABEL_TOOL_TOKEN"]) as client:
        assert client.get("/api/projects/", title="people round")["count"] == 1
    day.check()


def test_a_machine_that_is_lost_comes_back_from_the_copy_of_its_objects(
    day: DayTwo, tmp_path: Path
) -> None:
    stack = day.stack
    run = begin(stack, "lost")

    then = day.known()
    with other_machine(stack) as copy:
        day.make("backup", f"DIR={tmp_path}/backup", f"OBJECTS={copy}")
        day.lose("postgres-data", "s3-data", "airflow-logs")
        refused = day.make("restore", f"DIR={tmp_path}/backup", check=False)
        assert "hint: Name the copy that the backup was made with" in refused
        day.make("restore", f"DIR={tmp_path}/backup", f"OBJECTS={copy}")

    now = day.known()
    assert [n for n, (seq, _) in then["heads"].items() if now["heads"][n][0] < seq] == []
    assert now["tags"].items() >= then["tags"].items()
    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "lost")
    day.check()


def test_what_lives_is_replaced_only_where_that_is_said(day: DayTwo, tmp_path: Path) -> None:
    stack = day.stack
    stack.bring("back")
    assert stack.round("back").state == "success"
    then = stack.store().branch("back/training").tip()
    day.make("backup", f"DIR={tmp_path}/backup")
    assert stack.round("back").state == "success"
    seen = stack.store().branch("back/training").seq

    refused = day.make("restore", f"DIR={tmp_path}/backup", check=False)
    assert "Airflow's database has runs, which the backup would replace" in refused
    stack.wait_healthy()
    said = day.make("restore", f"DIR={tmp_path}/backup", "OVERWRITE=1")

    assert "branch `back/training`: it becomes what it was, as one more version" in said
    assert "What the database `airflow` had is in `airflow_before_" in said
    branch = stack.store().branch("back/training")
    assert (branch.tip().stats, branch.seq) == (then.stats, seen + 2)
    third = stack.round("back")
    assert third.state == "success", stack.failures(third)
    assert stack.store().branch("back/training").tip().stats.splits == {"train": 110, "val": 60}
    day.check()


def test_an_upgrade_goes_on_with_the_executor_that_runs(day: DayTwo, tmp_path: Path) -> None:
    stack = day.stack
    run = begin(stack, "upgraded", idle=240)
    (container,) = training(stack, run)
    old = versions(stack, stack.staying)

    said = day.make("upgrade", f"DIR={tmp_path}/before")

    assert "A backup is in" in said
    assert [each.id for each in training(stack, run)] == [container.id]
    new = versions(stack, stack.staying)
    airflow = [name for name in old if name.startswith("airflow-")]
    assert {old[name] for name in airflow} == {"older"}
    assert {new[name] for name in airflow} == {None}
    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "upgraded")
    trained = next(t for t in stack.client.tasks(DAG, run.run_id) if t.task_id == "train")
    log = stack.client.log(DAG, run.run_id, "train", try_number=trained.try_number)
    assert "Going on with the executor of an earlier try" in log
    day.check()


def versions(stack: Stack, services: Sequence[str]) -> dict[str, str | None]:
    """What the image of each service that runs says of its build."""
    return {name: stack.container(name).labels.get("mir.test") for name in services}


@contextmanager
def other_machine(stack: Stack) -> Iterator[str]:
    """Another S3 server, whose disk is not the stack's; the place of a copy there."""
    keys = {name: stack.settings[name] for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")}
    name = f"{stack.name}-copies"
    server = stack.engine.containers.run(
        image("s3"),
        name=name,
        detach=True,
        network=f"{stack.name}_default",
        environment={
            "AWS_ACCESS_KEY_ID": keys["S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": keys["S3_SECRET_KEY"],
            "S3_BYTES": "1073741824",
        },
    )
    try:
        until(lambda: _has_bucket(server, keys), "the other machine has a bucket")
        yield f"s3://copies/store?endpoint_url=http://{name}:9000"
    finally:
        server.remove(force=True, v=True)


def _has_bucket(server: Any, keys: dict[str, str]) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    server.reload()
    (network,) = server.attrs["NetworkSettings"]["Networks"].values()
    client = boto3.client(
        "s3", endpoint_url=f"http://{network['IPAddress']}:9000", region_name="us-east-1",
        aws_access_key_id=keys["S3_ACCESS_KEY"], aws_secret_access_key=keys["S3_SECRET_KEY"],
        config=Config(connect_timeout=5, retries={"max_attempts": 0}),
    )  # fmt: skip
    try:
        client.create_bucket(Bucket="copies")
    except (BotoCoreError, ClientError):
        return False
    return True
