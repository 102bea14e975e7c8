"""A real Airflow of one's own, in one folder, on 127.0.0.1, gone when the block ends."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mir_ops.demo.services import Services, free_port
from mir_ops.errors import MirError, StoreError
from mir_ops.rounds.airflow_api import AirflowClient

ADMIN = "admin"
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
# A port that nothing listens on: logs are read from the folder that all components share.
NO_LOG_SERVER = "9"


class LocalAirflow:
    """Airflow's four components as child processes, with generated passwords and keys.

    Knows nothing of the user's own Airflow and leaves nothing behind: `stop`, the end of the block
    and the death of this process by any signal all end every process that was started.

    `connections` maps a connection id to Airflow's fields (`conn_type`, `login`, `extra`, …),
    `users` a name to a role (viewer, user, op, admin).
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        users: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        parallelism: int = 4,
    ) -> None:
        self.home = home.resolve()
        self.dags = dags.resolve()
        self.connections = dict(connections or {})
        self.users = dict(users or {ADMIN: "admin"})
        self.parallelism = parallelism
        self.url = ""
        self._extra_env = dict(env or {})
        self._services = Services(self.logs)

    def __enter__(self) -> LocalAirflow:
        try:
            self.start()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def logs(self) -> Path:
        """Task logs, and one file per component."""
        return self.home / "logs"

    @cached_property
    def passwords(self) -> dict[str, str]:
        """User → password. Kept in the folder so that the same folder starts again."""
        path = self.home / "passwords.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        passwords = {user: known.get(user) or secrets.token_urlsafe(12) for user in self.users}
        _write_private(path, json.dumps(passwords) + "\n")
        return passwords

    @cached_property
    def client(self) -> AirflowClient:
        """Airflow's API as the first admin."""
        user = next(name for name, role in self.users.items() if role == "admin")
        return AirflowClient(
            self.url,
            username=user,
            password=self.passwords[user],
            timeout=120.0,  # it runs beside everything else on this machine
            trust_env=False,
        )

    def start(self) -> None:
        """Start the processes and return at once; see `wait_healthy`."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._services.start(
            self.services(),
            cwd=self.home,
            env=self.environment(port),
            first={"migrate": _airflow("db", "migrate")},
            # It sits out a 10 s delay after SIGTERM with nothing to do.
            abrupt=["triggerer"],
        )

    def services(self) -> dict[str, list[str]]:
        """The command of each component, in the order in which they start."""
        return {
            "api-server": _airflow("api-server", "--workers", "1"),
            "scheduler": _airflow("scheduler", "--skip-serve-logs"),
            "dag-processor": _airflow("dag-processor"),
            "triggerer": _airflow("triggerer", "--skip-serve-logs"),
        }

    def stop(self) -> None:
        """End every process, asked first and killed after a grace time. Safe to call twice."""
        client: AirflowClient | None = self.__dict__.pop("client", None)
        if client is not None:
            client.close()
        self._services.stop()

    def wait_healthy(self, timeout: float = 180.0) -> None:
        """Wait until every component reports healthy; says which one ended and why."""
        deadline = time.monotonic() + timeout
        starts = 1
        while not self._healthy():
            if (ended := self._services.ended()) is not None:
                if "address already in use" in ended[1].lower() and starts < 4:
                    starts += 1  # somebody took the port between our look and the server's bind
                    self.stop()
                    self.start()
                    continue
                raise StoreError(
                    f"Airflow's {ended[0]} ended while starting: {ended[1]}",
                    code="airflow-start",
                    hint=f"Read the logs in `{self.logs}`",
                )
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Airflow was not healthy after {timeout:.0f} s",
                    code="airflow-start",
                    hint=f"Read the logs in `{self.logs}`",
                )
            time.sleep(0.2)

    def wait_for_dag(self, dag_id: str, timeout: float = 180.0) -> None:
        """Wait until the scheduler knows a DAG; an error in a DAG file is raised as it reads."""
        deadline = time.monotonic() + timeout
        while dag_id not in self.client.dag_ids():
            if errors := self.client.import_errors():
                file, reason = next(iter(errors.items()))
                raise StoreError(
                    f"Airflow could not read `{file}`: {reason.strip()}", code="dag-import"
                )
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Airflow did not find the DAG `{dag_id}` in `{self.dags}`",
                    code="dag-missing",
                    hint=f"Read `{self.logs / 'dag-processor.log'}`",
                )
            time.sleep(0.2)

    def environment(self, port: int) -> dict[str, str]:
        """What the components run with: nothing of the user's own Airflow."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
        # Tasks talk to the API server by HTTP; a proxy must not stand between.
        clean |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        connections = {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields)
            for name, fields in self.connections.items()
        }
        return clean | self._settings(port) | connections | self._extra_env

    def _settings(self, port: int) -> dict[str, str]:
        url = f"http://127.0.0.1:{port}"
        settings = {
            "core.executor": "LocalExecutor",
            "core.parallelism": str(self.parallelism),
            "core.dags_folder": str(self.dags),
            "core.plugins_folder": str(self.home / "plugins"),
            "core.load_examples": "False",
            "core.dags_are_paused_at_creation": "False",
            "core.execution_api_server_url": f"{url}/execution/",
            "core.hostname_callable": "socket.gethostname",
            "core.simple_auth_manager_users": ",".join(f"{n}:{r}" for n, r in self.users.items()),
            "core.simple_auth_manager_passwords_file": str(self._passwords_file()),
            "database.sql_alchemy_conn": f"sqlite:///{self.home / 'airflow.db'}",
            "api.host": "127.0.0.1",
            "api.port": str(port),
            "api.base_url": url,
            "logging.base_log_folder": str(self.logs),
            "logging.worker_log_server_port": NO_LOG_SERVER,
            "logging.trigger_log_server_port": NO_LOG_SERVER,
            "scheduler.scheduler_idle_sleep_time": "0.2",
            "scheduler.enable_health_check": "False",
            "dag_processor.refresh_interval": "10",
            "dag_processor.parsing_processes": "1",
            "usage_data_collection.enabled": "False",
        }
        named = {f"AIRFLOW__{key.replace('.', '__').upper()}": v for key, v in settings.items()}
        return {"AIRFLOW_HOME": str(self.home)} | named | self._keys()

    def _passwords_file(self) -> Path:
        assert self.passwords
        return self.home / "passwords.json"

    def _keys(self) -> dict[str, str]:
        path = self.home / "keys.json"
        if not path.exists():
            keys = {
                "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
                "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            }
            _write_private(path, json.dumps(keys) + "\n")
        known: dict[str, str] = json.loads(path.read_text())
        return known

    def _healthy(self) -> bool:
        try:
            health = self.client.health()
            if any(health.get(name) != "healthy" for name in COMPONENTS):
                return False
            # Only our own server knows our password.
            self.client.dag_ids()
        except MirError:
            return False
        return True


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    path.chmod(0o600)
