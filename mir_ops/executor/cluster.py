"""The little of Kubernetes' API that the runner needs: pods of its own namespace, and their logs.

From inside a pod: the address, the certificate and the token are those that every pod with a
service account finds. The token is read for each request, because it is replaced every hour.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from mir_ops.errors import ConflictError, InvalidInputError, StoreError
from mir_ops.executor.files import printable

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# What the runner asks for: verb and resource.
RIGHTS: Final = (
    *((verb, "pods") for verb in ("create", "get", "list", "delete")),
    ("get", "pods/log"),
)

_RIGHTS_HINT: Final = (
    "Give the pod's service account the role of docker/kubernetes/rbac.yaml; see `mir doctor`"
)
_LOST_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 15.0
_QUIET_SECONDS: Final = 10.0  # of a log, before its pod is looked at again
_LONGEST_LINE: Final = 1 << 16
_PAGE: Final = 500


def in_cluster() -> bool:
    """Whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def open_cluster(
    *, url: str | None = None, account: Path | None = None, patience: float | None = None
) -> Cluster:
    """The API server that this pod was told of, as this pod's service account.

    `patience` is for how many seconds it may be away.
    """
    account = account or ACCOUNT
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    if url is None and host:
        url = f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"
    if url is None or not (account / "token").is_file():
        raise InvalidInputError(
            "The runner `kubernetes` works in a pod with a service account, and this is none",
            code="no-cluster",
            hint="Give the task the pod of docker/kubernetes/executors.yaml, by `[mir] "
            "pod_template`",
        )
    return Cluster(url, account=account, patience=_LOST_SECONDS if patience is None else patience)


class Cluster:
    """Pods of one namespace. What was asked for twice, because an answer was lost, is done once."""

    def __init__(self, url: str, *, account: Path, patience: float) -> None:
        certificate = account / "ca.crt"
        trusted = ssl.create_default_context(cafile=str(certificate)) if _is_tls(url) else True
        self._http = httpx.Client(
            base_url=url, verify=trusted, timeout=_ANSWER_SECONDS, trust_env=False
        )
        self._patience = patience
        self._token = account / "token"
        self.namespace = (account / "namespace").read_text(encoding="utf-8").strip()
        self.own_name = socket.gethostname()

    def close(self) -> None:
        self._http.close()

    def version(self) -> str:
        return str(self._read(self._ask("GET", "/version"))["gitVersion"])

    def own_pod(self) -> dict[str, Any]:
        """The pod that this process runs in."""
        if (found := self.find_pod(self.own_name)) is None:
            raise InvalidInputError(
                f"Namespace `{self.namespace}` has no pod `{self.own_name}`, which this host is",
                code="no-own-pod",
                hint="Leave `hostname` and `hostNetwork` out of the task's pod",
            )
        return found

    def find_pod(self, name: str) -> dict[str, Any] | None:
        answer = self._ask("GET", f"{self._pods}/{name}")
        return None if answer.status_code == 404 else self._read(answer)

    def list_pods(self, selector: str) -> Iterator[dict[str, Any]]:
        """Those with these labels, page by page."""
        params: dict[str, Any] = {"labelSelector": selector, "limit": _PAGE}
        while True:
            page = self._read(self._ask("GET", self._pods, params=params))
            yield from page["items"]
            params["continue"] = page.get("metadata", {}).get("continue")
            if not params["continue"]:
                return

    def create_pod(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """ConflictError when there is one of that name."""
        return self._read(self._ask("POST", self._pods, json=pod))

    def delete_pod(self, name: str, *, uid: str, grace_seconds: int) -> None:
        """Ask for the end of this very pod; harmless when it is gone or another has its name."""
        options = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}}
        answer = self._ask("DELETE", f"{self._pods}/{name}", json=options)
        if answer.status_code not in (404, 409):
            self._read(answer)

    def may(self, verb: str, resource: str) -> bool:
        """Whether this service account may do that in its namespace."""
        kind, _, part = resource.partition("/")
        asked = {"namespace": self.namespace, "verb": verb, "resource": kind, "subresource": part}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._read(self._ask("POST", path, json=review))["status"]["allowed"])

    def log_lines(self, name: str, *, since: str | None = None) -> Iterator[bytes]:
        """Follow a log, each line after its time stamp, until it ends.

        StoreError when the connection breaks or nothing comes for a while: look at the pod, and
        read on.
        """
        params = {"follow": "true", "timestamps": "true", **({"sinceTime": since} if since else {})}
        timeout = httpx.Timeout(_ANSWER_SECONDS, read=_QUIET_SECONDS)
        rest = b""
        try:
            with self._http.stream(
                "GET",
                f"{self._pods}/{name}/log",
                params=params,
                headers=self._headers(),
                timeout=timeout,
            ) as answer:
                if answer.status_code in (400, 404):  # it has not begun, or is gone
                    return
                if not answer.is_success:
                    answer.read()
                    raise StoreError(f"There is no log: {_message(answer)}", code="cluster-lost")
                for chunk in answer.iter_bytes():
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
                    if len(rest) > _LONGEST_LINE:
                        yield rest
                        rest = b""
        except httpx.TransportError as error:  # half a line comes again
            raise StoreError(f"The log broke off: {error}", code="cluster-lost") from None
        if rest:
            yield rest

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.read_text(encoding='utf-8').strip()}"}

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One answer, also of a server that is away for a while: all may be asked twice."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, path, headers=self._headers(), **more)
            except httpx.TransportError as error:
                told = str(error) or type(error).__name__
            else:
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer
                told = _message(answer)
            if time.monotonic() > deadline:
                raise StoreError(
                    f"The API server of Kubernetes does not answer: {told}",
                    code="cluster-lost",
                    hint="What runs there runs on: the next try takes it over",
                )
            time.sleep(0.5)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_success:
            content: dict[str, Any] = answer.json()
            return content
        told, status = _message(answer), answer.status_code
        if status == 409:
            raise ConflictError(f"Kubernetes: {told}", code="pod-exists")
        if status == 401:
            raise StoreError(
                f"Kubernetes does not know this pod's token: {told}",
                code="cluster-lost",
                hint="Look whether the pod's service account still exists",
            )
        if status == 403 and "quota" in told:
            raise StoreError(
                f"Kubernetes has no room for the executor: {told}",
                code="pod-not-started",
                hint="Wait for others to end, or enlarge the quota of the namespace",
            )
        if status == 403:
            raise InvalidInputError(
                f"Kubernetes does not let this task do that: {told}",
                code="cluster-refused",
                hint=_RIGHTS_HINT,
            )
        raise InvalidInputError(
            f"Kubernetes refused with {status}: {told}",
            code="pod-refused",
            hint="Change what it names: the image, the limits, or the task's pod",
        )


def _message(answer: httpx.Response) -> str:
    """What a Status object says, or the beginning of whatever else answered."""
    try:
        told = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        told = f"HTTP {answer.status_code} {answer.text[:200]}"
    return printable(str(told))


def _is_tls(url: str) -> bool:
    return url.startswith("https:")
