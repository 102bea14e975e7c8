"""Every service killed in turn during a round, the power cut, the engine restarted: the round
closes, and each step commits once.

The restart of the engine is for a machine whose engine nobody else uses:
MIR_RESTART_ENGINE="systemctl restart docker" pytest -m long tests/stack/test_stack_survives.py
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from production_stack import DAG, ONCE, STAYING, Stack, running, skip_without, until
from stack_rounds import begin, closed_once, finish, training

from mir_ops.demo.annotator import ScriptedAnnotator
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.studio_client import StudioClient

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(1800)]

DOWN_SECONDS = 5.0
RESTART = os.environ.get("MIR_RESTART_ENGINE")
PEOPLE = {"backend": "label-studio", "poll_seconds": 2, "timeout_days": 1}


@pytest.fixture(scope="module")
def stack(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack with Label Studio, which every test finds healthy."""
    skip_without(engine, "label-studio")
    folder = tmp_path_factory.mktemp("survivor")
    with running(folder, "label-studio", engine=engine, LABEL_TOOL="label_studio") as started:
        yield started


def annotator(stack: Stack) -> ScriptedAnnotator:
    """Somebody who labels what is right at the stack's Label Studio."""
    server = SimpleNamespace(
        url=stack.label_url, login={"token": stack.settings["LABEL_TOOL_TOKEN"]}
    )
    return ScriptedAnnotator(cast("LocalLabelStudio", server), oracle_url=stack.oracle.as_uri())


@pytest.mark.parametrize("service", STAYING)
def test_a_killed_service_costs_the_round_nothing(stack: Stack, service: str) -> None:
    project = f"without-{service}"
    run = begin(stack, project)

    stack.kill(service)
    time.sleep(DOWN_SECONDS)
    stack.start(service)

    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, project)
    stack.wait_healthy()


def test_label_studio_may_die_while_people_label(stack: Stack) -> None:
    run = begin(stack, "people", idle=0, labels=PEOPLE)
    until(
        lambda: stack.client.task_states(DAG, run.run_id).get("wait_for_labels") == "deferred",
        "the round waits for people",
    )

    stack.kill("label-studio")
    time.sleep(DOWN_SECONDS)
    stack.start("label-studio")
    with annotator(stack):
        ended = finish(stack, run)

    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "people")
    with StudioClient(stack.label_url, stack.settings["LABEL_TOOL_TOKEN"]) as client:
        assert client.get("/api/projects/", title="people round")["count"] == 1


def test_the_power_may_go(stack: Stack) -> None:
    run = begin(stack, "dark")

    for container in training(stack, run):
        container.kill()
    stack.kill(*stack.staying)
    stack.up()

    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "dark")


@pytest.mark.skipif(RESTART is None, reason="MIR_RESTART_ENGINE names no command")
def test_the_engine_may_restart(stack: Stack) -> None:
    assert RESTART is not None
    run = begin(stack, "restarted")

    before = [stack.container(name).attrs["State"]["StartedAt"] for name in stack.staying]
    subprocess.run(shlex.split(RESTART), check=True)
    until(lambda: _answers(stack), "the engine is back")
    stack.wait_healthy()
    after = [stack.container(name).attrs["State"]["StartedAt"] for name in stack.staying]

    assert all(old != new for old, new in zip(before, after, strict=True))
    assert [stack.state(name) for name in ONCE] == ["exited", "exited"]
    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "restarted")


def _answers(stack: Stack) -> bool:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        return bool(stack.engine.ping())
    except (DockerException, RequestException):
        return False
