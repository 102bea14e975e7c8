"""The DAG of one step on its own, and what the forms of several of them ask for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from airflow.sdk import DAG, Param

from mir_airflow.retries import STEP_RETRIES, STEP_TRIES

_NAMES: Final = {"type": "string", "minLength": 1}


def step_dag(dag_id: str, description: str, *, params: Mapping[str, Param], doc: str) -> DAG:
    """A DAG that people trigger: nothing schedules it, and its runs do not wait for each other."""
    kind = dag_id.partition("_")[0]
    for param in params.values():
        _show_as_markdown(param)
    return DAG(
        dag_id=dag_id,
        description=description,
        schedule=None,
        catchup=False,
        params=dict(params),
        tags=["mir", "step", kind],
        doc_md=f"{doc}\n\nA run is one operation: a task that is retried or cleared finds what it "
        "did. For what has changed since, trigger another run.",
        default_args={
            "retries": STEP_TRIES,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": STEP_RETRIES,
        },
    )


def _show_as_markdown(param: Param) -> None:
    """Airflow's form shows a plain description with its backticks, and Markdown only without it."""
    if param.description:
        param.schema["description_md"], param.description = param.description, None


def branch(example: str) -> Param:
    """Where the result goes."""
    return Param(
        type="string",
        minLength=1,
        title="Result",
        description=f"Branch to commit to, such as `{example}`; a new one is made. People see it "
        "in the console when it starts with a project's name.",
    )


def dataset(description: str) -> Param:
    """The dataset that a step works on."""
    return Param(
        type="string",
        minLength=1,
        title="Dataset",
        description=f"{description} A branch, `branch@tag`, or a commit's id.",
    )


def names(title: str, description: str, *, section: str | None = None, least: int = 0) -> Param:
    """A list of names, one a line; `least` makes the field a required one."""
    schema: dict[str, Any] = {"title": title, "description": f"{description} One a line."}
    if section:
        schema["section"] = section
    if least:
        return Param(type="array", items=_NAMES, minItems=least, **schema)
    return Param(None, type=["null", "array"], items=_NAMES, **schema)


def model(description: str) -> Param:
    """A model that there has to be."""
    return Param(
        type="string",
        minLength=1,
        title="Model",
        description=f"{description} Its id, which may be cut short, `id@stage`, or the name that "
        "it was promoted to.",
    )


def unknown_classes(description: str) -> Param:
    return Param(
        "stop",
        type="string",
        enum=["stop", "ignore", "add"],
        title="Unknown classes",
        description=description,
    )


UNKNOWN_TO_DATASET: Final = unknown_classes(
    "Classes of the model that the dataset does not know: `stop` before anything runs, `ignore` "
    "what is found of them, or `add` them.",
)

MERGE_STRATEGY: Final = Param(
    "stop",
    type="string",
    enum=["stop", "host", "guest", "union"],
    title="Merge strategy",
    description="Where several datasets have the same image and differ on it: `stop`, let the "
    "first (`host`) or the last (`guest`) win, or keep the boxes of all (`union`).",
)

_EXECUTOR: Final = "Executor"

EXECUTOR: Final = Param(
    type="string",
    minLength=1,
    examples=["detector", "torchvision", "sample"],
    title="Executor",
    section=_EXECUTOR,
    description="Which executor does the work: a name that `mir executor list` shows, or one of "
    "those that come with mir-ops.",
)

JOB: Final[dict[str, Param]] = {
    "executor": EXECUTOR,
    "config": Param(
        {},
        type=["object", "null"],
        title="Settings",
        section=_EXECUTOR,
        description='Values over those of the executor\'s template, such as `{"epochs": 20}`. '
        "`mir executor templates NAME` shows what there is.",
    ),
    "gpus": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        title="GPUs",
        section=_EXECUTOR,
        description="How many the executor may use. Empty: as many as this deployment gives a "
        "task (`AIRFLOW__MIR__GPUS`).",
    ),
    "memory_gib": Param(
        8,
        type="number",
        exclusiveMinimum=0,
        title="Memory (GiB)",
        section=_EXECUTOR,
        description="An executor that takes more is ended.",
    ),
    "hours": Param(
        24,
        type="number",
        exclusiveMinimum=0,
        title="Time limit (hours)",
        section=_EXECUTOR,
        description="An executor that takes longer is ended.",
    ),
}


def job_of(dag: DAG) -> dict[str, Any]:
    """What an operator takes of `JOB`."""
    return {
        "executor_name": dag.param("executor"),
        "config": dag.param("config"),
        "wanted_gpus": dag.param("gpus"),
        "memory_gib": dag.param("memory_gib"),
        "hours": dag.param("hours"),
    }
