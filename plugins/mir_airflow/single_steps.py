"""What operators of single steps have in common: what the run asks for, and what they leave."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from mir_airflow.links import keep_version
from mir_airflow.places import place_of
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from mir_ops.rounds.place import Place
    from mir_ops.tasks.asking import Task
    from mir_ops.workspace import Workspace


def task_of(operator: BaseOperator, context: Context, workspace: Workspace) -> Task:
    """The operation of this task instance, whichever try it is."""
    refuse_unknown(context)
    return task_at(operator, workspace, place_of(context, workspace.deployment))


def task_at(operator: BaseOperator, workspace: Workspace, place: Place) -> Task:
    """The operation of an operator at its place; what it was asked for are its templated fields."""
    from mir_ops.tasks.asking import Task

    return Task(
        ws=workspace,
        place=place,
        branch=getattr(operator, "branch", ""),
        params={name: getattr(operator, name) for name in operator.template_fields},
    )


def refuse_unknown(context: Context) -> None:
    """Refuse what the DAG has no parameter for: Airflow would take the default without a word."""
    known = list(context["dag"].params)
    unknown = [name for name in context["dag_run"].conf or {} if name not in known]
    if not known or not unknown:
        return
    close = difflib.get_close_matches(unknown[0], known, n=1)
    raise InvalidInputError(
        f"Unknown run parameter: {', '.join(f'`{name}`' for name in unknown)}",
        code="unknown-parameter",
        hint=f"Did you mean `{close[0]}`?"
        if close
        else f"Known here: {', '.join(f'`{name}`' for name in known)}",
    )


def leave_version(context: Context, task: Task, result: dict[str, Any]) -> None:
    """Leave what `DatasetVersionLink` needs: only a project's versions have a page."""
    if (commit := result.get("commit")) and (project := task.project):
        keep_version(context["task"], project, commit)
