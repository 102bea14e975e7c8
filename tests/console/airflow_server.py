"""A real Airflow API server to ask, and its users.

Projects are told apart by Airflow's teams: `round__digits` is red's, `round__secret` blue's, the
DAG that runs any project's rounds is ops's.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import httpx
from console_data import Shown

USERS = (
    "admin:admin,red:viewer:red,blue:op:blue,ops:viewer:ops,green:user:green,none:,odd:auditor:red,"
    "painter:user:red,writer:user:ops,keeper:op:ops"
)
COOKIE = "_token"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
PASSWORD = "for-the-test"
SECRET = "signs-addresses-of-images"


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Guarded:
    """The running server, and a token for each user."""

    port: int
    tokens: dict[str, str]
    home: Path

    def status(self, user: str | None, path: str, method: str = "GET", **headers: str) -> int:
        return self.ask(user, path, method, **headers).status

    def send(self, user: str | None, path: str, method: str, content: object = None) -> Answer:
        """JSON, from a page of this very site."""
        origin = f"http://127.0.0.1:{self.port}"
        body = None if content is None else json.dumps(content)
        return self.ask(
            user, path, method, body, Origin=origin, **{"Content-Type": "application/json"}
        )

    def ask(
        self,
        user: str | None,
        path: str,
        method: str = "GET",
        body: str | None = None,
        **headers: str,
    ) -> Answer:
        """Send the path as it is: other clients tidy it up first."""
        if user:
            headers["Cookie"] = f"{COOKIE}={self.tokens[user]}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, f"/mir{path}", body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()


def log_in(port: int, user: str, password: str = PASSWORD) -> dict[str, str]:
    """The cookies that a browser has after FAB's page of the login."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
        form = client.get("/auth/login/").text
        (sealed,) = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', form)
        wanted = {"csrf_token": sealed, "username": user, "password": password}
        client.post("/auth/login/", data=wanted)
        return dict(client.cookies)


def ask_for_token(port: int, user: str, password: str = PASSWORD) -> httpx.Response:
    """As programs log in."""
    wanted = {"username": user, "password": password}
    return httpx.post(f"http://127.0.0.1:{port}/auth/token", json=wanted, timeout=300)


@contextmanager
def serve_fab(shown: Shown, home: Path, **settings: str) -> Iterator[Guarded]:
    """The server with FAB; each user's token is the cookie of its login."""
    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": FAB,
        "AIRFLOW__CORE__MULTI_TEAM": "False",
        "AIRFLOW__API__SECRET_KEY": "b" * 64,
        "AIRFLOW__FAB__AUTH_RATE_LIMITED": "False",
        "AIRFLOW__FAB__CACHE_TTL": "1",
        "TEST_PASSWORD": PASSWORD,
        **settings,
    }
    with serve_guarded(shown, home, "fab_server.py", **settings) as running:
        tokens = {user: log_in(running.port, user)[COOKIE] for user in running.tokens}
        yield replace(running, tokens=tokens)


@contextmanager
def serve_guarded(
    shown: Shown, home: Path, script: str = "guarded_server.py", **settings: str
) -> Iterator[Guarded]:
    """Run the script on a fresh Airflow home, with these settings besides."""
    connection = {
        "conn_type": "mir",
        "extra": {
            "store_url": shown.store.url,
            "catalog_url": f"sqlite:///{home}/catalog.db",
            "work_dir": str(home),
            "image_secret": SECRET,
            "sharing_dir": str(_sharing(home)),
        },
    }
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords(home)),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a" * 64,
        "AIRFLOW_CONN_MIR_DEFAULT": json.dumps(connection),
        **settings,
    }
    ready = home / "ready.json"
    with (home / "server.log").open("wb") as log:
        command = [sys.executable, str(Path(__file__).with_name(script)), str(ready)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _started(process, ready)
        finally:
            process.kill()
            process.wait()


def _sharing(home: Path) -> Path:
    folder = home / "shared"
    folder.mkdir()
    (folder / "data.zip").touch()
    return folder


def _passwords(home: Path) -> Path:
    path = home / "passwords.json"
    path.write_text(json.dumps({user.split(":")[0]: PASSWORD for user in USERS.split(",")}))
    return path


def _started(process: subprocess.Popen[bytes], ready: Path) -> Guarded:
    deadline = time.monotonic() + 600
    while not ready.exists():
        ended = process.poll() is not None or time.monotonic() > deadline
        assert not ended, ready.with_name("server.log").read_text()
        time.sleep(0.1)
    said = json.loads(ready.read_text())
    return Guarded(said["port"], said["tokens"], ready.parent)
