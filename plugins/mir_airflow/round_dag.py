"""The DAG of a round: one shape, whoever starts it and for whichever project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import DAG, Param
from airflow.sdk.definitions.param import ParamsDict

from mir_airflow.callbacks import fail_round
from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.notifications import Event, RoundNotifier
from mir_airflow.operators.approval import ApproveModelOperator, PromoteModelOperator
from mir_airflow.operators.executor import (
    EvaluateOperator,
    MineOperator,
    MineShardOperator,
    TrainOperator,
)
from mir_airflow.operators.opening import OpenRoundOperator
from mir_airflow.operators.rounds import (
    CheckEndOperator,
    CheckTargetsOperator,
    CloseRoundOperator,
    CreateLabelTaskOperator,
    GateOperator,
    ImportDataOperator,
    ImportLabelsOperator,
    MergeLabelsOperator,
    MergeTrainingOperator,
    PlanShardsOperator,
    PreparePoolOperator,
)
from mir_airflow.operators.starting import CheckStartOperator
from mir_airflow.retries import (
    LABEL_RETRIES,
    LABEL_TRIES,
    OPENING_RETRIES,
    STEP_RETRIES,
    STEP_TRIES,
)
from mir_airflow.sensors.labels import LabelsSensor
from mir_airflow.workers import WORKER, worker_for, worker_of

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperator
    from airflow.sdk.bases.timetable import BaseTimetable
    from airflow.sdk.definitions.asset import BaseAsset

    from mir_ops.catalog.projects import ExecutorSpec

DOC: Final = """
### Active-learning round

Import, merge, train, evaluate, mine, label, merge. The next round starts where this one ends.

- One round of a project is open at a time. A run that finds one open links it at `open_round`, and
  ends: skipped when a schedule or an event started it, failed when somebody asked for it.
- Any task may be retried or cleared: what was done already is found, not done again.
- A failed round goes on when its failed task is cleared.
"""


def round_dag(
    dag_id: str,
    *,
    project: str,
    params: Mapping[str, Param],
    display_name: str | None = None,
    description: str = "Import, merge, train, evaluate, mine, label, merge",
    schedule: BaseTimetable | BaseAsset | None = None,
    inlets: Sequence[Asset] = (),
    tags: Iterable[str] = (),
    mir_conn_id: str = MirHook.default_conn_name,
    labels_conn_id: str = LabelsHook.default_conn_name,
    default_args: Mapping[str, Any] | None = None,
    executor: ExecutorSpec | None = None,
) -> DAG:
    """The DAG whose runs are rounds of `project`: a name, a key, or a template of one.

    Its `executor` says whose workers train and infer; without it they are the deployment's.
    """
    with DAG(
        dag_id=dag_id,
        dag_display_name=display_name or dag_id,
        description=description,
        schedule=schedule,
        catchup=False,
        # The catalog's lease decides who may run, at once; a limit here would queue runs up.
        max_active_runs=16,
        tags=["mir", "round", *tags],
        doc_md=DOC,
        on_failure_callback=fail_round,
        default_args={
            "retries": STEP_TRIES,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": STEP_RETRIES,
            "on_failure_callback": fail_round,
            **(default_args or {}),
        },
    ) as dag:
        _add_steps(project, mir_conn_id, labels_conn_id, inlets, executor)
    # Earlier, and each task would carry a copy, which Airflow checks twice wherever it is
    # serialized: nine tenths of what the parse of a project's DAG costs.
    dag.params = ParamsDict(dict(params))
    return dag


def _add_steps(
    project: str,
    mir_conn_id: str,
    labels_conn_id: str,
    inlets: Sequence[Asset],
    executor: ExecutorSpec | None,
) -> None:
    """All tasks of a round, in the DAG that is open."""
    open_round = OpenRoundOperator(
        task_id="open_round",
        project=project,
        mir_conn_id=mir_conn_id,
        retry_policy=OPENING_RETRIES,
        inlets=inlets,
        doc_md="Takes the project's lease and pins the versions that this round starts from.",
    )
    of_round: dict[str, Any] = {
        "round_id": "{{ ti.xcom_pull(task_ids='open_round')['round_id'] }}",
        "mir_conn_id": mir_conn_id,
    }
    training = {**of_round, **worker_for(executor, "train")}
    inferring = {**of_round, **worker_for(executor, "infer")}
    check_start = CheckStartOperator(
        task_id="check_start",
        train="train",
        draw="prepare_pool",
        doc_md="Has images drawn for people to label where there is nothing to train from.",
        **of_round,
    )
    check_targets = CheckTargetsOperator(
        task_id="check_targets",
        go_on="prepare_pool",
        stop="approve_model",
        doc_md="Ends the round here when the project has what it wants.",
        **of_round,
    )
    check_end = CheckEndOperator(
        task_id="check_end",
        train="train_last",
        close="approve_model",
        doc_md="Has a last model trained where no other round follows, or where that is asked for: "
        "a project does not end with labels that no model has seen.",
        **of_round,
    )
    trained = TrainOperator(
        task_id="train", doc_md="Trains a model on the training version.", **training
    )
    measured = EvaluateOperator(
        task_id="evaluate",
        doc_md="Predicts on the validation images and measures the model.",
        **inferring,
    )
    merged_training = _data_to_training(of_round, after=open_round)
    picked = _pool_to_picks(of_round, inferring, after=[check_start, check_targets])
    merged = _picks_to_labels(of_round, labels_conn_id, after=picked)
    last = _last_model(training, inferring, after=check_end)
    merged_training >> check_start >> trained >> measured >> check_targets
    merged >> check_end
    _end(of_round, labels_conn_id, opened=open_round, after=[check_targets, check_end, last])


def _data_to_training(of_round: Mapping[str, Any], *, after: BaseOperator) -> BaseOperator:
    import_data = ImportDataOperator(
        task_id="import_data",
        doc_md="Imports the project's sources and the run's new data; unchanged bytes are not "
        "imported twice. What was not taken is in the import report.",
        **of_round,
    )
    gate_data = GateOperator(
        task_id="gate_data",
        stage="data",
        on_failure_callback=[fail_round, _telling("gate-failed", of_round)],
        doc_md="Checks the data against the project's rules. A blocked gate stops the round.",
        **of_round,
    )
    merge_training = MergeTrainingOperator(
        task_id="merge_training",
        doc_md="Merges what came in into the training version.",
        **of_round,
    )
    after >> import_data >> gate_data >> merge_training
    return merge_training


def _pool_to_picks(
    of_round: Mapping[str, Any], inferring: Mapping[str, Any], *, after: list[BaseOperator]
) -> BaseOperator:
    prepare_pool = PreparePoolOperator(
        task_id="prepare_pool",
        trigger_rule="none_failed_min_one_success",
        doc_md="Filters and samples the pool, as the project's `pool` says; else leaves it whole.",
        **of_round,
    )
    plan_shards = PlanShardsOperator(
        task_id="plan_shards",
        doc_md="Divides a pool larger than the project's `mining.shard_size`; else into nothing.",
        **of_round,
    )
    # Airflow does not make the operator of mapped tasks to look where they go.
    slots = worker_of(**{name: inferring[name] for name in WORKER if name in inferring})
    mine_shard = MineShardOperator.partial(
        task_id="mine_shard",
        doc_md="Predicts on one part of a large pool. Skipped when `mine` does it all.",
        **{**inferring, **slots},
    ).expand(shard=plan_shards.output)
    mine = MineOperator(
        task_id="mine",
        trigger_rule="none_failed_min_one_success",
        doc_md="Predicts on the pool, or takes what the shards predicted; scores each image and "
        "picks what is worth labelling.",
        **inferring,
    )
    after >> prepare_pool >> plan_shards >> [mine_shard, mine]
    mine_shard >> mine
    return mine


def _picks_to_labels(
    of_round: Mapping[str, Any], labels_conn_id: str, *, after: BaseOperator
) -> BaseOperator:
    of_tool: dict[str, Any] = {
        **of_round,
        "labels_conn_id": labels_conn_id,
        "retries": LABEL_TRIES,
        "retry_policy": LABEL_RETRIES,
    }
    create_label_task = CreateLabelTaskOperator(
        task_id="create_label_task",
        on_success_callback=_telling("waiting-for-labels", of_round),
        doc_md="Asks the label tool for labels of the picked images.",
        **of_tool,
    )
    wait_for_labels = LabelsSensor(
        task_id="wait_for_labels",
        doc_md="Waits for people without holding a worker.",
        **of_tool,
    )
    import_labels = ImportLabelsOperator(
        task_id="import_labels", doc_md="Commits the labels that are done.", **of_tool
    )
    gate_labels = GateOperator(
        task_id="gate_labels",
        stage="labels",
        on_failure_callback=[fail_round, _telling("gate-failed", of_round)],
        doc_md="Checks the labels against the project's rules. A blocked gate stops the round.",
        **of_round,
    )
    merge_labels = MergeLabelsOperator(
        task_id="merge_labels",
        doc_md="Merges the labels into the training version.",
        **of_round,
    )
    after >> create_label_task >> wait_for_labels >> import_labels >> gate_labels >> merge_labels
    return merge_labels


def _last_model(
    training: Mapping[str, Any], inferring: Mapping[str, Any], *, after: BaseOperator
) -> BaseOperator:
    train_last = TrainOperator(
        task_id="train_last",
        last=True,
        doc_md="Trains on the version with this round's labels.",
        **training,
    )
    evaluate_last = EvaluateOperator(
        task_id="evaluate_last",
        last=True,
        doc_md="Measures that model, and compares it with the one before.",
        **inferring,
    )
    after >> train_last >> evaluate_last
    return evaluate_last


def _end(
    of_round: Mapping[str, Any],
    labels_conn_id: str,
    *,
    opened: BaseOperator,
    after: list[BaseOperator],
) -> None:
    approve_model = ApproveModelOperator(
        task_id="approve_model",
        trigger_rule="none_failed_min_one_success",
        doc_md="Asks a person before the newest model gets the project's name for its models, "
        "where the project wants both. Waits without holding a worker.",
        **of_round,
    )
    promote_model = PromoteModelOperator(
        task_id="promote_model",
        doc_md="Lets the project's name mean the newest model.",
        **of_round,
    )
    close_round = CloseRoundOperator(
        task_id="close_round",
        trigger_rule="none_failed_min_one_success",
        on_success_callback=_telling("round-closed", of_round),
        doc_md="Writes the round's record and frees the project for the next round.",
        labels_conn_id=labels_conn_id,
        **of_round,
    )
    after >> approve_model >> promote_model
    # Whatever was skipped in between, a round that opened closes.
    [opened, promote_model] >> close_round


def _telling(event: Event, of_round: Mapping[str, Any]) -> RoundNotifier:
    return RoundNotifier(event, mir_conn_id=of_round["mir_conn_id"])
