"""Runs DAGs with Airflow's own `dag.test()`: one process, one database, no scheduler.

Started by the fixture `tried`: a run is asked for by a line of JSON, and answered by another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import Any
from unittest import mock

# What is logged is no answer.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: E402
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload  # noqa: E402
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail  # noqa: E402
from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.models import dagrun  # noqa: E402
from airflow.models.asset import AssetEvent, AssetModel  # noqa: E402
from airflow.models.hitl import HITLDetail  # noqa: E402
from airflow.models.taskinstance import TaskInstance  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.utils.db import initdb  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402
from airflow.utils.types import DagRunType  # noqa: E402
from sqlalchemy import select  # noqa: E402
from sqlalchemy.exc import OperationalError  # noqa: E402


def main() -> None:
    initdb()
    print(json.dumps({}), file=ANSWERS, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=ANSWERS, flush=True)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """One run of a DAG: what became of it and its tasks, and the XComs of the first."""
    os.environ.update(asked["env"])
    (dag,) = (each for each in DagBag(asked["file"]).dags.values() if each.dag_id == asked["dag"])
    made = mock.patch.object(dagrun, "get_or_create_dagrun", made_by(asked))
    with made, hurried(asked.get("answer")):
        found = dag.test(run_conf=asked["conf"])
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == found.run_id)
        tasks = [(ti.task_id, ti.state) for ti in session.scalars(query)]
        pushed = session.scalars(XComModel.get_many(run_id=found.run_id, task_ids="open_round"))
        xcoms = {each.key: XComModel.deserialize_value(each) for each in pushed}
    return {"run_id": found.run_id, "state": found.state, "tasks": tasks, "opening": xcoms}


def hurried(answer: str | None) -> Any:
    """`dag.test()` waits a second wherever a task was skipped, and between looks for a person's
    word: it is said then, when nothing else writes."""
    sleep = time.sleep

    def briefly(seconds: float) -> None:
        if answer is not None:
            with suppress(OperationalError):
                respond(answer)
        sleep(min(seconds, 0.05))

    return mock.patch.object(time, "sleep", briefly)


def made_by(asked: dict[str, Any]) -> Any:
    """Runs of `dag.test()` are a person's. This makes one as a schedule or an event would."""
    make = dagrun.get_or_create_dagrun

    def made(*, session: Any, **values: Any) -> Any:
        found = make(session=session, **values)
        found.run_type = DagRunType(asked["run_type"])
        if found.run_type == DagRunType.ASSET_TRIGGERED:
            asset = session.scalar(select(AssetModel).where(AssetModel.uri == asked["event"]))
            found.consumed_asset_events.append(AssetEvent(asset_id=asset.id, extra={}))
        session.commit()
        return found

    return made


def respond(answer: str) -> None:
    """What a person says once a task asks."""
    with create_session() as session:
        query = select(TaskInstance).join(HITLDetail)
        ti = session.scalar(query.where(HITLDetail.responded_at.is_(None)))
        if ti is not None and ti.state == "awaiting_input":
            update_hitl_detail(
                dag_id=ti.dag_id,
                dag_run_id=ti.run_id,
                task_id=ti.task_id,
                update_hitl_detail_payload=UpdateHITLDetailPayload(chosen_options=[answer]),
                user=SimpleAuthManagerUser(username="ada", role="admin"),
                session=session,
            )


if __name__ == "__main__":
    main()
