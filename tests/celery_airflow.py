"""A real Airflow with Celery: PostgreSQL, Redis, and as many workers as one wants."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import postgres_server

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.demo.services import Services


def missing_parts() -> list[str]:
    """What is not installed here, in words for people."""
    found = []
    if shutil.which("redis-server") is None:
        found.append("redis-server")
    if postgres_server.is_missing():
        found.append("PostgreSQL's server")
    return found


class CeleryAirflow(LocalAirflow):
    """Airflow's components without workers: these come and go, each with one task at a time.

    `database` is SQLAlchemy's address of an empty one, `broker` Celery's of a Redis.
    """

    def __init__(self, home: Path, *, database: str, broker: str, **more: Any) -> None:
        celery = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            # Else a task of an hour is handed out again: only for `redis://` Airflow says a day.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "604800",
            "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": '{"imports": ["mir_airflow.preloaded"]}',
        }
        super().__init__(home, env={**celery, **more.pop("env", {})}, **more)
        self._workers: list[Services] = []

    def start_worker(self, queue: str = "default") -> None:
        """One more worker, which takes one task at a time."""
        number = len(self._workers)
        name = f"worker-{number}"
        worker = Services(self.home / "logs")
        command = [sys.executable, "-m", "airflow", "celery", "worker", "--concurrency", "1"]
        command += ["--queues", queue, "--celery-hostname", f"{name}@{socket.gethostname()}"]
        command += ["--pid", str(self.home / f"{name}.pid"), "--skip-serve-logs"]
        worker.start(
            {name: [*command, "--without-gossip", "--without-mingle"]},
            cwd=self.home,
            env=self.environment(int(self.url.rpartition(":")[2])),
        )
        self._workers.append(worker)

    def stop_workers(self) -> None:
        """End them all, and what they run."""
        while self._workers:
            self._workers.pop().stop()

    def stop(self) -> None:
        self.stop_workers()
        super().stop()


@contextmanager
def redis() -> Iterator[str]:
    """A Redis on a socket in a folder of its own, for Celery."""
    home = Path(tempfile.mkdtemp(prefix="mir-redis-", dir="/tmp"))
    path = home / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(home)], stdout=subprocess.DEVNULL)
    try:
        _wait_for(path, server)
        yield f"redis+socket://{path}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(path: Path, server: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as probe:
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(OSError):
                probe.connect(str(path))
                return
            time.sleep(0.05)
    raise TimeoutError("Redis did not start")
