"""GPUs are slots of a pool: a task holds as many as its executor may use."""

from __future__ import annotations

import json
from collections.abc import Callable

OPERATOR = """
import json
from types import SimpleNamespace
from airflow.sdk import DAG
from mir_airflow.operators.executor import MineShardOperator, TrainOperator
from mir_airflow.workers import worker_of
from mir_ops.errors import InvalidInputError

with DAG("slots", schedule=None):
    task = TrainOperator(task_id="train", round_id=0)
    own = TrainOperator(task_id="own", round_id=0, gpus=4)
    named = TrainOperator(task_id="named", round_id=0, queue="a100", pool="gpu-a100", gpus=0)
    shard = MineShardOperator.partial(task_id="shard", round_id=0, **worker_of())
    shard.expand(shard=[0, 1])
refused = ""
try:
    task._check_gpus(SimpleNamespace(limits=SimpleNamespace(gpus=3)))
except InvalidInputError as error:
    refused = f"{error.code}: {error} ({error.hint})"
print()
print(json.dumps({
    "train": [task.pool, task.pool_slots],
    "own": [own.pool, own.pool_slots],
    "named": [named.queue, named.pool, named.pool_slots, named.gpus],
    "queue": [task.queue, own.queue, task.dag.get_task("shard").queue or "default"],
    "shard": [task.dag.get_task("shard").pool, task.dag.get_task("shard").pool_slots],
    "refused": refused,
}))
"""


def test_executor_tasks_take_the_slots_that_the_deployment_says(
    in_airflow: Callable[..., str],
) -> None:
    told = json.loads(in_airflow(OPERATOR, AIRFLOW__MIR__GPUS="2").splitlines()[-1])

    assert told["train"] == ["gpu", 2]
    assert told["own"] == ["gpu", 4]
    assert told["named"] == ["a100", "gpu-a100", 1, 1]
    assert told["queue"] == ["default"] * 3
    assert told["shard"] == ["gpu", 2]
    assert told["refused"].startswith(
        "gpus-without-slots: The executor asks for 3 GPUs, and this task holds 2 slots"
    )
    assert "AIRFLOW__MIR__GPUS=3" in told["refused"]


def test_without_gpus_no_task_waits_for_one(in_airflow: Callable[..., str]) -> None:
    told = json.loads(in_airflow(OPERATOR).splitlines()[-1])

    assert told["train"] == ["default_pool", 1]
    assert told["refused"].startswith("gpus-without-slots")


def test_executor_tasks_wait_in_the_queue_of_the_deployment(in_airflow: Callable[..., str]) -> None:
    told = json.loads(in_airflow(OPERATOR, AIRFLOW__MIR__QUEUE="executors").splitlines()[-1])

    assert told["queue"] == ["executors"] * 3
    assert told["named"][0] == "a100"


CHECKED = """
import json, logging
from types import SimpleNamespace
from airflow.sdk import DAG
from mir_airflow.operators.executor import EvaluateOperator, TrainOperator
from mir_airflow.workers import check_workers
from mir_ops.catalog.projects import ExecutorSpec
from mir_ops.errors import InvalidInputError

said = []
log = SimpleNamespace(warning=lambda text, *values: said.append(text % values))
executor = ExecutorSpec.model_validate(
    {"name": "sample", "workers": {"train": {"queue": "a100", "pool": "gpu-a100"}}}
)
with DAG("any_round", schedule=None) as dag:
    TrainOperator(task_id="train", round_id=0, queue="a100")
    EvaluateOperator(task_id="evaluate", round_id=0)
refused = ""
try:
    check_workers(dag, executor, own_dag="round__street", log=log)
except InvalidInputError as error:
    refused = f"{error} ({error.hint})"
check_workers(dag, executor, own_dag="any_round", log=log)
print("\\n" + json.dumps({"refused": refused, "said": said}))
"""


def test_a_round_says_at_its_start_whose_workers_it_does_not_have(
    in_airflow: Callable[..., str],
) -> None:
    told = json.loads(in_airflow(CHECKED, AIRFLOW__CORE__EXECUTOR="LocalExecutor").splitlines()[-1])

    other = "The project wants pool `gpu-a100` for `train`, and this run has `default_pool`"
    assert told["refused"] == f"{other} (Trigger `round__street`, the project's own DAG)"
    assert told["said"] == [
        f"{other}: it was made before the project said so",
        "Queue `a100` means nothing here: a LocalExecutor runs every task on the scheduler's "
        "machine (docs/scaling.md)",
    ]
