"""The stack's PostgreSQL and its S3 server on small disks that fill up while a round runs: what
people see, and that the round closes once there is room again, as docs/operations.md has it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from full_disks import fill
from production_stack import DAG, Stack, running, skip_without, until
from stack_rounds import begin, closed_once, finish

from mir_ops.errors import MirError
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.store.audits import audit

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(1800)]

SMALL = 512 << 20
VOLUMES = {"postgres": "postgres-data", "s3": "s3-data"}


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system for each of the two."""
    root = tmp_path_factory.mktemp("disks")
    with ExitStack() as mounted:
        for service in VOLUMES:
            place = root / service
            place.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("Only root may mount file systems")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
        yield root


@pytest.fixture(scope="module")
def stack(
    engine: Any, sample_image: str, disks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    skip_without(engine)
    folder = tmp_path_factory.mktemp("small")
    volumes = {
        volume: {
            "driver": "local",
            "driver_opts": {"type": "none", "o": "bind", "device": str(disks / service)},
        }
        for service, volume in VOLUMES.items()
    }
    overlay = folder / "volumes.yaml"
    overlay.write_text(yaml.safe_dump({"volumes": volumes}))
    with running(folder / "stack", engine=engine, overlays=[overlay]) as started:
        yield started


def doctor(stack: Stack) -> str:
    """What `make status` prints of it."""
    words = ("exec", "-T", "airflow-scheduler", "python", "/opt/mir-ops/docker/airflow/doctor.py")
    done = stack.compose(*words, check=False)
    return done.stdout + done.stderr


def health_page(stack: Stack) -> httpx.Response:
    """What the console's page says to whoever was logged in before."""
    answer: httpx.Response = stack.client._http.get(
        "/mir/health", params={"language": "en"}, **stack.client._with_token({})
    )
    return answer


def log_of_training(stack: Stack, run: DagRun) -> str:
    """Of all its tries; nothing while Airflow does not answer."""
    try:
        (train,) = (one for one in stack.client.tasks(DAG, run.run_id) if one.task_id == "train")
        tries = range(1, train.try_number + 1)
        logs = [stack.client.log(DAG, run.run_id, "train", try_number=n) for n in tries]
    except MirError:
        return ""
    return "".join(logs)


def log_of(stack: Stack, service: str) -> str:
    return str(stack.container(service).logs().decode(errors="replace"))


def test_a_round_waits_for_room_for_the_s3_server(stack: Stack, disks: Path) -> None:
    run = begin(stack, "crowded")

    filler = fill(disks / "s3")
    until(lambda: "Cannot connect to `s3://" in log_of_training(stack, run), "the task says why")
    fill(disks / "s3")
    said, shown = doctor(stack), health_page(stack)
    filler.unlink()
    stack.compose("up", "-d", "s3")
    stack.wait_healthy("s3")

    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "crowded")
    assert audit(stack.store(), "deep").clean
    assert "Cannot connect to `s3://" in said
    assert shown.status_code == 200
    assert "1 part does not work" in shown.text
    assert "Cannot connect to <code>s3://" in shown.text
    assert "error: the server ended" in log_of(stack, "s3")


def test_a_round_waits_for_room_for_postgresql(stack: Stack, disks: Path) -> None:
    run = begin(stack, "cramped")

    filler = fill(disks / "postgres")
    until(lambda: re.search("The (disk of the )?catalog", doctor(stack)), "doctor says it")
    filler.unlink()
    stack.compose("up", "-d", "postgres")
    stack.wait_healthy("postgres")

    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, "cramped")
    assert "No space left on device" in log_of(stack, "postgres")
