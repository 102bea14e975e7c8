"""From Airflow's pages of tasks and runs to the console's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from console_data import Client

from mir_ops.catalog import Catalog, read_project
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.store import Store

RUN = "manual__2026-11-22T10:00:00+00:00"


@pytest.fixture
def sources(tmp_path: Path, empty_catalog: str) -> Iterator[Sources]:
    catalog = Catalog.open(empty_catalog)
    project = catalog.projects.apply(
        read_project(
            {
                "name": "digits",
                "classes": ["cat"],
                "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
                "executor": {"name": "sample"},
            }
        )
    )
    catalog.rounds.open(
        "digits", deployment="local", dag_id="round__digits", run_id=RUN, spec=project.spec, conf={}
    )
    yield Sources(Store.open((tmp_path / "store").as_uri(), create=True), catalog)
    catalog.close()


def test_run_leads_to_its_round(sources: Sources) -> None:
    client = Client(create_app(lambda: sources), root_path="/airflow/mir")

    answer = client.get(f"/runs/round__digits/{quote(RUN, safe='')}")

    assert answer.status_code == 303
    assert answer.headers["location"] == "../../projects/digits/rounds/1"


def test_run_that_is_no_round_says_so(sources: Sources) -> None:
    client = Client(create_app(lambda: sources))

    for path in (f"/runs/dataset_import/{RUN}", "/runs/round__digits/<script>"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "has opened no round" in answer.text
        assert ">All projects</a>" in answer.text
        assert ("Rounds of digits" in answer.text) == ("round__digits" in path)
        assert "<script>" not in answer.text


def test_round_of_a_project_that_may_not_be_read_stays_unsaid(sources: Sources) -> None:
    app = create_app(lambda: sources, may=lambda _request, _action, project: project is None)

    assert Client(app).get(f"/runs/round__digits/{RUN}").status_code == 403


@pytest.mark.airflow
def test_tasks_of_a_round_lead_to_it() -> None:
    pytest.importorskip("airflow")
    from airflow.models.taskinstancekey import TaskInstanceKey
    from mir_airflow.links import OpenedRoundLink, RoundLink, keep_opened
    from mir_airflow.operators.approval import ApproveModelOperator
    from mir_airflow.operators.executor import TrainOperator
    from mir_airflow.operators.opening import OpenRoundOperator
    from mir_airflow.operators.rounds import CloseRoundOperator, CreateLabelTaskOperator

    key = TaskInstanceKey("round__digits", "train", RUN, 1, -1)
    opening = OpenRoundOperator(task_id="open_round", project="digits")
    assert OpenedRoundLink().get_link(opening, ti_key=key) == ""
    keep_opened(opening)

    for operator in (
        *(opening, TrainOperator, ApproveModelOperator),
        *(CreateLabelTaskOperator, CloseRoundOperator),
    ):
        (link,) = (each for each in operator.operator_extra_links if isinstance(each, RoundLink))
        address = link.get_link(operator, ti_key=key)  # type: ignore[arg-type]
        assert address.endswith(f"/mir/runs/round__digits/{quote(RUN, safe='')}")
