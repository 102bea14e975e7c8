"""Runs for the console: Airflow's own REST API, asked in this process with the caller's own rights.

The request goes to the server's app as if it came over the network, with the cookie or the token of
whoever is asking, so that Airflow decides what they may do, and its audit log names them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote

import anyio.from_thread
import httpx
from fastapi import HTTPException, Request
from starlette.types import ASGIApp

from mir_airflow.links import base_url
from mir_ops.console.runs import Approval
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from mir_ops.rounds.airflow_api import RETRY_AFTER_SECONDS

_KEPT: Final = ("authorization", "cookie")


def keep_server(request: Request) -> None:
    """Call it where the console is mounted: from there the server's app is known."""
    request.state.mir_server = request.scope["app"]


def open_runs(request: Request) -> AirflowRuns:
    headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
    return AirflowRuns(server=request.state.mir_server, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowRuns:
    """The caller's runs; to be used in a worker thread of the server."""

    server: ASGIApp
    headers: Mapping[str, str]

    def start(self, dag_id: str, conf: Mapping[str, Any], *, run_id: str | None = None) -> str:
        # Named here: what a busy Airflow is asked again is the same run.
        named = run_id or f"console__{token_hex(8)}"
        wanted = {"conf": dict(conf), "logical_date": None, "dag_run_id": named}
        made = self._ask("POST", f"/dags/{_part(dag_id)}/dagRuns", wanted)
        return str(made["dag_run_id"])

    def cancel(self, dag_id: str, run_id: str) -> None:
        if self.state(dag_id, run_id) in ("queued", "running"):
            self._ask("PATCH", _run(dag_id, run_id), {"state": "failed"})

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self._ask("GET", _run(dag_id, run_id))["state"])

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        task = f"/taskInstances/{_part(task_id)}/xcomEntries/return_value"
        return self._ask("GET", _run(dag_id, run_id) + task)["value"]

    def approvals(self, dag_id: str, run_id: str) -> Sequence[Approval]:
        path = _run(dag_id, run_id) + "/hitlDetails?response_received=false&state=awaiting_input"
        return [_approval(each) for each in self._ask("GET", path)["hitl_details"]]

    def answer(self, approval: Approval, option: str) -> None:
        task = f"/taskInstances/{_part(approval.task_id)}/{approval.map_index}/hitlDetails"
        path = _run(approval.dag_id, approval.run_id) + task
        self._ask("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def run_address(self, dag_id: str, run_id: str) -> str:
        return f"{base_url()}/dags/{_part(dag_id)}/runs/{_part(run_id)}"

    def task_address(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        return f"{self.run_address(dag_id, run_id)}/tasks/{_part(task_id)}{mapped}"

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        answer = anyio.from_thread.run(self._send, method, path, content)
        for seconds in RETRY_AFTER_SECONDS:
            if not answer.is_server_error:
                break
            time.sleep(seconds)
            answer = anyio.from_thread.run(self._send, method, path, content)
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)

    async def _send(self, method: str, path: str, content: object) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.server)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return await client.request(
                method, f"/api/v2{path}", json=content, headers=self.headers
            )


def _refusal(answer: httpx.Response) -> Exception:
    said = f"Airflow refused: {_detail(answer)}"
    match answer.status_code:
        case 401 | 403:
            return HTTPException(403, said)
        case 404:
            return NotFoundError(said, code="no-such-run")
        case 409:
            return ConflictError(said, code="run-exists")
        case 400 | 422:
            return InvalidInputError(said, code="run-refused")
        case _:
            return StoreError(said, code="airflow-failed", hint="Look at the API server's log")


def _detail(answer: httpx.Response) -> str:
    try:
        said = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
    return said if isinstance(said, str) else str(said)


def _approval(detail: Mapping[str, Any]) -> Approval:
    task = detail["task_instance"]
    return Approval(
        dag_id=task["dag_id"],
        run_id=task["dag_run_id"],
        task_id=task["task_id"],
        map_index=task["map_index"],
        subject=detail["subject"],
        body=detail["body"] or "",
        options=tuple(detail["options"]),
        asked_at=datetime.fromisoformat(detail["created_at"]),
    )


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"


def _part(name: str) -> str:
    return quote(name, safe="")
