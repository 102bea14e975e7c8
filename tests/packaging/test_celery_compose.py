"""What docker-compose reads of docker-compose.celery, .cluster and .worker.yaml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_compose import ROOT, env_file

STACK = ("docker-compose.yaml", "docker-compose.celery.yaml")
SOCKET = "/var/run/docker.sock"
ELSEWHERE = {
    "POSTGRES_ADDRESS": "10.7.0.1:5432",
    "REDIS_ADDRESS": "10.7.0.1:6379",
    "S3_URL": "http://10.7.0.1:9000",
    "AIRFLOW_API_URL": "http://10.7.0.1:8080",
}


def services(folder: Path, *files: str, **settings: str) -> dict[str, Any]:
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("docker-compose is not installed")
    env = env_file(folder, **settings)
    told = {name: value for name, value in settings.items() if name not in env.read_text()}
    with env.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in told.items())
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    named = [word for file in files for word in ("--file", file)]
    done = subprocess.run(
        [command, "--env-file", str(env), *named, "config"],
        cwd=ROOT, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "${" not in done.stdout  # docker-compose 1.29 reads no variable within another
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def sources(service: dict[str, Any]) -> dict[str, str]:
    """What is mounted where, read from docker-compose 1.29's short form."""
    return {each.split(":")[1]: each.split(":")[0] for each in service.get("volumes", [])}


def test_the_workers_have_the_engines_socket_and_the_scheduler_has_it_no_more(
    tmp_path: Path,
) -> None:
    found = services(tmp_path, *STACK)

    holders = [name for name, each in found.items() if sources(each).get(SOCKET) == SOCKET]
    assert holders == ["airflow-worker"]
    assert sources(found["airflow-scheduler"])[SOCKET] == "/dev/null"


def test_every_part_of_airflow_runs_tasks_by_celery(tmp_path: Path) -> None:
    found = services(tmp_path, *STACK)

    parts = {name: each["environment"] for name, each in found.items() if "airflow-" in name}
    assert len(parts) == 6
    for told in parts.values():
        assert told["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
        assert told["AIRFLOW__CELERY__BROKER_URL"] == "redis://:pwredis@redis:6379/0"
        assert told["AIRFLOW__MIR__QUEUE"] == "executors"


def test_no_port_is_opened_unless_an_address_is_named(tmp_path: Path) -> None:
    found = services(tmp_path, *STACK)
    assert not any("ports" in found[name] for name in ("redis", "postgres", "s3"))

    opened = services(tmp_path, *STACK, "docker-compose.cluster.yaml", CLUSTER_ADDRESS="10.7.0.1")
    addresses = {
        name: [port for port in each.get("ports", []) if not port.startswith("127.0.0.1:")]
        for name, each in opened.items()
    }
    assert {name: ports for name, ports in addresses.items() if ports} == {
        "postgres": ["10.7.0.1:5432:5432/tcp"],
        "redis": ["10.7.0.1:6379:6379/tcp"],
        "s3": ["10.7.0.1:9000:9000/tcp"],
        "airflow-apiserver": ["10.7.0.1:8080:8080/tcp"],
    }


def test_a_worker_elsewhere_reaches_the_stack_and_has_folders_of_its_own(tmp_path: Path) -> None:
    found = services(
        tmp_path, "docker-compose.worker.yaml", YMIR_PATH="/data/gpu-host", **ELSEWHERE
    )

    assert list(found) == ["airflow-worker"]
    worker = found["airflow-worker"]
    assert worker["command"] == ["celery", "worker", "--queues", "executors"]
    assert sources(worker) == {SOCKET: SOCKET, "/data/gpu-host": "/data/gpu-host"}
    told = worker["environment"]
    assert told["AIRFLOW__CELERY__BROKER_URL"] == "redis://:pwredis@10.7.0.1:6379/0"
    assert told["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://10.7.0.1:8080/execution/"
    connection = json.loads(told["AIRFLOW_CONN_MIR_DEFAULT"])["extra"]
    assert connection["work_dir"] == "/data/gpu-host"
    assert connection["store_url"] == "s3://mir/store?endpoint_url=http://10.7.0.1:9000"
    assert "AIRFLOW_CONN_MIR_LABELS" not in told


def test_a_worker_here_has_the_connections_of_the_other_parts(tmp_path: Path) -> None:
    found = services(tmp_path, *STACK)

    ours, theirs = (found[name]["environment"] for name in ("airflow-worker", "airflow-apiserver"))
    same = [name for name in ours if name.startswith(("AIRFLOW_CONN_", "AIRFLOW__API"))]
    assert len(same) >= 5
    for name in same:
        mine, other = ours[name], theirs[name]
        if name.startswith("AIRFLOW_CONN_"):
            mine, other = json.loads(mine), json.loads(other)
        if name == "AIRFLOW_CONN_MIR_DEFAULT":
            url = mine["extra"]["catalog_url"].replace("@postgres:5432/", "@postgres/")
            mine["extra"]["catalog_url"] = url
        assert mine == other
