"""The page of metrics, and whether every query of dashboard and alerts finds its name there."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from mir_airflow.metrics import METRICS, Metric

ROOT = Path(__file__).parents[2]
METRICS_DIR = ROOT / "docker" / "metrics"
DOCS = ROOT / "docs" / "metrics.md"
KINDS = {"counter": "c", "gauge": "g", "timer": "ms"}
LISTED_ONLY = {"task.queued_duration"}  # Airflow 3.3 documents it, and sends it nowhere
NOT_SENT = {"up"}  # Prometheus's own
# Queries ask for these of Airflow's own metrics, with these tags.
TAGS = {
    "airflow_pool_running_slots": {"pool_name"},
    "airflow_pool_open_slots": {"pool_name"},
    "airflow_pool_starving_tasks": {"pool_name"},
    "airflow_task_scheduled_duration": {"task_id"},
    "airflow_ti_finish": {"state"},
    "airflow_dagrun_duration_success": {"dag_id"},
    "airflow_triggers_running": {"hostname"},
}
Page = Callable[..., str]


@pytest.fixture
def page() -> Iterator[Page]:
    """Sends lines to an exporter of its own, and reads its page once it has them."""
    command = [sys.executable, str(METRICS_DIR / "exporter.py"), "--statsd-port=0", "--page-port=0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        assert process.stdout is not None
        statsd, web = map(int, re.findall(r"\d+", process.stdout.readline()))
        sent = 0

        def read(*lines: str) -> str:
            nonlocal sent
            for line in lines:
                mouth.sendto(line.encode(), ("127.0.0.1", statsd))
                sent += len(line.splitlines())
                time.sleep(0.0005)  # a datagram that finds the buffer full is lost
            while True:
                text = urlopen(f"http://127.0.0.1:{web}/metrics", timeout=10).read().decode()
                if f"\nstatsd_lines {sent}\n" in text:
                    return str(text)
                time.sleep(0.02)

        yield read
        process.terminate()


def rows(text: str) -> dict[str, float]:
    """What the page says, its account of itself left out."""
    found = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in found if not name.startswith("statsd_lines")}


def test_counters_add_up_gauges_keep_the_last_and_timers_are_seconds(page: Page) -> None:
    text = page(
        "airflow.mir.rounds.closed,project=street:1|c",
        "airflow.mir.rounds.closed,project=street:1|c",
        "airflow.mir.rounds.closed,project=night:1|c|@0.5",
        "airflow.mir.labels.waiting,project=street:7|g",
        "airflow.mir.labels.waiting,project=street:3|g\nairflow.mir.labels.waiting,project=street:+2|g",
        "airflow.mir.import.seconds,project=street:1500.000000|ms",
        "airflow.mir.import.seconds,project=street:500.000000|ms",
    )  # fmt: skip

    assert rows(text) == {
        'airflow_mir_import_seconds_count{project="street"}': 2,
        'airflow_mir_import_seconds_sum{project="street"}': 2.0,
        'airflow_mir_labels_waiting{project="street"}': 5,
        'airflow_mir_rounds_closed{project="night"}': 2,
        'airflow_mir_rounds_closed{project="street"}': 2,
    }
    assert "# TYPE airflow_mir_import_seconds summary" in text


@pytest.mark.parametrize(
    "line",
    ["", "nothing", "a:b|c", "a:1|x", "a,b:1|c", ":1|c", "a:1|c|@0", "\x00\xff", "a" * 9_000],
)  # fmt: skip
def test_a_line_that_is_none_is_counted_and_changes_nothing(page: Page, line: str) -> None:
    text = page("kept:1|g", line)

    assert rows(text) == {"kept": 1}
    assert f"statsd_lines_refused {len(line.splitlines())}\n" in text


def test_a_name_stays_what_it_was_first(page: Page) -> None:
    assert rows(page("a:1|c", "a:7|g")) == {"a": 1}


def test_hostile_tags_cannot_write_rows_of_their_own(page: Page) -> None:
    text = page('a,project=x"} 9 b\\:1|c')

    assert [line for line in text.splitlines() if line.startswith("a{")] == [
        r'a{project="x\"} 9 b\\"} 1.0'
    ]


@pytest.fixture(scope="module")
def airflow_metrics() -> list[dict[str, Any]]:
    spec = find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "_shared/observability/metrics/metrics_template.yaml"
    found = yaml.safe_load(file.read_text())["metrics"]
    return [each for each in found if "{" not in each["name"]]


def test_every_query_asks_for_names_and_tags_that_come_out(
    page: Page, airflow_metrics: list[dict[str, Any]]
) -> None:
    ours = [
        f"airflow.{each.name}{''.join(f',{tag}=x' for tag in each.tags)}:1|{KINDS[each.kind]}"
        for each in METRICS
    ]
    theirs = [
        f"airflow.{each['name']}:1|{KINDS[each['type']]}"
        for each in airflow_metrics
        if each["name"] not in LISTED_ONLY
    ]
    names: dict[str, set[str]] = {}
    for row in rows(page(*ours, *theirs)):
        name, _, tags = row.partition("{")
        names[name] = set(re.findall(r"(\w+)=", tags)) | TAGS.get(
            re.sub("_(sum|count)$", "", name), set()
        )

    for query in queries():
        asked = set(re.findall(r"\b(?:airflow_\w+|up)\b", query))
        assert asked, query
        assert asked <= names.keys() | NOT_SENT, query
        for name, tags in re.findall(r"(airflow_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", tags)) <= names[name], query
        grouped = set(re.findall(r"by \((\w+)\)", query))
        assert all(grouped <= names[name] for name in asked - NOT_SENT if grouped), query


def queries() -> list[str]:
    dashboard = json.loads((METRICS_DIR / "grafana" / "rounds.json").read_text())
    rules = yaml.safe_load((METRICS_DIR / "rules.yml").read_text())
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    watched = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    listed = [each["query"]["query"] for each in dashboard["templating"]["list"]]
    return [*drawn, *watched, *listed]


def test_each_alert_names_a_page_that_exists() -> None:
    rules = yaml.safe_load((METRICS_DIR / "rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        path, _, anchor = rule["annotations"]["page"].partition("#")
        heads = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in anchors, rule["annotations"]["page"]


def row_of(metric: Metric) -> str:
    page = "airflow_" + metric.name.replace(".", "_")
    shown = f"`{page}_sum`, `{page}_count`" if metric.kind == "timer" else f"`{page}`"
    tags = ", ".join(f"`{tag}`" for tag in metric.tags)
    return f"| `{metric.name}` | {metric.kind} | {shown} | {tags} | {metric.says} |"


def test_the_docs_have_the_table_of_metrics() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `mir.")]

    assert rows == [row_of(each) for each in METRICS]
