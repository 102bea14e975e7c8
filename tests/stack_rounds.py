"""Rounds through a stack while something happens to it: begun, followed, and closed once."""

from __future__ import annotations

from typing import Any

from production_stack import DAG, ROUND_SECONDS, Stack, until

from mir_ops.errors import MirError
from mir_ops.rounds.airflow_api import DagRun


def begin(stack: Stack, project: str, *, idle: int = 20, **changes: Any) -> DagRun:
    """A round whose executors take some time; its training runs when this returns."""
    slow = {"train": {"idle_seconds": idle}}
    executor = {"name": "sample", "config": slow, "limits": {"time_seconds": 600}}
    stack.bring(project, executor=executor, **changes)
    until(lambda: DAG in stack.client.dag_ids(), f"Airflow knows {DAG}")
    run = stack.client.trigger(DAG, conf={"project": project})
    until(lambda: training(stack, run) != [], "the training runs")
    return run


def training(stack: Stack, run: DagRun) -> list[Any]:
    return [
        container
        for container in stack.executors()
        if container.status == "running" and container.labels["mir.run"] == run.run_id
    ]


def finish(stack: Stack, run: DagRun) -> DagRun:
    """Follow a run to its end, over answers that do not come."""
    ended: list[DagRun] = []

    def is_over() -> bool:
        try:
            ended[:] = [stack.client.run(DAG, run.run_id)]
        except MirError:
            return False
        return ended[0].finished

    until(is_over, f"{run.run_id} ends", 2 * ROUND_SECONDS)
    return ended[0]


def closed_once(stack: Stack, project: str) -> None:
    """One closed round, one model, and on each branch no step's commit twice."""
    (round_,) = stack.catalog().rounds.list(project)
    assert (round_.state, round_.number) == ("closed", 1)
    assert len(stack.catalog().models.list(project)) == 1
    store = stack.store()
    names = [branch.name for branch in store.branches() if branch.name.startswith(f"{project}/")]
    commits = {commit.id: commit.op_id for name in names for commit in store.branch(name).log()}
    assert len(set(commits.values())) == len(commits)
    assert store.branch(f"{project}/training").tip().stats.splits == {"train": 105, "val": 60}
    assert stack.executors() == []
