"""A stack with metrics and a round through it: what Prometheus knows, and where no secret is."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from image_layers import layer_files
from production_stack import (
    DEMO,
    IMAGES,
    ONCE,
    ROOT,
    STAYING,
    Stack,
    image,
    running,
    skip_without,
    until,
)

from mir_ops.demo.services import free_port
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.store.objects import read_object

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(1800)]

METRICS = ("metrics-exporter", "prometheus")
# What has an answer once a round has closed, on a machine without GPUs.
KNOWN = {
    *("airflow_mir_rounds_opened", "airflow_mir_rounds_closed", "airflow_mir_round_map50"),
    *("airflow_mir_import_images", "airflow_mir_import_seconds_sum"),
    *("airflow_mir_commit_seconds_count", "airflow_mir_executor_seconds_sum"),
    *("airflow_mir_labels_waiting", "airflow_mir_labels_age_seconds", "airflow_mir_work_dir_used"),
    *("airflow_scheduler_heartbeat", "airflow_triggerer_heartbeat"),
    *("airflow_dag_processor_heartbeat", "airflow_dag_processing_import_errors"),
    "airflow_task_scheduled_duration_sum",
    *("airflow_ti_finish", "airflow_dagrun_duration_success_sum", "airflow_triggers_running"),
    *("airflow_pool_running_slots", "airflow_pool_open_slots", "airflow_pool_starving_tasks"),
}
PAGES = (
    *("", "classes", "executors", "health", "new-project", f"projects/{DEMO}"),
    *(f"projects/{DEMO}/{name}" for name in ("edit", "labels", "models", "rounds/1", "versions")),
)
# Where passwords and keys lie, and logins in addresses, as of a package index.
PRIVATE = re.compile(
    r"(^|/)(\.env[^/]*|\.netrc|\.pgpass|\.git-credentials|\.pypirc|pip\.conf|uv\.toml"
    r"|id_(rsa|ecdsa|ed25519)|\.git|\.ssh|\.aws|\.docker)$"
)
# Where secrets would come to lie in a database: templates as they were rendered, results of tasks.
PLACES = {
    "airflow": ("rendered_task_instance_fields", "xcom", "dag_run", "serialized_dag", "log"),
    "mir": ("mir_projects", "mir_rounds", "mir_round_steps"),
}
LOGIN = re.compile(r"://[^/@\s:]+:[^/@\s]+@")
# Of Debian and PyPI: the names of these files are looked at, their content is the same everywhere.
INSTALLED = ("usr/", "var/lib/", "lib", "bin/", "sbin/", "opt/venv/")
CANARY = "canary-of-a-wrong-key-7d1f"


@pytest.fixture(scope="module")
def watched(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    skip_without(engine, "prometheus")
    folder = tmp_path_factory.mktemp("watched")
    more = {"METRICS": "True", "PROMETHEUS_PORT": str(free_port())}
    with running(folder, "metrics", engine=engine, **more) as stack:
        stack.wait_healthy(*METRICS)
        yield stack


@pytest.fixture(scope="module")
def closed(watched: Stack) -> DagRun:
    watched.bring(DEMO)
    run = watched.round(DEMO)
    assert run.state == "success", watched.failures(run)
    return run


def prometheus(stack: Stack, path: str, **params: str) -> Any:
    port = stack.settings["PROMETHEUS_PORT"]
    answer = httpx.get(
        f"http://127.0.0.1:{port}/api/v1/{path}", params=params, timeout=30, trust_env=False
    )
    return answer.raise_for_status().json()["data"]


def queries() -> list[str]:
    file = ROOT / "docker" / "metrics" / "grafana" / "rounds.json"
    panels = json.loads(file.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [each.replace("$project", ".*").replace("$__range", "1h") for each in found]


def test_prometheus_has_what_rounds_and_airflow_send(watched: Stack, closed: DagRun) -> None:
    def unknown() -> set[str]:
        return KNOWN - set(prometheus(watched, "label/__name__/values"))

    until(lambda: not unknown(), "Prometheus knows all names", 120)
    (one,) = prometheus(watched, "query", query="airflow_mir_rounds_closed")["result"]
    assert (one["metric"]["project"], one["value"][1]) == (DEMO, "1")


def test_every_query_of_the_dashboard_is_understood(watched: Stack) -> None:
    for query in queries():
        assert prometheus(watched, "query", query=query)["resultType"] == "vector", query


def test_no_alert_fires_on_a_stack_that_is_well(watched: Stack, closed: DagRun) -> None:
    rules = prometheus(watched, "rules")["groups"][0]["rules"]

    assert len(rules) == 9
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


def found_in(stack: Stack, content: bytes) -> list[str]:
    """The names of the secrets whose values stand there, as they are or as in a URL."""
    return [
        name
        for name, value in stack.secrets.items()
        if value.encode() in content or quote(value, safe="").encode() in content
    ]


@pytest.mark.parametrize("name", [*IMAGES, "prometheus"])
def test_no_layer_of_an_image_has_a_secret(watched: Stack, name: str) -> None:
    found = watched.engine.images.get(image(name))
    told = [each.partition("=")[0] for each in found.attrs["Config"]["Env"] or []]
    assert [each for each in told if re.search("KEY|SECRET|PASSWORD|TOKEN", each)] == []
    made = [each["CreatedBy"] for each in found.history()]
    assert [each for each in made if LOGIN.search(each) or found_in(watched, each.encode())] == []
    read = 0
    for path, content in layer_files(found, largest=1 << 20):
        assert not PRIVATE.search(path), path
        if not path.startswith(INSTALLED):
            assert found_in(watched, content) == [], path
            read += 1
    assert read > 1000


def test_no_command_line_has_a_secret(watched: Stack) -> None:
    for name in (*STAYING, *METRICS):
        told = json.dumps(watched.container(name).top(ps_args="-ww -eo pid,args"))
        assert found_in(watched, told.encode()) == [], name


def test_no_log_has_a_secret(watched: Stack, closed: DagRun) -> None:
    for name in (*STAYING, *ONCE, *METRICS):
        assert found_in(watched, watched.container(name).logs()) == [], name
    stream, _ = watched.container("airflow-scheduler").get_archive("/opt/airflow/logs")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as logs:
        read = {one.name: logs.extractfile(one) for one in logs if one.isfile()}
        assert any("task_id=train" in name for name in read)
        told = {name: found_in(watched, file.read()) for name, file in read.items() if file}
    assert {name: names for name, names in told.items() if names} == {}


def test_no_database_has_a_secret(watched: Stack, closed: DagRun) -> None:
    for database in ("airflow", "mir"):
        dump = watched.run_in("postgres", "pg_dump", "-U", "mir", database)
        for table in PLACES[database]:
            _, begun, rest = dump.partition(f"\nCOPY public.{table} (")
            assert begun, table
            assert len(rest.partition("\n\\.\n")[0].splitlines()) > 1, table
        assert found_in(watched, dump.encode()) == [], database


def test_no_object_of_the_store_has_a_secret(watched: Stack, closed: DagRun) -> None:
    objects = watched.store().objects
    keys = list(objects.list(""))
    assert len(keys) > 100
    told = {key: found_in(watched, read_object(objects, key)) for key in keys}
    assert {key: names for key, names in told.items() if names} == {}


def test_no_file_of_the_work_folder_has_a_secret(watched: Stack, closed: DagRun) -> None:
    files = [each for each in watched.work.rglob("*") if each.is_file()]
    assert files
    told = {each: found_in(watched, each.read_bytes()) for each in files}
    assert {str(each): names for each, names in told.items() if names} == {}


def test_airflow_and_console_show_no_secret(watched: Stack, closed: DagRun) -> None:
    client, run = watched.client, f"/dags/{closed.dag_id}/dagRuns/{quote(closed.run_id)}"
    asked = (
        *(run, f"{run}/taskInstances", f"{run}/taskInstances/~/xcomEntries"),
        *("/connections", "/variables", "/config", "/pools", "/plugins"),
    )
    for path in asked:
        answer = client._http.get(f"/api/v2{path}", **client._with_token({}))
        # Airflow shows its settings to nobody.
        assert answer.status_code == (403 if path == "/config" else 200), path
        assert found_in(watched, answer.content) == [], path
    for page in PAGES:
        shown = client._http.get(f"/mir/{page}", follow_redirects=True, **client._with_token({}))
        assert shown.status_code == 200, page
        assert found_in(watched, shown.content) == [], page


def test_doctor_and_errors_tell_no_secret(watched: Stack) -> None:
    doctor = watched.run_in("airflow-scheduler", "python", "/opt/mir-ops/docker/airflow/doctor.py")
    assert found_in(watched, doctor.encode()) == []
    wrong = {
        "AWS_SECRET_ACCESS_KEY": ("branch", CANARY),
        "MIR_CATALOG": ("project", f"postgresql+psycopg2://mir:{CANARY}@postgres/mir"),
    }
    for variable, (command, value) in wrong.items():
        words = ("exec", "-T", "-e", f"{variable}={value}", "airflow-scheduler", "mir", command)
        done = watched.compose(*words, "list", "--debug", check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert CANARY not in said
        assert found_in(watched, said.encode()) == []
