"""A small Kubernetes: the pods of one namespace by its API, each a child process of this one.

Pods are checked by Kubernetes' own schemas, strictly. Their volume is a folder; `/in` and `/out`
are given as variables, which executors of ours read in their place. What clusters do to pods (no
node, no image, evictions, nodes that vanish) is said by the tests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

VERSIONS = ("1.30", "1.33", "1.37")
NAMESPACE = "airflow"
TOKEN = "a-token"
CLAIM = {"persistentVolumeClaim": {"claimName": "mir-work"}}


def stamp(moment: float | None = None) -> str:
    said = datetime.fromtimestamp(time.time() if moment is None else moment, UTC)
    return said.strftime("%Y-%m-%dT%H:%M:%SZ")


class SmallCluster(ThreadingHTTPServer):
    """`executors`: an image's folder. `waiting`: what is said of pods of an image that never start.

    `refused`: verbs with the status and message that they are answered with. `broken` counts the
    answers that are still to be lost, after what was asked for was done. `log_cuts`: after
    how many bytes the next connections of logs break. `stubborn`: pods stay when they are deleted.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, volume: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.volume = volume
        self.lock = threading.RLock()
        self.pods: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, list[tuple[float, bytes]]] = {}
        self.created: list[dict[str, Any]] = []
        self.executors: dict[str, Path] = {}
        self.waiting: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.broken: Counter[str] = Counter()
        self.log_cuts: list[int] = []
        self.stubborn = False
        self.closed = False
        self.token = TOKEN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours."""

    def add_own_pod(self, mounted_at: Path, source: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The pod that the tests run in, with the volume."""
        mount = {"name": "work", "mountPath": str(mounted_at)}
        if (below := mounted_at.relative_to(self.volume)) != Path():
            mount["subPath"] = str(below)
        spec = {
            "nodeName": "node-1",
            "containers": [{"name": "base", "image": "airflow:1", "volumeMounts": [mount]}],
            "volumes": [{"name": "work", **source}],
            **more,
        }
        pod = {"metadata": {"name": socket.gethostname(), "uid": "own"}, "spec": spec, "status": {}}
        self.pods[socket.gethostname()] = pod
        return pod

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        for version in VERSIONS:
            kubernetes_validate.validate(pod, version, strict=True)
        (container,) = pod["spec"]["containers"]
        name, image = pod["metadata"]["name"], container["image"]
        sure, most = container["resources"]["requests"], container["resources"]["limits"]
        assert int(sure["ephemeral-storage"]) <= int(most["ephemeral-storage"])
        pod["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
        pod["status"] = {"phase": "Pending", **self.waiting.get(image, {})}
        self.created.append(json.loads(json.dumps(pod)))
        self.pods[name] = pod
        self.logs[name] = []
        if image not in self.waiting:
            self._start(pod, self.executors[image])
        return pod

    def _start(self, pod: dict[str, Any], folder: Path) -> None:
        name, (container,) = pod["metadata"]["name"], pod["spec"]["containers"]
        places = {one["mountPath"]: one.get("subPath") for one in container["volumeMounts"]}
        process = subprocess.Popen(
            [sys.executable, "-s", str(folder / "start.py")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={
                "PATH": os.defpath,
                "MIR_IN": str(self.volume / places["/in"]),
                "MIR_OUT": str(self.volume / places["/out"]),
                "PYTHONPATH": str(folder.parent / "sdk"),
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        self.processes[name] = process
        started = stamp()
        pod["status"] = {
            "phase": "Running",
            "containerStatuses": [{"state": {"running": {"startedAt": started}}}],
        }
        threading.Thread(target=self._live, args=(pod, process, started), daemon=True).start()

    def _live(self, pod: dict[str, Any], process: subprocess.Popen[bytes], started: str) -> None:
        assert process.stdout is not None
        log = self.logs[pod["metadata"]["name"]]

        def read(lines: IO[bytes]) -> None:
            with lines:
                log.extend((time.time(), line) for line in lines)

        reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
        reader.start()
        code = process.wait()
        kill(process)  # what it started ends with its container
        reader.join()
        ended = {
            "exitCode": 128 - code if code < 0 else code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started,
            "finishedAt": stamp(),
        }
        with self.lock:
            if "reason" not in pod["status"]:
                pod["status"] = {
                    "phase": "Succeeded" if code == 0 else "Failed",
                    "containerStatuses": [{"state": {"terminated": ended}}],
                }
            if "deletionTimestamp" in pod["metadata"] and not self.stubborn:
                self._forget(pod)

    def delete(self, pod: dict[str, Any], grace: int) -> None:
        assert grace > 0, "a pod that goes at once may run on"
        first = "deletionTimestamp" not in pod["metadata"]
        pod["metadata"]["deletionTimestamp"] = stamp()
        process = self.processes.get(pod["metadata"]["name"])
        if process is not None and process.poll() is None:
            if first:
                process.terminate()
                threading.Timer(grace, kill, [process]).start()
        elif not self.stubborn:
            self._forget(pod)

    def end(self, name: str, **status: Any) -> None:
        """As a node ends a pod that it cannot keep: its processes, and then it says why."""
        with self.lock:
            self.pods[name]["status"] = {"phase": "Failed", "reason": "", **status}
        kill(self.processes[name])
        self.processes[name].wait()

    def vanish(self, name: str) -> None:
        """Deleted by somebody, and gone."""
        with self.lock:
            pod = self.pods.pop(name)
            pod["status"]["reason"] = "deleted"
        kill(self.processes[name])
        self.processes[name].wait()

    def _forget(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if self.pods.get(name) is pod:
            del self.pods[name]

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.closed = True
        for process in self.processes.values():
            kill(process)
            process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """It, and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallCluster

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/version":
            return self._answer("version", lambda: {"gitVersion": "v1.33.0"})
        if (name := self._name()) is None:
            selector = parse_qs(urlsplit(self.path).query)["labelSelector"][0]
            wanted = dict(one.split("=") for one in selector.split(","))
            return self._answer(
                "list",
                lambda: {
                    "metadata": {},
                    "items": [
                        one
                        for one in self.server.pods.values()
                        if wanted.items() <= one["metadata"].get("labels", {}).items()
                    ],
                },
            )
        if name.endswith("/log"):
            return self._log(name.removesuffix("/log"))
        return self._answer("get", lambda: self.server.pods.get(name))

    def do_POST(self) -> None:
        asked = self._body()
        if "selfsubjectaccessreviews" in self.path:
            said = asked["spec"]["resourceAttributes"]
            return self._answer(
                "review", lambda: {"status": {"allowed": said["verb"] not in self.server.refused}}
            )
        if asked["metadata"]["name"] in self.server.pods and "create" not in self.server.refused:
            name = asked["metadata"]["name"]
            return self._fail(409, f'pods "{name}" already exists')
        return self._answer("create", lambda: self.server.create(asked))

    def do_DELETE(self) -> None:
        asked, name = self._body(), self._name()
        pod = self.server.pods.get(name or "")
        if pod is not None and pod["metadata"]["uid"] != asked["preconditions"]["uid"]:
            return self._fail(409, "the UID in the precondition does not match")

        def delete() -> dict[str, Any] | None:
            if pod is not None:
                self.server.delete(pod, asked["gracePeriodSeconds"])
            return pod

        return self._answer("delete", delete)

    def _name(self) -> str | None:
        path = urlsplit(self.path).path
        prefix = f"/api/v1/namespaces/{NAMESPACE}/pods"
        return path.removeprefix(f"{prefix}/") if path != prefix else None

    def _body(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return content

    def _answer(self, verb: str, do: Any) -> None:
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._fail(401, "Unauthorized")
        if verb in self.server.refused:
            return self._fail(*self.server.refused[verb])
        with self.server.lock:
            done = do()
            content = json.dumps(done).encode()
        if self.server.broken[verb] > 0:
            self.server.broken[verb] -= 1
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return self._fail(404, "not found") if done is None else self._send(200, content)

    def _fail(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"kind": "Status", "message": message}).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _log(self, name: str) -> None:
        if (log := self.server.logs.get(name)) is None or name not in self.server.pods:
            return self._fail(404, "not found")
        if "log" in self.server.refused:
            return self._fail(*self.server.refused["log"])
        since = parse_qs(urlsplit(self.path).query).get("sinceTime", ["1970-01-01T00:00:00Z"])[0]
        start = datetime.fromisoformat(since).timestamp()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent, cut = 0, self.server.log_cuts.pop(0) if self.server.log_cuts else None
        for moment, line in self._lines(name, log):
            if moment < start:
                continue
            nano = f"{stamp(moment)[:-1]}.{int(moment % 1 * 10**9):09d}Z "
            content = nano.encode() + line
            if cut is not None:
                content = content[: cut - sent]
            sent += len(content)
            if content:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            if sent == cut:
                return self.connection.shutdown(socket.SHUT_RDWR)
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _lines(self, name: str, log: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
        position, process = 0, self.server.processes.get(name)
        while process is not None and not self.server.closed:
            over = self.server.pods.get(name, {}).get("status", {}).get("phase") != "Running"
            while position < len(log):
                yield log[position]
                position += 1
            if over:
                return
            time.sleep(0.02)


@contextmanager
def small_cluster(volume: Path) -> Iterator[SmallCluster]:
    server = SmallCluster(volume)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
