"""`python -m mir_ops.demo`: active-learning rounds on handwritten digits, on a real Airflow."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mir_ops.demo.folder import DemoFolder, claim, require_space
from mir_ops.demo.progress import DAG, Display, RoundFollower
from mir_ops.errors import MirError, StoreError

if TYPE_CHECKING:
    from mir_ops.demo.label_studio import LocalLabelStudio
    from mir_ops.demo.local_airflow import LocalAirflow
    from mir_ops.workspace import Workspace

ROOT: Final = Path(__file__).resolve().parents[2]
ROUND_SECONDS: Final = 1800.0
PEOPLE_SECONDS: Final = 7 * 24 * 3600.0
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for on the command line."""

    folder: Path
    runner: str
    rounds: int
    seed: int
    keep: bool
    store: str
    labels: str
    annotator: str

    @property
    def waits_for_people(self) -> bool:
        return self.labels == "label-studio" and self.annotator == "person"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0 done, 1 we said why, 2 bad usage, 130 interrupted."""
    settings = _settings(argv)
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, _interrupt)
    # A store or catalog of the user's is none of the demo's business.
    os.environ.pop("MIR_CATALOG", None)
    os.environ.pop("MIR_STORE", None)
    display = Display()
    try:
        with claim(settings.folder) as folder:
            _demo(settings, folder, display)
    except MirError as error:
        display.line(f"\nerror: {error}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
        return FAILED
    except OSError as error:
        display.line(f"\nerror: {error}\n\nhint: Is there room on the disk of {settings.folder}?")
        return FAILED
    except KeyboardInterrupt:
        display.line("\nInterrupted: everything that the demo started has ended")
        return INTERRUPTED
    return DONE


def _demo(settings: Settings, folder: DemoFolder, display: Display) -> None:
    from mir_ops.demo.stage import open_workspace

    if settings.runner == "docker":
        display.heading("Build the detector's image")
        _build_image(display)
    workspace = open_workspace(folder, store=settings.store, runner=settings.runner)
    with _label_tool(settings, folder, display) as studio:
        _rounds(settings, folder, workspace, studio, display)
    display.heading("Everything that the demo started has ended")


@contextmanager
def _label_tool(
    settings: Settings, folder: DemoFolder, display: Display
) -> Iterator[LocalLabelStudio | None]:
    """Label Studio with its scripted annotator, where people's labels were asked for."""
    if settings.labels != "label-studio":
        yield None
        return
    from mir_ops.demo.annotator import ScriptedAnnotator
    from mir_ops.demo.label_studio import LocalLabelStudio

    display.heading("Start Label Studio")
    with LocalLabelStudio(folder.root / "label-studio") as studio:
        display.line(
            f"  {studio.url}   user {studio.login['user']}, password {studio.login['password']}"
        )
        if settings.annotator == "person":
            display.line("  Label what appears there: the rounds go on when it is done")
            yield studio
            return
        with ScriptedAnnotator(studio, oracle_url=folder.oracle.as_uri()):
            yield studio


def _rounds(
    settings: Settings,
    folder: DemoFolder,
    workspace: Workspace,
    studio: LocalLabelStudio | None,
    display: Display,
) -> None:
    from mir_ops.demo.stage import prepare

    airflow = _airflow(folder, workspace, studio)
    try:
        display.heading("Start Airflow: API server, scheduler, DAG processor, triggerer")
        airflow.start()
        display.heading("Write the data set while Airflow starts")
        prepare(
            folder, workspace, rounds=settings.rounds, seed=settings.seed, tell=display.line,
            labels=settings.labels,
        )  # fmt: skip
        airflow.wait_healthy()
        airflow.wait_for_dag(DAG)
        display.heading(f"Airflow is up: {airflow.url}")
        for number in range(1, settings.rounds + 1):
            timeout = PEOPLE_SECONDS if settings.waits_for_people else ROUND_SECONDS
            _round(number, airflow, workspace, folder, display, timeout)
        _conclude(folder, workspace, display)
        if settings.keep and sys.stdin.isatty() and display.live:
            _wait_for_enter(airflow, folder, display)
    finally:
        airflow.stop()
        if settings.runner == "docker":
            _remove_containers(workspace.deployment)


def _airflow(
    folder: DemoFolder, workspace: Workspace, studio: LocalLabelStudio | None
) -> LocalAirflow:
    from mir_ops.demo.local_airflow import LocalAirflow
    from mir_ops.demo.stage import connections

    return LocalAirflow(
        folder.airflow,
        dags=ROOT / "dags",
        connections=connections(folder, workspace, studio),
        env={"GX_ANALYTICS_ENABLED": "False"},
    )


def _round(
    number: int,
    airflow: LocalAirflow,
    workspace: Workspace,
    folder: DemoFolder,
    display: Display,
    timeout: float,
) -> None:
    display.heading(f"Round {number}, triggered through Airflow's REST API")
    from mir_ops.demo.project import NAME

    run = airflow.client.trigger(DAG, conf={"project": NAME}, run_id=f"demo-round-{number}")
    RoundFollower(
        client=airflow.client,
        catalog=workspace.catalog,
        deployment=workspace.deployment,
        run=run,
        display=display,
        check=lambda: require_space(folder.root),
    ).follow(timeout=timeout)


def _conclude(folder: DemoFolder, workspace: Workspace, display: Display) -> None:
    from mir_ops.cli.main import main as mir
    from mir_ops.console.report import write_report
    from mir_ops.console.rounds.charts import verdict
    from mir_ops.console.rounds.views import find_project
    from mir_ops.demo.project import NAME
    from mir_ops.demo.stage import print_rounds

    project = find_project(workspace.catalog, workspace.store, NAME)
    assert project is not None
    display.heading("What the rounds did")
    print_rounds(project.rounds)
    display.line("")
    display.line(verdict(project.rounds))
    display.heading(f"mir log {NAME}/training")
    mir(["--root", str(folder.root), "log", f"{NAME}/training"])
    write_report(workspace.store, workspace.catalog, NAME, folder.report)
    display.heading(f"Report with charts and images: {folder.report.as_uri()}")


def _wait_for_enter(airflow: LocalAirflow, folder: DemoFolder, display: Display) -> None:
    user, password = next(iter(airflow.passwords.items()))
    display.line("")
    display.line(f"  Airflow      {airflow.url}   user {user}, password {password}")
    display.line(f"  Report       {folder.report}")
    display.line(f"  Versions     .venv/bin/mir --root {folder.root} view digits/training")
    display.line("  Your images  make try DIR=path/to/your/folder")
    _open_report(folder)
    display.line("")
    input("Press Enter to stop Airflow and leave ")


def _open_report(folder: DemoFolder) -> None:
    """Only where there is a desktop: on a server a text browser would take the terminal."""
    import webbrowser

    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(folder.report.as_uri())


def _build_image(display: Display) -> None:
    base = ["docker", "image", "inspect", "mir-ops/base:bookworm"]
    if _run(base).returncode != 0:
        _build(["docker/base/build.sh"], display)
    _build(["executors/build.sh", "detector"], display)


def _build(command: list[str], display: Display) -> None:
    display.line(f"  {' '.join(command)}")
    done = _run(command)
    if done.returncode != 0:
        for line in (done.stdout + done.stderr).strip().splitlines()[-12:]:
            display.line(f"  | {line}")
        raise StoreError(
            f"`{' '.join(command)}` failed with exit code {done.returncode}",
            code="image-build",
            hint="Is a Docker engine running? `RUNNER=process` needs none",
        )
    display.line(f"  {done.stdout.strip()}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StoreError(
            f"`{error.filename}` is not installed",
            code="image-build",
            hint="`RUNNER=process` needs no containers",
        ) from None


def _remove_containers(deployment: str) -> None:
    """What a killed task may have left; the demo's alone, by its label."""
    found = _run(["docker", "ps", "-aq", "--filter", f"label=mir.deployment={deployment}"])
    if names := found.stdout.split():
        _run(["docker", "rm", "-f", *names])


def _settings(argv: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m mir_ops.demo", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".mir-demo", help="where it works")
    parser.add_argument("--runner", choices=("process", "docker"), default="process")
    parser.add_argument(
        "--labels", choices=("oracle", "label-studio"), default="oracle", help="who labels"
    )
    parser.add_argument(
        "--annotator", choices=("script", "person"), default="script", help="at Label Studio"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", choices=("0", "1"), default="1", help="0: do not wait for Enter")
    parser.add_argument("--store", default="", help="s3://bucket/prefix?endpoint_url=… (or local)")
    given = parser.parse_args(argv)
    if given.rounds < 1 or given.seed < 0:
        parser.error("--rounds is at least 1, --seed at least 0")
    return Settings(
        folder=given.folder,
        runner=given.runner,
        rounds=given.rounds,
        seed=given.seed,
        keep=given.keep == "1",
        store=given.store,
        labels=given.labels,
        annotator=given.annotator,
    )


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
