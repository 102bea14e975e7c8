"""The stack from nothing: healthy, a round by REST with executors in containers, no secret told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from production_stack import DEMO, ONCE, STAYING, Stack

from mir_ops.errors import MirError
from mir_ops.rounds.airflow_api import DagRun

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


class Watch:
    """What the engine says of each container that tasks start, while the block lasts."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.seen: list[dict[str, Any]] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        label = f"mir.deployment={self._stack.name}"
        events = self._stack.engine.events(
            filters={"type": "container", "event": "start", "label": label}, decode=True
        )
        thread = threading.Thread(target=self._follow, args=(events,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            events.close()
            thread.join(10)

    def _follow(self, events: Any) -> None:
        for event in events:
            self.seen.append(self._stack.engine.api.inspect_container(event["id"]))


@pytest.fixture(scope="module")
def watch(stack: Stack) -> Watch:
    return Watch(stack)


@pytest.fixture(scope="module")
def finished(stack: Stack, watch: Watch) -> DagRun:
    """A round of the demonstration's project, triggered by REST as the first admin."""
    stack.bring(DEMO)
    with watch():
        return stack.round(DEMO)


def test_everything_is_healthy_and_what_runs_once_has_ended_well(stack: Stack) -> None:
    assert {name: stack.state(name) for name in STAYING} == dict.fromkeys(STAYING, "healthy")
    assert [stack.container(name).attrs["State"]["ExitCode"] for name in ONCE] == [0, 0]


def test_a_round_runs_to_its_end_with_one_commit_for_each_step(
    stack: Stack, finished: DagRun
) -> None:
    assert finished.state == "success", stack.failures(finished)
    (round_,) = stack.catalog().rounds.list(DEMO)
    assert (round_.state, round_.number) == ("closed", 1)
    tip = stack.store().branch(f"{DEMO}/training").tip()
    assert tip.stats.splits == {"train": 100 + 5, "val": 60}
    assert stack.store().tags()[f"{DEMO}/training@r1"] == tip.id


def test_executors_were_siblings_without_root_network_socket_or_secrets(
    stack: Stack, finished: DagRun, watch: Watch
) -> None:
    assert len(watch.seen) >= 3  # training, mining, and judging on the validation images
    for container in watch.seen:
        told = json.dumps(container)
        assert [name for name, value in stack.secrets.items() if value in told] == []
        assert container["Config"]["User"].split(":")[0] not in ("", "0")
        assert container["HostConfig"]["NetworkMode"] == "none"
        assert "docker.sock" not in told
        sources = [mount["Source"] for mount in container["Mounts"]]
        assert all(source.startswith(str(stack.work)) for source in sources)
    assert stack.executors() == []


def test_the_socket_and_root_are_where_they_are_needed_only(stack: Stack) -> None:
    services = {name: stack.container(name).attrs for name in (*STAYING, *ONCE)}

    assert [n for n, told in services.items() if "docker.sock" in str(told["Mounts"])] == [
        "airflow-scheduler"
    ]
    users = {name: told["Config"]["User"].split(":")[0] for name, told in services.items()}
    assert [name for name, user in users.items() if user in ("", "0", "root")] == []


def test_no_service_logs_a_secret(stack: Stack, finished: DagRun) -> None:
    for name in (*STAYING, *ONCE):
        said = stack.container(name).logs().decode(errors="replace")
        assert [secret for secret, value in stack.secrets.items() if value in said] == [], name


def test_doctor_finds_nothing_broken_from_where_tasks_run(stack: Stack) -> None:
    said = stack.run_in("airflow-scheduler", "python", "/opt/mir-ops/docker/airflow/doctor.py")

    health = {line[:19].strip(): line[19:].split()[0] for line in said.splitlines()[1:]}
    assert "failed" not in health.values(), said
    parts = ("engine", "work folder", "store")
    assert {part: health[part] for part in parts} == dict.fromkeys(parts, "ok")


def test_the_store_keeps_what_a_store_needs(stack: Stack) -> None:
    address = f"s3://{stack.settings['S3_BUCKET']}/probe?endpoint_url=http://s3:9000"

    assert "broken" not in stack.mir("store", "doctor", address)


def test_a_wrong_password_opens_nothing(stack: Stack) -> None:
    with pytest.raises(MirError) as caught:
        stack.client_as("admin@example.org", "guessed").dag_ids()

    assert caught.value.code == "airflow-login"
