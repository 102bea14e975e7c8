"""A process in which Airflow's `dag.test()` runs our DAGs, one run after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from round_worlds import RoundWorld

TESTER = Path(__file__).with_name("dag_tester.py")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of a run."""

    run_id: str
    state: str
    tasks: Mapping[str, str]
    opening: Mapping[str, Any]  # XComs of the first task

    def among(self, state: str) -> set[str]:
        """The tasks that ended so."""
        return {task for task, ended in self.tasks.items() if ended == state}


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Asks the process for runs of DAGs."""

    process: subprocess.Popen[str]
    dags: Path
    log: Path
    connections: Mapping[str, Mapping[str, Any]]

    def run(
        self,
        file: str,
        dag: str,
        *,
        conf: Mapping[str, Any] | None = None,
        run_type: str = "manual",
        event: str | None = None,
        answer: str | None = None,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Tried:
        """One run of a DAG: by a person, a tick or an event, who say `answer` when asked.

        It finds `connections` in the place of the world's own.
        """
        wanted = {
            "file": str(self.dags / file),
            "dag": dag,
            "conf": dict(conf or {}),
            "run_type": run_type,
            "event": event,
            "answer": answer,
            "env": _environment(connections or self.connections),
        }
        found = self._ask(wanted)
        return Tried(**{**found, "tasks": dict(found["tasks"])})

    def _ask(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-5000:]
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def open_trials(
    world: RoundWorld, files: Mapping[str, str], *, env: Mapping[str, str] | None = None
) -> Iterator[Trials]:
    """The process, with an Airflow home, a database and these DAG files of its own."""
    home, dags, log = world.root / "home", world.root / "dags", world.root / "tester.log"
    for folder in (home, dags):
        folder.mkdir()
    for name, text in files.items():
        (dags / name).write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
    }
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, str(TESTER)],
            env={**clean, **settings, **(env or {})},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        trials = Trials(process=process, dags=dags, log=log, connections=world.connections())
        trials.answer()  # it is there
        yield trials
        process.kill()  # its end takes Airflow seconds


def _environment(connections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(said) for name, said in connections.items()}
