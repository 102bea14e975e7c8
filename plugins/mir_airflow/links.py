"""Extra links: from a task to what it made.

Airflow asks for a link in the process that ran the task, which keeps what the link needs in its
operator: an XCom would be two more calls of the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

LABELS_KEY = "mir_labels"
OPEN_RUN_KEY = "mir_open_run"

_VERSION: Final = "mir_version"
_GATE: Final = "mir_gate"
_OPENED: Final = "mir_opened"


def keep_version(operator: object, project: str, commit: str) -> None:
    """Where `DatasetVersionLink` leads."""
    setattr(operator, _VERSION, (project, commit))


def keep_gate(operator: object, project: str, number: int, stage: str) -> None:
    """Where `GateReportLink` leads."""
    setattr(operator, _GATE, (project, number, stage))


def keep_opened(operator: object) -> None:
    """That `OpenedRoundLink` leads to a round."""
    setattr(operator, _OPENED, True)


class RoundLink(BaseOperatorLink):
    """Opens the round of the task's run, in the console."""

    @property
    def name(self) -> str:
        return "Round"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        dag_id, run_id = quote(ti_key.dag_id, safe=""), quote(ti_key.run_id, safe="")
        return f"{base_url()}/mir/runs/{dag_id}/{run_id}"


class OpenedRoundLink(RoundLink):
    """Of the task that opens a round: there is none where another run has the project."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        opened = getattr(operator, _OPENED, False)
        return super().get_link(operator, ti_key=ti_key) if opened else ""


class DatasetVersionLink(BaseOperatorLink):
    """Opens the dataset version that the task committed, in the console."""

    @property
    def name(self) -> str:
        return "Dataset version"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        version = getattr(operator, _VERSION, None)
        if version is None:
            return ""
        project, commit = (quote(part, safe="") for part in version)
        return f"{base_url()}/mir/projects/{project}/versions/{commit}"


class GateReportLink(BaseOperatorLink):
    """Opens the gate's report in the console, also when the gate stopped the round."""

    @property
    def name(self) -> str:
        return "Gate report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        gate = getattr(operator, _GATE, None)
        if gate is None:
            return ""
        project, number, stage = gate
        rounds = f"{base_url()}/mir/projects/{quote(project, safe='')}/rounds"
        return f"{rounds}/{number}/gates/{quote(stage, safe='')}"


class LabelProjectLink(BaseOperatorLink):
    """Opens the page where people label, of a tool that has one."""

    @property
    def name(self) -> str:
        return "Label project"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        progress = _pull(ti_key, LABELS_KEY) or {}
        return progress.get("page") or ""


class OpenRunLink(BaseOperatorLink):
    """Opens the run whose round is open, where that ended this one."""

    @property
    def name(self) -> str:
        return "Open round"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        run = _pull(ti_key, OPEN_RUN_KEY)
        if not run:
            return ""
        dag_id, run_id = quote(run["dag_id"], safe=""), quote(run["run_id"], safe="")
        return f"{base_url()}/dags/{dag_id}/runs/{run_id}"


def _pull(ti_key: TaskInstanceKey, key: str) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=ti_key, key=key)


def base_url() -> str:
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")
