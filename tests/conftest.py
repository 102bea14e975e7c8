"""What every room's tests share: the user's own settings stay out, and no skip hides a part.

`MIR_REQUIRE=docker,browser` names parts that must be tested here: a skipped test with one of these
markers fails, a test file that skips itself fails, and so does a run in which none of them passed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from results_file import Results

from mir_ops.demo.label_studio import LocalLabelStudio

# Tests assert no times: a busy machine is no failure.
settings.register_profile("mir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mir")

ROOT = Path(__file__).parents[1]
REQUIRED = frozenset(filter(None, os.environ.get("MIR_REQUIRE", "").split(",")))
# Files whose tests share a server that starts slowly: one process runs them all.
SERVED = {
    "airflow": [
        "chaos", "containers_in_airflow", "local_airflow", "round_kills", "rounds_in_airflow",
        "rounds_that_run_themselves", "secrets", "step_dags",
    ],
    "api-server": [
        "console_guard", "console_in_airflow", "console_routes", "signed_addresses",
    ],
    "fab": ["fab_in_the_browser", "fab_routes", "fab_users"],
    "label-studio": [
        "images_in_the_page", "label_studio", "label_studio_page", "label_studio_rounds",
        "labels_trigger", "steps_at_label_studio",
    ],
    "stack": ["running_stack", "stack_in_browser", "stack_survives"],
}  # fmt: skip
_passed: set[str] = set()
_skipped_files: list[str] = []

# A shell that starts tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports Airflow, which creates its home on import.
for name in ("MIR_STORE", "MIR_CATALOG", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.pop(name, None)
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="mir-airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="keep results here, and go on where they end")
    parser.addoption("--pictures", action="store_true", help="take the pictures in docs/pictures")
    parser.addoption("--generated", action="store_true", help="write docs anew that tests make")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--results"):
        worker = hasattr(config, "workerinput")  # it reports to whoever started it
        config.pluginmanager.register(Results(path, config.rootpath, writes=not worker))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = REQUIRED & {marker.name.replace("_", "-") for marker in item.iter_markers()}
    report.required = sorted(required)  # travels with the report from a worker
    if report.skipped and required and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"MIR_REQUIRE names {', '.join(sorted(required))}: {report.longrepr}"
    return report


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" and report.passed:
        _passed.update(report.required)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if REQUIRED and report.skipped:
        _skipped_files.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.collectonly or not REQUIRED:
        return
    if _skipped_files or REQUIRED - _passed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in _skipped_files:
        terminalreporter.write_line(f"MIR_REQUIRE: {name} was skipped as a whole", red=True)
    for marker in sorted(REQUIRED - _passed):
        terminalreporter.write_line(f"MIR_REQUIRE: no test of `{marker}` passed", red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, what one process runs in order: a file, or those that share a server."""
    from xdist.scheduler import LoadScopeScheduling

    class Shares(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            name = Path(file).stem.removeprefix("test_")
            return next((server for server, names in SERVED.items() if name in names), file)

    config.option.loadscopereorder = False  # Airflow's tests take longest, and come first
    return Shares(config, log)


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the Docker engine; without one the test is skipped."""
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        pytest.skip(f"No Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def sample_image(engine: Any) -> str:
    """The name of the sample executor's image, built from what is here."""
    from mir_ops.executor import bundled_image

    if not engine.images.list("mir-ops/base:bookworm"):
        subprocess.run([ROOT / "docker" / "base" / "build.sh"], check=True)
    subprocess.run([ROOT / "executors" / "build.sh", "sample"], check=True)
    image: str = bundled_image("sample").image
    return image


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLabelStudio]:
    """A real Label Studio; where it is not installed the test is skipped."""
    if not LocalLabelStudio.is_installed():
        pytest.skip("Label Studio is not installed here: run `make label-studio`")
    with LocalLabelStudio(tmp_path_factory.mktemp("label-studio") / "data") as running:
        yield running
