"""Label Studio's REST API, as far as labelling needs it. What it answers is read as hostile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from mir_ops.errors import InvalidInputError, MirError, NotFoundError, StoreError

_MOST_BYTES: Final = 256 << 20  # of one answer
_PAGE: Final = 500  # tasks
_TRIES: Final = 3
_AWAY: Final = (502, 503, 504)
_TOKEN_SECONDS: Final = 240.0  # an access token lives for 300
_SHOWN: Final = 300  # characters of what the server says


class StudioClient:
    """Talks to one server. `token` is a personal access token, or a legacy token."""

    def __init__(self, url: str, token: str, *, timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._access = ""
        self._taken = 0.0
        self._expected = 0  # tasks, as the last page said
        # The built-in server answers a kept connection 45 ms later than a new one.
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, headers={"Connection": "close"}
        )

    def __enter__(self) -> StudioClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params)

    def get_object(self, path: str, **params: Any) -> dict[str, Any]:
        """`get` of what has to be an object."""
        found = self.get(path, **params)
        if not isinstance(found, dict):
            raise _broken(self.url, f"`{path}` is no object")
        return found

    def post(self, path: str, body: object, **params: Any) -> Any:
        return self._call("POST", path, params=params, body=body)

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", path, body=body)

    def delete(self, path: str) -> None:
        """Also when it is gone already."""
        try:
            self._call("DELETE", path)
        except NotFoundError:
            return

    def tasks(
        self, project: int, include: str, *, query: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Every task of a project once, by id; an answer that lacks some is an error."""
        for _ in range(_TRIES):  # people may delete tasks while pages are read
            found = {task["id"]: task for task in self._pages(project, include, query or {})}
            if len(found) == self._expected:
                return [found[task_id] for task_id in sorted(found)]
        raise StoreError(
            f"Label Studio sent {len(found)} of {self._expected} tasks of project {project}",
            code="label-answer-incomplete",
            hint="Run the same step again",
        )

    def _pages(
        self, project: int, include: str, query: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        seen, page = 0, 1
        text = json.dumps({"ordering": ["tasks:id"], **query})
        while page == 1 or seen < self._expected:
            answer = self.get_object(
                "/api/tasks/", project=project, page=page, page_size=_PAGE, fields="all",
                include=include, query=text,
            )  # fmt: skip
            tasks, total = answer.get("tasks"), answer.get("total")
            if not isinstance(tasks, list) or not isinstance(total, int):
                raise _broken(self.url, "a page of tasks has another shape")
            self._expected = total
            for task in tasks:
                if not isinstance(task, dict) or not isinstance(task.get("id"), int):
                    raise _broken(self.url, "a task has another shape")
                yield task
            if not tasks:
                return
            seen, page = seen + len(tasks), page + 1

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
    ) -> Any:
        tries = _TRIES if method in ("GET", "DELETE") else 1  # what else would be done twice
        for left in reversed(range(tries)):
            try:
                status, content = self._send(method, path, params, body)
            except (httpx.TransportError, httpx.DecodingError) as error:
                if left:
                    time.sleep(0.5)
                    continue
                raise _away(self.url, str(error) or type(error).__name__) from None
            if status in _AWAY and left:
                time.sleep(0.5)
                continue
            return self._read(method, path, status, content)
        raise AssertionError("unreachable")

    def _send(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: object
    ) -> tuple[int, bytes]:
        status, content = self._send_once(method, path, params, body)
        if status == 401 and self._access:
            self._access = ""
            status, content = self._send_once(method, path, params, body)
        return status, content

    def _send_once(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: object
    ) -> tuple[int, bytes]:
        headers = {"Authorization": self._authorization()}
        request = self._http.build_request(
            method, path, params=params, json=body if body is not None else None, headers=headers
        )
        answer = self._http.send(request, stream=True)
        try:
            content = bytearray()
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise _broken(self.url, f"an answer of more than {_MOST_BYTES >> 20} MB")
        finally:
            answer.close()
        return answer.status_code, bytes(content)

    def _authorization(self) -> str:
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        if not self._access or time.monotonic() - self._taken > _TOKEN_SECONDS:
            answer = self._http.post("/api/token/refresh/", json={"refresh": self._token})
            if answer.status_code in (400, 401, 403):
                raise _refused(self.url, _said(answer.content))
            found = self._read("POST", "/api/token/refresh/", answer.status_code, answer.content)
            self._access, self._taken = str(found.get("access", "")), time.monotonic()
        return f"Bearer {self._access}"

    def _read(self, method: str, path: str, status: int, content: bytes) -> Any:
        if status in (401, 403):
            raise _refused(self.url, _said(content))
        if status == 404:
            raise NotFoundError(
                f"Label Studio at `{self.url}` has no `{path}`", code="label-tool-not-found"
            )
        if status in _AWAY:
            raise _away(self.url, f"it answered {status}")
        if status >= 500:
            raise StoreError(
                f"Label Studio at `{self.url}` failed at `{method} {path}`: {_said(content)}",
                code="label-tool-failed",
                hint="Its own log says more; run the same step again",
            )
        if status >= 300:
            raise InvalidInputError(
                f"Label Studio at `{self.url}` refused `{method} {path}`: {_said(content)}",
                code="label-tool-refused",
            )
        return _json(self.url, content) if content else None


def check_url(url: str) -> str:
    """The address of a server, from a connection."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidInputError(
            f"`{url}` is not the address of a Label Studio server",
            code="invalid-label-options",
            hint="Write it as in the browser, such as https://labels.example.org; "
            "the token is the connection's password",
        )
    return url.rstrip("/")


def _json(url: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _broken(url, "it is not JSON") from None


def _said(content: bytes) -> str:
    """What an error answer says, short; the server sends whole pages, too."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return "a page that is not JSON"
    if not isinstance(found, dict):
        return "nothing that can be read"
    details = found.get("validation_errors") or found.get("detail") or found
    text = details if isinstance(details, str) else json.dumps(details, ensure_ascii=False)
    return text[:_SHOWN]


def _away(url: str, reason: str) -> MirError:
    return StoreError(
        f"Label Studio at `{url}` does not answer: {reason}",
        code="label-tool-away",
        hint="Check that it runs, and that this machine reaches it",
    )


def _broken(url: str, reason: str) -> MirError:
    return StoreError(
        f"Label Studio at `{url}` sent something else than it should: {reason}",
        code="label-answer-broken",
        hint="Run the same step again",
    )


def _refused(url: str, said: str) -> MirError:
    return InvalidInputError(
        f"Label Studio at `{url}` refused the token: {said}",
        code="label-token-refused",
        hint="Put a token that works into the connection, then clear the failed task",
    )
