"""The production stack, as a user starts it: `docker-compose.yaml` with images of our own.

    with running(folder, "label-studio") as stack:          # 30 to 60 s; `down` takes its volumes
        stack.bring(DEMO)                                    # a small project's data and its oracle
        run = stack.client.trigger(DAG, conf={"project": DEMO})

It has a `.env` by `scripts/make-env.sh`, a project name, ports and a work folder of its own, so
that several run side by side, and it is looked for by labels, never by a container's name.
`overlays` are more compose files, `settings` lines for `.env`. MIR_COMPOSE names another
docker-compose than the one that is found first.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from mir_ops import __version__
from mir_ops.catalog import Catalog
from mir_ops.dataset import import_dataset
from mir_ops.demo.project import project_mapping
from mir_ops.demo.scenes import write_dataset
from mir_ops.demo.services import free_port
from mir_ops.rounds.airflow_api import AirflowClient, DagRun
from mir_ops.store import Store

ROOT: Final = Path(__file__).resolve().parents[1]
DAG: Final = "active_learning_round"
DEMO: Final = "digits"
IMAGES: Final = ("airflow", "postgres", "s3", "sample")
ONCE: Final = ("check-env", "airflow-init")
STAYING: Final = (
    "airflow-apiserver", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer",
    "postgres", "s3",
)  # fmt: skip
STARTING_SECONDS: Final = 600.0  # 30 on a quiet machine
ROUND_SECONDS: Final = 900.0


def compose_command() -> str | None:
    """docker-compose, or None where there is none."""
    return os.environ.get("MIR_COMPOSE") or shutil.which("docker-compose")


def image(name: str) -> str:
    """One of ours, as `make stack-images` and `executors/build.sh` name it."""
    return f"mir-ops/{name}:{__version__}"


def skip_without(engine: Any, *images: str) -> None:
    """Skip the test where docker-compose is missing, or an image: the stack's, or one of these."""
    if compose_command() is None:
        pytest.skip("docker-compose is not installed")
    if missing := [name for name in (*IMAGES, *images) if not engine.images.list(image(name))]:
        pytest.skip(f"No images {', '.join(missing)}: run `make stack-images`")


@dataclass(kw_only=True)
class Stack:
    """A stack with volumes of its own. `engine` is a client of the host's engine."""

    folder: Path
    engine: Any = field(repr=False)
    profiles: Sequence[str] = ()
    overlays: Sequence[Path] = ()
    root: Path = ROOT  # the checkout
    name: str = field(default_factory=lambda: f"mir-test-{secrets.token_hex(3)}")

    @property
    def work(self) -> Path:
        """The work folder: the same path here and in containers."""
        return self.folder / "work"

    @property
    def oracle(self) -> Path:
        return self.work / "oracle"

    def write_env(self, settings: Mapping[str, str]) -> None:
        """A new `.env`, and what a file of ours adds to the stack: the oracle's connection."""
        made = {**os.environ, "YMIR_PATH": str(self.work), "FIRST_ADMIN": "admin@example.org"}
        words = ["bash", str(ROOT / "scripts" / "make-env.sh"), str(self._env)]
        subprocess.run(words, env=made, check=True, capture_output=True)
        web, labels = free_port(), free_port()
        ours = {
            "COMPOSE_PROJECT_NAME": self.name,
            "NGINX_PORT": str(web),
            "PUBLIC_URL": f"http://127.0.0.1:{web}",
            "LABEL_TOOL_HOST_PORT": str(labels),
            "SCHEDULER_GRACE": "5s",
            **settings,
        }
        with self._env.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in ours.items())
        if os.getuid() == 0:
            for path in (self.work, *self.work.iterdir()):
                os.chown(path, int(self.settings["AIRFLOW_UID"]), 0)
        self._oracle_overlay.write_text(yaml.safe_dump(self._with_oracle(), sort_keys=False))

    @cached_property
    def settings(self) -> dict[str, str]:
        """What `.env` says."""
        lines = [line.partition("=") for line in self._env.read_text().splitlines()]
        return {name: value for name, _, value in lines if name.isupper() or "_" in name}

    @property
    def secrets(self) -> dict[str, str]:
        """The values in `.env` that nobody else may see."""
        words = ("SECRET", "PASSWORD", "TOKEN", "KEY")
        return {
            name: value
            for name, value in self.settings.items()
            if any(word in name for word in words) and len(value) >= 16
        }

    # Compose

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker-compose on this stack, with nothing of the shell's environment."""
        command = compose_command()
        assert command is not None
        clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        clean["COMPOSE_HTTP_TIMEOUT"] = "600"  # a busy engine's answers take long
        files = [self.root / "docker-compose.yaml", self.root / "docker-compose.build.yaml"]
        named = [f"--file={path}" for path in (*files, *self.overlays, self._oracle_overlay)]
        wanted = [word for profile in self.profiles for word in ("--profile", profile)]
        place = ["--project-directory", str(self.root), "--env-file", str(self._env)]
        done = subprocess.run(
            [command, "-p", self.name, *place, *named, *wanted, *words],
            env=clean, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
        return done

    def up(self) -> None:
        """Start what does not run, and wait until all of it is healthy."""
        self.compose("up", "-d")
        self.wait_healthy()

    def down(self) -> None:
        """Remove containers, volumes, networks, and containers of executors."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        for container in self.executors():
            container.remove(force=True)

    def wait_healthy(self, *services: str) -> None:
        until(
            lambda: all(self.state(name) == "healthy" for name in services or self.staying),
            f"healthy: {services or self.staying}", STARTING_SECONDS,
        )  # fmt: skip

    # Containers

    @property
    def staying(self) -> tuple[str, ...]:
        """The services that run for as long as the stack does."""
        labels = ("label-studio",) if "label-studio" in self.profiles else ()
        return (*STAYING, *labels, *(("airflow-worker", "redis") if self._has_celery else ()))

    def containers(self, service: str) -> list[Any]:
        labels = [
            f"com.docker.compose.project={self.name}",
            f"com.docker.compose.service={service}",
        ]
        found: list[Any] = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def container(self, service: str) -> Any:
        (found,) = self.containers(service)
        return found

    def state(self, service: str) -> str:
        """healthy, starting or unhealthy; of what has no check running, exited, …"""
        found = self.containers(service)
        if not found:
            return "absent"
        state = found[0].attrs["State"]
        return str(state.get("Health", {}).get("Status", state["Status"]))

    def executors(self) -> list[Any]:
        """Containers that tasks of this stack started, also those that ended."""
        label = f"mir.deployment={self.name}"
        found: list[Any] = self.engine.containers.list(all=True, filters={"label": label})
        return found

    def kill(self, *services: str) -> None:
        """SIGKILL, as when the power goes: nobody starts them again but `start`."""
        for name in services:
            self.container(name).kill()
        until(
            lambda: all(self.container(name).status == "exited" for name in services),
            f"{services} are dead",
        )

    def start(self, *services: str) -> None:
        for name in services:
            self.container(name).start()
        self.wait_healthy(*services)

    def run_in(self, service: str, *words: str) -> str:
        """What a command in a service says; fails when it does."""
        return self.compose("exec", "-T", service, *words).stdout

    def mir(self, *words: str) -> str:
        """`mir` in the stack, as `make mir` runs it."""
        return self.run_in("airflow-scheduler", "mir", *words)

    # What it serves

    @property
    def url(self) -> str:
        return self.settings["PUBLIC_URL"]

    @property
    def label_url(self) -> str:
        return f"http://127.0.0.1:{self.settings['LABEL_TOOL_HOST_PORT']}"

    @cached_property
    def client(self) -> AirflowClient:
        """Airflow's API as the first admin, logged in by FAB."""
        return self.client_as(self.settings["FIRST_ADMIN"], self.settings["FIRST_ADMIN_PASSWORD"])

    def client_as(self, user: str, password: str) -> AirflowClient:
        return AirflowClient(
            self.url, username=user, password=password, timeout=120.0, trust_env=False
        )

    def round(self, project: str) -> DagRun:
        """A round from its trigger by REST to its end."""
        until(lambda: DAG in self.client.dag_ids(), f"Airflow knows {DAG}")
        run = self.client.trigger(DAG, conf={"project": project})
        return self.client.wait_for_run(DAG, run.run_id, timeout=ROUND_SECONDS)

    def failures(self, run: DagRun) -> str:
        """The logs of what failed in a run."""
        tasks = self.client.tasks(run.dag_id, run.run_id)
        failed = [task for task in tasks if task.state == "failed"]
        logs = [
            self.client.log(run.dag_id, run.run_id, task.task_id, try_number=task.try_number)
            for task in failed
        ]
        return "\n".join(log[-3000:] for log in logs)

    def address(self, service: str) -> str:
        """Where this host reaches a service whose port is not published."""
        (network,) = self.container(service).attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def store(self) -> Store:
        """The stack's store, past Airflow."""
        endpoint = f"http://{self.address('s3')}:9000"
        return Store.open(
            f"s3://{self.settings['S3_BUCKET']}/store?endpoint_url={endpoint}",
            access_key=self.settings["S3_ACCESS_KEY"],
            secret_key=self.settings["S3_SECRET_KEY"],
        )

    def catalog(self) -> Catalog:
        """The stack's catalog, past Airflow."""
        password = self.settings["POSTGRES_PASSWORD"]
        return Catalog.open(f"postgresql+psycopg2://mir:{password}@{self.address('postgres')}/mir")

    # A small project

    def bring(self, name: str, **changes: Any) -> None:
        """Put the demonstration's data and its oracle where imports may read, small, and apply a
        project with the sample executor, by `mir` in the stack."""
        sharing = self.work / "ymir-sharing" / "demo"
        if not sharing.exists():
            sharing.mkdir(parents=True)
            paths = write_dataset(sharing, training=100, validation=60, pool=60, size=64)
            truth = Store.open(self.oracle.as_uri(), create=True)
            import_dataset(truth, paths.oracle, "truth", op_id="truth", unknown_classes="add")
            paths.oracle.unlink()
            self._hand_over()
            (self.folder / "paths.json").write_text(
                json.dumps(project_mapping(paths, rounds=20, seed=3))
            )
        mapping = json.loads((self.folder / "paths.json").read_text())
        mapping |= {
            "name": name,
            "executor": {"name": "sample", "limits": {"time_seconds": 300}},
            "mining": {"strategy": "entropy", "budget": 5},
            **changes,
        }
        file = sharing / f"{name}.yaml"
        file.write_text(yaml.safe_dump(mapping, sort_keys=False))
        self.mir("project", "apply", "-f", str(file))

    def _hand_over(self) -> None:
        """The oracle notes what it was asked: tasks write there."""
        if os.getuid() == 0:
            user = int(self.settings["AIRFLOW_UID"])
            for path in (self.oracle, *self.oracle.rglob("*")):
                os.chown(path, user, 0)

    @property
    def _has_celery(self) -> bool:
        return any(path.name == "docker-compose.celery.yaml" for path in self.overlays)

    @property
    def _env(self) -> Path:
        return self.folder / ".env"

    @property
    def _oracle_overlay(self) -> Path:
        return self.folder / "oracle.yaml"

    def _with_oracle(self) -> dict[str, Any]:
        settings = self.settings
        labels = {
            "conn_type": "mir_labels",
            "password": settings["LABEL_TOOL_TOKEN"],
            "extra": {
                "store_url": self.oracle.as_uri(), "rev": "truth", "path": f"{self.work}/labels",
                "url": "http://label-studio:8080", "browser_url": self.label_url,
            },
        }  # fmt: skip
        services = ["airflow-apiserver", "airflow-scheduler", "airflow-triggerer"]
        if self._has_celery:
            services.append("airflow-worker")
        told = {"environment": {"AIRFLOW_CONN_MIR_LABELS": json.dumps(labels)}}
        return {"services": dict.fromkeys(services, told)}


@contextmanager
def running(
    folder: Path,
    *profiles: str,
    engine: Any,
    overlays: Sequence[Path] = (),
    root: Path = ROOT,
    **settings: str,
) -> Iterator[Stack]:
    """A stack from nothing, healthy, gone with its volumes when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder=folder, engine=engine, profiles=profiles, overlays=overlays, root=root)
    stack.write_env(settings)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def until(met: Callable[[], bool], what: str, seconds: float = ROUND_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.5)
