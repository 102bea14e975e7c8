from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from executor_jobs import op_id

from mir_ops.errors import InvalidInputError
from mir_ops.executor import (
    ExecutorFailedError,
    ExecutorImage,
    Job,
    Limits,
    check_outcome,
    clear_outputs,
    collect_inference,
    collect_training,
    docker_settings,
    follow_monitor,
    gpus,
)
from mir_ops.executor.engine import ContainerRun
from mir_ops.executor.gpus import free_gpus

LOOK_AROUND = """
import json, os, socket, sys
def can(action):
    try: action()
    except Exception as error: return type(error).__name__
    return "yes"
seen = {
    "user": os.getuid(),
    "write_in": can(lambda: open("/in/x", "w")),
    "write_out": can(lambda: open("/out/x", "w")),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "connect": can(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
    "capabilities": next(l.split()[1] for l in open("/proc/self/status") if "CapEff" in l),
    "no_new_privileges": next(l.split()[1] for l in open("/proc/self/status") if "NoNewPr" in l),
    "init": open("/proc/1/comm").read().strip(),
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
}
json.dump(seen, open("/out/seen.json", "w"))
"""


def test_settings_say_everything_about_the_container(prepare) -> None:
    job = prepare(limits=Limits(gpus=1, cpus=1.5, pids=64))

    settings = docker_settings(job)

    assert settings.name == f"mir-{job.op_id[:40]}"
    assert settings == docker_settings(prepare(limits=Limits(gpus=1, cpus=1.5, pids=64)))
    assert [(mount.target, mount.read_only) for mount in settings.mounts] == [
        ("/in", True),
        ("/out", False),
    ]
    assert not settings.user.startswith("0:")
    assert settings.labels == {
        "mir.task": "train",
        "mir.operation": job.op_id,
        "mir.kind": "train",
        "mir.gpus": "0",
    }
    host_config: dict[str, Any] = settings.host_config()
    assert host_config["network_mode"] == "none"
    assert host_config["cpu_quota"] == 150_000
    assert host_config["pids_limit"] == 64
    assert host_config["cap_drop"] == ["ALL"]
    assert host_config["init"] is True
    assert host_config["device_requests"][0]["DeviceIDs"] == ["0"]


def test_a_container_is_limited_where_nobody_says_how(prepare) -> None:
    host_config = docker_settings(prepare(limits=Limits())).host_config()

    assert host_config["cpu_quota"] == len(os.sched_getaffinity(0)) * 100_000
    assert host_config["mem_limit"] == host_config["memswap_limit"] == 8 << 30
    assert host_config["pids_limit"] == 512
    assert host_config["network_mode"] == "none"


def test_network_and_root_only_where_declared(prepare) -> None:
    image = ExecutorImage(name="old", image="old:1", network=True, run_as_root=True)
    settings = docker_settings(prepare(image=image, op_id=op_id("old")))
    assert (settings.network_mode, settings.user, settings.cap_drop) == ("bridge", "0:0", ())


@pytest.mark.parametrize("image", ["name", "registry:5000/name", "name:latest"])
def test_image_without_a_version_is_refused(prepare, image: str) -> None:
    job = prepare(image=ExecutorImage(name="x", image=image), op_id=op_id(image))
    with pytest.raises(InvalidInputError, match="does not name a version"):
        docker_settings(job)


def run_container(engine: Any, job: Job, command: list[str] | None = None) -> int:
    """As the operator does it: settings, create, start, wait, remove."""
    settings = docker_settings(job)
    clear_outputs(job)
    container = engine.api.create_container(
        image=settings.image,
        name=settings.name,
        user=settings.user,
        labels=dict(settings.labels),
        command=command,
        host_config=engine.api.create_host_config(**settings.host_config()),
    )
    try:
        engine.api.start(container)
        status: int = engine.api.wait(container, timeout=60)["StatusCode"]
        job.log_path.write_bytes(engine.api.logs(container))
    finally:
        engine.api.remove_container(container, force=True)
    return status


@pytest.mark.docker
def test_training_in_a_container(engine: Any, sample_image: str, prepare) -> None:
    job = prepare()

    check_outcome(job, run_container(engine, job), None)

    result = collect_training(job)
    progress = follow_monitor(job)
    assert progress is not None
    assert progress.percent == 100.0
    assert result.metrics == {"mAP": 0.6}
    assert job.monitor_path.stat().st_uid != 0
    assert not engine.containers.list(all=True, filters={"name": docker_settings(job).name})


@pytest.mark.docker
def test_inference_in_a_container(engine: Any, sample_image: str, prepare_candidates) -> None:
    job = prepare_candidates(mine=True)

    check_outcome(job, run_container(engine, job), None)

    taken = collect_inference(job, {"cat": 0, "dog": 1, "bird": 2})
    assert len(taken.assets) == 13
    assert taken.mining is not None
    assert taken.mining.num_rows == 13


@pytest.mark.docker
def test_crash_in_a_container_keeps_its_code(engine: Any, sample_image: str, prepare) -> None:
    job = prepare(config={"crash_code": 3})

    status = run_container(engine, job)

    with pytest.raises(ExecutorFailedError) as caught:
        check_outcome(job, status, None)
    assert str(caught.value) == (
        "Executor `sample` exited with 3, code 3: crashed as asked\n"
        "Last lines of its log:\n"
        "  crashing with 3"
    )


@pytest.mark.docker
def test_container_can_do_little(engine: Any, sample_image: str, prepare) -> None:
    job = prepare(limits=Limits(shm_bytes=1 << 20))

    run_container(engine, job, ["python3", "-c", LOOK_AROUND])

    seen = json.loads((job.outputs / "seen.json").read_text())
    assert seen == {
        "user": int(docker_settings(job).user.partition(":")[0]),
        "write_in": "OSError",
        "write_out": "yes",
        "interfaces": ["lo"],
        "connect": "OSError",
        "capabilities": "0000000000000000",
        "no_new_privileges": "1",
        "init": "docker-init",
        "shm": 1 << 20,
    }


@pytest.mark.docker
def test_a_gpu_in_use_is_not_given_twice(engine: Any, sample_image: str) -> None:
    words = ["sleep", "60"]
    before = free_gpus(engine.api, 1)
    holder = engine.containers.run(
        sample_image, words, labels={"mir.gpus": before[0]}, network_mode="none", detach=True
    )
    try:
        after = free_gpus(engine.api, 2)
    finally:
        holder.remove(force=True)

    assert before[0] not in after
    assert len(set(after)) == 2


@pytest.mark.docker
def test_containers_and_child_processes_know_of_each_other_s_gpus(
    engine: Any, sample_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    for number in (70, 71):
        (tmp_path / f"dev/nvidia{number}").touch()
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path / "dev")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one = Limits(gpus=1)

    with gpus.taken_gpus(one) as (child, _), gpus.chosen_gpus(one, engine.api) as container:
        assert (child, container) == (("70",), ("71",))
    labels = {"mir.gpus": "70"}
    holder = engine.containers.run(
        sample_image, ["sleep", "60"], labels=labels, network_mode="none", detach=True
    )
    try:
        with gpus.taken_gpus(one) as (child, _), gpus.chosen_gpus(one, engine.api) as container:
            assert (child, container) == (("71",), ("70",))  # none is free: one is shared
    finally:
        holder.remove(force=True)

    with gpus.taken_gpus(one) as (child, _):
        assert child == ("70",)


@pytest.mark.docker
def test_second_container_of_an_operation_cannot_start(
    engine: Any, sample_image: str, prepare
) -> None:
    import docker

    job = prepare(config={"hang": True})
    settings = docker_settings(job)
    limits = engine.api.create_host_config(**settings.host_config())
    first = engine.api.create_container(settings.image, name=settings.name, host_config=limits)
    try:
        with pytest.raises(docker.errors.APIError, match="409"):
            engine.api.create_container(settings.image, name=settings.name, host_config=limits)
    finally:
        engine.api.remove_container(first, force=True)


@pytest.mark.docker
def test_a_container_that_its_engine_stopped_is_not_taken_for_one_that_failed(
    engine: Any, sample_image: str, prepare
) -> None:
    job = prepare(config={"hang": True})
    first, again = (ContainerRun(job, engine=engine.api) for _ in range(2))
    first.start()
    try:
        engine.api.stop(first.name, timeout=10)  # as an engine does with all when it stops
        assert engine.api.inspect_container(first.name)["State"]["ExitCode"] in (137, 143)

        assert not again.attach()

        assert not engine.containers.list(all=True, filters={"name": first.name})
    finally:
        again.remove()
