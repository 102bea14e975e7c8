"""What the form of a round asks for."""

from __future__ import annotations

from airflow.sdk import Param

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
    "model": Param(
        None,
        type=["null", "string"],
        title="Model",
        description="A model that this round takes instead of training one: its id, `id@stage`, or "
        "a promoted name. It is measured, and mines. Empty: one is trained.",
    ),
    "mine": Param(
        None,
        type=["null", "boolean"],
        title="Mine",
        description="Whether images are picked. No: everything that was prepared is labelled.",
    ),
    "label": Param(
        None,
        type=["null", "boolean"],
        title="Label",
        description="Whether people are asked. No: the round ends with its picks.",
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
    "as_project": Param(
        None,
        type=["null", "boolean"],
        title="As the project says",
        description="What a run says of budget, strategy, control arm, pretrained model, last "
        "training and seed holds for the rounds after it. Yes: forget it.",
    ),
}
