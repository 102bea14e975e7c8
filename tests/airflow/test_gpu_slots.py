"""GPUs are slots of a pool: a task holds as many as its executor may use."""

from __future__ import annotations

import json
from collections.abc import Callable

OPERATOR = """
import json
from types import SimpleNamespace
from airflow.sdk import DAG
from mir_airflow.operators.executor import MineShardOperator, TrainOperator, gpu_slots
from mir_ops.errors import InvalidInputError

with DAG("slots", schedule=None):
    task = TrainOperator(task_id="train", round_id=0)
    own = TrainOperator(task_id="own", round_id=0, gpus=4)
    shard = MineShardOperator.partial(task_id="shard", round_id=0, **gpu_slots())
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
    assert told["shard"] == ["gpu", 2]
    assert told["refused"].startswith(
        "gpus-without-slots: The executor asks for 3 GPUs, and this task holds 2 slots"
    )
    assert "AIRFLOW__MIR__GPUS=3" in told["refused"]


def test_without_gpus_no_task_waits_for_one(in_airflow: Callable[..., str]) -> None:
    told = json.loads(in_airflow(OPERATOR).splitlines()[-1])

    assert told["train"] == ["default_pool", 1]
    assert told["refused"].startswith("gpus-without-slots")
