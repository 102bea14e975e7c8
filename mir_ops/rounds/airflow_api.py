"""Airflow's REST API, as far as starting and following a round needs it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError, StoreError

FINISHED = frozenset({"success", "failed"})
# Airflow answers 500 where its database was busy: always possible on SQLite with several processes.
RETRY_AFTER_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRun:
    """One run of a DAG, as Airflow reports it."""

    dag_id: str
    run_id: str
    state: str
    conf: Mapping[str, Any]
    note: str | None = None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task of a run; `state` is empty before Airflow looked at it."""

    task_id: str
    map_index: int
    state: str
    try_number: int
    note: str | None = None


class AirflowClient:
    """Talks to one Airflow API server. Either a token, or a user name and password."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
        trust_env: bool = True,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._login = {"username": username, "password": password}
        # A kept connection may be closed by the server in the moment in which it is used again.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout,
            trust_env=trust_env,
            headers={"Connection": "close"},
        )

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Runs

    def trigger(
        self,
        dag_id: str,
        *,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        note: str | None = None,
    ) -> DagRun:
        """Start a run. ConflictError when `run_id` is given and stands already."""
        # `logical_date` is required and null means: no date, just a run.
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        # The name is ours, so that a request sent again cannot start a second run.
        body["dag_run_id"] = run_id or _new_run_id()
        body |= {"note": note} if note else {}
        try:
            return _dag_run(self._call("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body))
        except ConflictError:
            if run_id:
                raise
            return self.run(dag_id, body["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> DagRun:
        return _dag_run(self._call("GET", _run_path(dag_id, run_id)))

    def runs(self, dag_id: str, *, limit: int = 20) -> list[DagRun]:
        """The newest runs of a DAG, newest first."""
        query = {"limit": limit, "order_by": "-run_after"}
        answer = self._call("GET", f"/dags/{quote(dag_id)}/dagRuns", params=query)
        return [_dag_run(run) for run in answer["dag_runs"]]

    def cancel(self, dag_id: str, run_id: str) -> DagRun:
        """Mark the run failed: Airflow ends its running tasks."""
        return _dag_run(self._call("PATCH", _run_path(dag_id, run_id), json={"state": "failed"}))

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        timeout: float,
        poll: float = 0.5,
        on_poll: Callable[[], None] | None = None,
    ) -> DagRun:
        """Follow a run to its end; StoreError when it takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (run := self.run(dag_id, run_id)).finished:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Run `{run_id}` of `{dag_id}` is still {run.state} after {timeout:.0f} s",
                    code="run-timeout",
                    hint=f"Look at its tasks: {self.run_url(dag_id, run_id)}",
                )
            if on_poll is not None:
                on_poll()
            time.sleep(poll)
        return run

    def run_url(self, dag_id: str, run_id: str) -> str:
        return f"{self.url}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"

    # Tasks

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        answer = self._call("GET", path, params={"limit": 1000})
        return [_task_state(task) for task in answer["task_instances"]]

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {task.task_id: task.state for task in self.tasks(dag_id, run_id)}

    def log(
        self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1
    ) -> str:
        """The log of one try as text, errors with their messages included."""
        path = f"{_task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        query = {"map_index": map_index, "full_content": "true"}
        answer = self._call("GET", path, params=query)
        return "\n".join(_log_lines(answer.get("content", [])))

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value") -> Any:
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{quote(key)}"
        return self._call("GET", path, params={"stringify": "false"})["value"]

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """The extra links of a task: name → address."""
        answer = self._call("GET", f"{_task_path(dag_id, run_id, task_id)}/links")
        return dict(answer["extra_links"])

    def clear(
        self, dag_id: str, run_id: str, task_ids: Sequence[str], *, downstream: bool = False
    ) -> list[str]:
        """Forget that these tasks ran: Airflow runs them again. Returns what was cleared."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        answer = self._call("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", json=body)
        return [task["task_id"] for task in answer["task_instances"]]

    # The deployment

    def dag_ids(self) -> list[str]:
        answer = self._call("GET", "/dags", params={"limit": 1000})
        return [dag["dag_id"] for dag in answer["dags"]]

    def import_errors(self) -> dict[str, str]:
        """DAG files that could not be read: file → the reason."""
        answer = self._call("GET", "/importErrors", params={"limit": 1000})
        return {error["filename"]: error["stack_trace"] for error in answer["import_errors"]}

    def health(self) -> dict[str, str | None]:
        """Component → status, as in `healthy`."""
        answer = self._send("GET", "/api/v2/monitor/health", {})
        return {name: part.get("status") for name, part in answer.items()}

    # Requests

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        if self._token is None:
            self._token = self._new_token()
        try:
            return self._send(method, f"/api/v2{path}", self._with_token(arguments))
        except InvalidInputError as error:
            if error.code != "airflow-login" or self._login["username"] is None:
                raise
        self._token = self._new_token()  # a token lasts a day, and a round may wait for weeks
        return self._send(method, f"/api/v2{path}", self._with_token(arguments))

    def _with_token(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {self._token}"}, **arguments}

    def _new_token(self) -> str:
        if self._login["username"] is None:
            raise InvalidInputError(
                "No login for Airflow's API",
                code="airflow-login",
                hint="Set `MIR_AIRFLOW_TOKEN`, or `MIR_AIRFLOW_USER` and `MIR_AIRFLOW_PASSWORD`",
            )
        return str(self._send("POST", "/auth/token", {"json": self._login})["access_token"])

    def _send(self, method: str, path: str, arguments: dict[str, Any]) -> Any:
        answer = self._request(method, path, arguments)
        for seconds in RETRY_AFTER_SECONDS:
            if not answer.is_server_error:
                break
            time.sleep(seconds)
            answer = self._request(method, path, arguments)
        if answer.is_error:
            raise _refusal(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise StoreError(
                f"What answers at `{self.url}` is not Airflow's API: no JSON at `{path}`",
                code="airflow-unreachable",
                hint="Check the address",
            ) from error

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise StoreError(
                f"Airflow at `{self.url}` did not answer: {str(error) or type(error).__name__}",
                code="airflow-unreachable",
                hint="Check the address, and that the API server is running",
            ) from error


def _new_run_id() -> str:
    return f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(4)}"


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"


def _dag_run(answer: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=answer["dag_id"],
        run_id=answer["dag_run_id"],
        state=answer["state"],
        conf=answer.get("conf") or {},
        note=answer.get("note"),
    )


def _task_state(answer: Mapping[str, Any]) -> TaskState:
    return TaskState(
        task_id=answer["task_id"],
        map_index=answer["map_index"],
        state=answer["state"] or "",
        try_number=answer["try_number"],
        note=answer.get("note"),
    )


def _log_lines(content: Sequence[Any]) -> list[str]:
    lines: list[str] = []
    for entry in content:
        if not isinstance(entry, Mapping):
            lines.append(str(entry))
            continue
        lines.append(str(entry.get("event", "")))
        lines += [
            f"{error.get('exc_type')}: {error.get('exc_value')}"
            for error in entry.get("error_detail") or []
        ]
    return lines


def _refusal(answer: httpx.Response) -> MirError:
    if answer.is_server_error:
        return StoreError(
            f"Airflow failed, asked again and again: {_detail(answer)}",
            code="airflow-error",
            hint="Look at the API server's log, and try again",
        )
    message = f"Airflow refused: {_detail(answer)}"
    if answer.status_code in (401, 403):
        return InvalidInputError(
            message, code="airflow-login", hint="Check the token or the password, and the role"
        )
    if answer.status_code == 404:
        return NotFoundError(message, code="airflow-not-found")
    if answer.status_code == 409:
        return ConflictError(message, code="airflow-conflict")
    return InvalidInputError(message, code="airflow-refused")


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
    if isinstance(detail, Mapping):
        return str(detail.get("message") or detail.get("reason") or dict(detail))
    return str(detail).partition("\n")[0]  # what follows is the schema that did not match
