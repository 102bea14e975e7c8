"""Secrets of a deployment: in no place where people or executors look, nor in what is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from moto.server import ThreadedMotoServer
from round_worlds import RoundWorld

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.store import Store
from mir_ops.store.objects import read_object

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.docker,
    pytest.mark.s3,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("sample_image"),
]

DAG = "secret_round"
ACCESS_KEY, SECRET_KEY = "AKIAROUNDSECRETS7", "s3cr3t/of+the=store/4b1d"
LABEL_USER, LABEL_TOKEN = "labeller-7c", "t0ken-of-the-label-tool-9f3e"
IMAGE_SECRET = "signs-addresses-of-images-c81d"
SECRETS = (ACCESS_KEY, SECRET_KEY, LABEL_USER, LABEL_TOKEN, IMAGE_SECRET)
PAGES = (
    *("", "classes", "executors", "health", "new-project", "projects/secretive"),
    *(f"projects/secretive/{name}" for name in ("edit", "labels", "models", "versions")),
)
SECONDS = 400.0


@pytest.fixture
def store_url() -> Iterator[str]:
    """A store on an S3 server of our own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="secret")
    url = f"s3://secret/store?endpoint_url={endpoint}"
    Store.open(url, create=True, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    yield url
    server.stop()


def test_no_secret_is_where_somebody_looks(
    airflow: LocalAirflow, world: RoundWorld, engine: Any, store_url: str
) -> None:
    _connect(airflow, world, store_url)
    # A model of its own: the catalog knows the packages of the other tests, which this store lacks.
    world.apply("secretive", config={"idle_seconds": 2}, seed=7)

    run = airflow.client.trigger(DAG, conf={"project": "secretive"})
    inspected = _inspected_until_over(airflow, engine, run)

    tasks = _get(airflow, f"/dags/{DAG}/dagRuns/{quote(run.run_id)}/taskInstances")
    tried = [one for one in tasks["task_instances"] if one["try_number"]]
    ran = [one["task_id"] for one in tried if one["state"] != "skipped"]
    logs = {task: airflow.client.log(DAG, run.run_id, task) for task in ran}
    assert airflow.client.run(DAG, run.run_id).state == "success", logs
    connections = _get(airflow, "/connections")["connections"]
    assert ACCESS_KEY in json.dumps(connections)  # who logs in is no secret to an admin
    seen = {
        "rendered templates and task instances": json.dumps(tasks),
        "the run": json.dumps(_get(airflow, f"/dags/{DAG}/dagRuns/{quote(run.run_id)}")),
        "XComs": json.dumps([_xcoms(airflow, run, task) for task in ran]),
        "connections": json.dumps([_without_login(one) for one in connections]),
        "docker inspect": json.dumps(inspected),
        **{f"log of {task}": log for task, log in logs.items()},
        **{f"page {page}": _page(airflow, page) for page in PAGES},
    }
    assert all("Done: " in logs[task] for task in ("train", "import_labels"))
    assert "rendered_fields" in seen["rendered templates and task instances"]
    assert {one["Config"]["Labels"]["mir.task"] for one in inspected} >= {"train"}
    assert "secretive" in seen["page projects/secretive"]
    keys = tuple(json.loads((airflow.home / "keys.json").read_text()).values())  # Airflow's own
    assert _where(seen, (*SECRETS, *keys)) == []
    kept = (SECRET_KEY, LABEL_TOKEN, IMAGE_SECRET, *keys)
    assert _files_with_secrets(airflow.home, kept) == []
    assert _files_with_secrets(world.root, kept) == []
    assert _objects_with_secrets(store_url, kept) == []


def _connect(airflow: LocalAirflow, world: RoundWorld, store_url: str) -> None:
    known = world.connections()
    made = [
        (
            "secret_store",
            known["containers"],
            {"store_url": store_url, "image_secret": IMAGE_SECRET},
            ACCESS_KEY,
            SECRET_KEY,
        ),
        ("secret_labels", known["mir_labels"], {}, LABEL_USER, LABEL_TOKEN),
    ]
    for name, like, extra, login, password in made:
        body = {
            "connection_id": name,
            "conn_type": like["conn_type"],
            "login": login,
            "password": password,
            "extra": json.dumps({**like["extra"], **extra}),
        }
        airflow.client._call("POST", "/connections", json=body)


def _inspected_until_over(airflow: LocalAirflow, engine: Any, run: DagRun) -> list[Any]:
    """What `docker inspect` says of the run's containers, until the run is over."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + SECONDS
    while not airflow.client.run(DAG, run.run_id).finished:
        assert time.monotonic() < deadline
        label = {"label": f"mir.run={run.run_id}"}
        for one in engine.containers.list(all=True, filters=label, ignore_removed=True):
            found[one.id] = one.attrs
        time.sleep(0.2)
    return list(found.values())


def _xcoms(airflow: LocalAirflow, run: DagRun, task: str) -> list[Any]:
    path = f"/dags/{DAG}/dagRuns/{quote(run.run_id)}/taskInstances/{task}/xcomEntries"
    keys = [one["key"] for one in _get(airflow, path)["xcom_entries"]]
    return [airflow.client.xcom(DAG, run.run_id, task, key=key) for key in keys]


def _get(airflow: LocalAirflow, path: str) -> Any:
    return airflow.client._call("GET", path, params={"limit": 100})


def _page(airflow: LocalAirflow, page: str) -> str:
    client = airflow.client
    answer = client._http.get(f"/mir/{page}", follow_redirects=True, **client._with_token({}))
    assert answer.status_code == 200, page
    return str(answer.text)


def _without_login(connection: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in connection.items() if name != "login"}


def _where(seen: dict[str, str], secrets: tuple[str, ...]) -> list[str]:
    return [
        f"{secret} in {place}"
        for place, text in seen.items()
        for secret in secrets
        if secret in text or json.dumps(secret)[1:-1] in text
    ]


def _files_with_secrets(folder: Path, secrets: tuple[str, ...]) -> list[str]:
    """Logs, settings, databases, jobs: a login may be in them, a password only encrypted."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "keys.json":
            content = path.read_bytes()
            found += [f"{secret} in {path}" for secret in secrets if secret.encode() in content]
    return found


def _objects_with_secrets(store_url: str, secrets: tuple[str, ...]) -> list[str]:
    objects = Store.open(store_url, access_key=ACCESS_KEY, secret_key=SECRET_KEY).objects
    keys = list(objects.list(""))
    assert keys
    return [
        f"{secret} in {key}"
        for key in keys
        for content in [read_object(objects, key)]
        for secret in secrets
        if secret.encode() in content
    ]
