"""Which queue and which pool tasks of executors wait in: who runs them, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk.configuration import conf

from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from airflow.sdk.types import Logger

    from mir_ops.catalog.projects import ExecutorSpec

Kind = Literal["train", "infer"]

GPU_POOL: Final = "gpu"
WORKER: Final = ("queue", "pool", "gpus")
# Of each kind the task that a round's tasks of that kind are judged by.
_TASKS: Final[dict[Kind, str]] = {"train": "train", "infer": "evaluate"}


def worker_of(
    *, queue: str | None = None, pool: str | None = None, gpus: int | None = None
) -> dict[str, Any]:
    """The queue, the pool and its slots of a task whose executor may use so many GPUs.

    What is not said is the deployment's: the queue of `[mir] queue`, and for the GPUs of
    `[mir] gpus` the pool `gpu`. A named pool is taken without GPUs, too, and then one slot of it.
    On Kubernetes, which has no queues, `[mir] pod_template` is the file of the task's pod, where
    `{queue}` is the queue's name.
    """
    count = conf.getint("mir", "gpus", fallback=0) if gpus is None else gpus
    queue = queue or conf.get("mir", "queue", fallback=None)
    pool = pool or (GPU_POOL if count else None)
    template = conf.get("mir", "pod_template", fallback=None)
    return {
        **({"queue": queue} if queue else {}),
        **({"pool": pool, "pool_slots": max(count, 1)} if pool else {}),
        **({"executor_config": _pod(template, queue)} if template else {}),
    }


def each_machine(task_id: str) -> dict[str, dict[str, Any]]:
    """The task for each machine of the deployment, and where it waits.

    The first machine's has this very id. `[mir] machines` names the others, with a space between:
    each serves a queue of its own name.
    """
    names = conf.get("mir", "machines", fallback=None) or ""
    others = {f"{task_id}__{name}": {"queue": name} for name in names.split()}
    return {task_id: {}, **others}


def _pod(template: str, queue: str | None) -> dict[str, str]:
    return {"pod_template_file": template.replace("{queue}", queue or "executors")}


def worker_for(executor: ExecutorSpec | None, kind: Kind) -> dict[str, Any]:
    """What a project says of its tasks of one kind; nothing for a DAG of any project."""
    if executor is None:
        return {}
    said = getattr(executor.workers, kind)
    found = {"queue": said.queue, "pool": said.pool}
    if said.pool:
        found["gpus"] = executor.limits.gpus
    return {name: value for name, value in found.items() if value is not None}


def check_workers(dag: DAG, executor: ExecutorSpec, *, own_dag: str, log: Logger) -> None:
    """Say at the start of a round where its tasks will not wait as the project says.

    A run of the project's own DAG goes on: the project was changed after it was made.
    InvalidInputError in a DAG for any project, whose tasks know of no project's workers.
    """
    for kind, task_id in _TASKS.items():
        said, task = getattr(executor.workers, kind), dag.get_task(task_id)
        for what in ("queue", "pool"):
            wanted, given = getattr(said, what), getattr(task, what)
            if wanted in (None, given):
                continue
            told = f"The project wants {what} `{wanted}` for `{kind}`, and this run has `{given}`"
            if dag.dag_id != own_dag:
                raise InvalidInputError(
                    told, code="other-workers", hint=f"Trigger `{own_dag}`, the project's own DAG"
                )
            log.warning("%s: it was made before the project said so", told)
        if said.queue and "LocalExecutor" in conf.get("core", "executor"):
            log.warning(
                "Queue `%s` means nothing here: a LocalExecutor runs every task on the scheduler's "
                "machine (docs/scaling.md)",
                said.queue,
            )
