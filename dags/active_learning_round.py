"""One round of active learning for any project."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from mir_airflow.callbacks import fail_round
from mir_airflow.operators.executor import (
    EvaluateOperator,
    MineOperator,
    MineShardOperator,
    TrainOperator,
    gpu_slots,
)
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
    OpenRoundOperator,
    PlanShardsOperator,
    PreparePoolOperator,
)
from mir_airflow.sensors.labels import LabelsSensor

PARAMS = {
    "project": Param(
        type="string",
        title="Project",
        description="A project that `mir project apply` has created.",
        pattern="^[a-z0-9][a-z0-9_-]{0,62}$",
    ),
    "new_data": Param(
        None,
        type=["null", "string"],
        title="New data",
        description="Folder or archive with labelled images (VOC) in the sharing folder of this "
        "deployment, to add to the training data before this round. Empty: nothing new.",
    ),
    "budget": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Mining budget",
        description="How many images to pick for labelling. Empty: the project's.",
    ),
    "strategy": Param(
        None,
        type=["null", "string"],
        title="Mining strategy",
        description="How to pick them, such as `hybrid` or `random`. Empty: the project's.",
    ),
    "control": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=0.5,
        title="Control arm",
        description="Which share of the budget is drawn at random, to measure what mining is "
        "worth. Empty: the project's.",
    ),
    "prepare_pool": Param(
        None,
        type=["null", "boolean"],
        title="Prepare the pool",
        description="Whether the pool is filtered and sampled as the project says. No: this round "
        "looks at all of it. Empty: as the project says.",
    ),
    "pretrained": Param(
        None,
        type=["null", "string"],
        title="Pretrained model",
        description="A model to start the training from: its id, `id@stage`, or a promoted name. "
        "Empty: the project's, or none.",
    ),
    "train_after_merge": Param(
        None,
        type=["null", "boolean"],
        title="Train after the merge",
        description="Whether a last model is trained on the labels of this round before it closes. "
        "Empty: as the project says, and where no other round follows.",
    ),
    "seed": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        maximum=2**31 - 1,
        title="Seed",
        description="The same seed on the same data gives the same round. Empty: the project's.",
    ),
}

DOC = """
### Active-learning round

Import, merge, train, evaluate, mine, label, merge. The next round starts where this one ends.

- One round of a project is open at a time: a second run fails at `open_round` and names the first.
- Any task may be retried or cleared: what was done already is found, not done again.
- A failed round goes on when its failed task is cleared.
"""

with DAG(
    dag_id="active_learning_round",
    description="Import, merge, train, evaluate, mine, label, merge",
    schedule=None,
    catchup=False,
    # The catalog's lease decides who may run, at once; a limit here would queue runs up.
    max_active_runs=16,
    params=PARAMS,
    tags=["mir", "round"],
    doc_md=DOC,
    on_failure_callback=fail_round,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "on_failure_callback": fail_round,
    },
):
    open_round = OpenRoundOperator(
        task_id="open_round",
        project="{{ params.project }}",
        doc_md="Takes the project's lease and pins the versions that this round starts from.",
    )
    of_round = {"round_id": "{{ ti.xcom_pull(task_ids='open_round', key='round_id') }}"}
    import_data = ImportDataOperator(
        task_id="import_data",
        doc_md="Imports the project's sources and the run's new data; unchanged bytes are not "
        "imported twice. What was not taken is in the import report.",
        **of_round,
    )
    gate_data = GateOperator(
        task_id="gate_data",
        stage="data",
        doc_md="Checks the data against the project's rules. A blocked gate stops the round.",
        **of_round,
    )
    merge_training = MergeTrainingOperator(
        task_id="merge_training",
        doc_md="Merges what came in into the training version.",
        **of_round,
    )
    train = TrainOperator(
        task_id="train", doc_md="Trains a model on the training version.", **of_round
    )
    evaluate = EvaluateOperator(
        task_id="evaluate",
        doc_md="Predicts on the validation images and measures the model.",
        **of_round,
    )
    check_targets = CheckTargetsOperator(
        task_id="check_targets",
        go_on="prepare_pool",
        stop="close_round",
        doc_md="Ends the round here when the project has what it wants.",
        **of_round,
    )
    prepare_pool = PreparePoolOperator(
        task_id="prepare_pool",
        doc_md="Filters and samples the pool, as the project's `pool` says; else leaves it whole.",
        **of_round,
    )
    plan_shards = PlanShardsOperator(
        task_id="plan_shards",
        doc_md="Divides a pool larger than the project's `mining.shard_size`; else into nothing.",
        **of_round,
    )
    mine_shard = MineShardOperator.partial(
        task_id="mine_shard",
        doc_md="Predicts on one part of a large pool. Skipped when `mine` does it all.",
        **of_round,
        **gpu_slots(),
    ).expand(shard=plan_shards.output)
    mine = MineOperator(
        task_id="mine",
        trigger_rule="none_failed_min_one_success",
        doc_md="Predicts on the pool, or takes what the shards predicted; scores each image and "
        "picks what is worth labelling.",
        **of_round,
    )
    create_label_task = CreateLabelTaskOperator(
        task_id="create_label_task",
        doc_md="Asks the label tool for labels of the picked images.",
        **of_round,
    )
    wait_for_labels = LabelsSensor(
        task_id="wait_for_labels",
        doc_md="Waits for people without holding a worker.",
        **of_round,
    )
    import_labels = ImportLabelsOperator(
        task_id="import_labels", doc_md="Commits the labels that are done.", **of_round
    )
    gate_labels = GateOperator(
        task_id="gate_labels",
        stage="labels",
        doc_md="Checks the labels against the project's rules. A blocked gate stops the round.",
        **of_round,
    )
    merge_labels = MergeLabelsOperator(
        task_id="merge_labels",
        doc_md="Merges the labels into the training version.",
        **of_round,
    )
    check_end = CheckEndOperator(
        task_id="check_end",
        train="train_last",
        close="close_round",
        doc_md="Has a last model trained where no other round follows, or where that is asked for: "
        "a project does not end with labels that no model has seen.",
        **of_round,
    )
    train_last = TrainOperator(
        task_id="train_last",
        last=True,
        doc_md="Trains on the version with this round's labels.",
        **of_round,
    )
    evaluate_last = EvaluateOperator(
        task_id="evaluate_last",
        last=True,
        doc_md="Measures that model, and compares it with the one before.",
        **of_round,
    )
    close_round = CloseRoundOperator(
        task_id="close_round",
        trigger_rule="none_failed_min_one_success",
        doc_md="Writes the round's record and frees the project for the next round.",
        **of_round,
    )

    open_round >> import_data >> gate_data >> merge_training >> train >> evaluate >> check_targets
    check_targets >> prepare_pool >> plan_shards >> [mine_shard, mine]
    mine_shard >> mine >> create_label_task >> wait_for_labels >> import_labels
    import_labels >> gate_labels >> merge_labels >> check_end
    check_end >> train_last >> evaluate_last >> close_round
    [check_targets, check_end] >> close_round
