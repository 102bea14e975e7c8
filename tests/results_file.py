"""`--results FILE`: keeps what long tests found, so that a run that was stopped goes on.

A line of JSON for every test that ended: outcome, seconds, figures, commit, machine. Tests that
passed at the same state of the source are not run again. A test gives a figure with
`record_property("figure", "…")`; the figures are shown at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest


class Results:
    """Writes results to a file, and deselects what passed before."""

    def __init__(self, path: Path, root: Path, *, writes: bool) -> None:
        self._path = path.resolve()  # tests change the working folder
        self._commit = _state(root)
        self._machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        known = [one for one in map(_parsed, lines) if one.get("commit") == self._commit]
        self._results = {one["test"]: one for one in known if one["outcome"] == "passed"}
        self._writes = writes

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        passed = [item for item in items if item.nodeid in self._results]
        items[:] = [item for item in items if item.nodeid not in self._results]
        config.hook.pytest_deselected(items=passed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not self._writes or (report.when != "call" and report.passed):
            return
        result = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
            "figures": [str(value) for name, value in report.user_properties if name == "figure"],
            "commit": self._commit,
            "machine": self._machine,
        }
        self._results[report.nodeid] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self._results:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"results at {self._commit}")
        for result in self._results.values():
            line = f"{result['outcome']} {result['test']} ({result['seconds']} s)"
            terminalreporter.write_line(line)
            for figure in result["figures"]:
                terminalreporter.write_line(f"    {figure}")


def _state(root: Path) -> str:
    """The commit, and a digest of what differs from it."""

    def git(*words: str) -> bytes:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True).stdout

    changes = git("diff", "HEAD")
    commit = git("rev-parse", "--short=12", "HEAD").decode().strip()
    return f"{commit}+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else commit


def _parsed(line: str) -> dict[str, str]:
    try:
        result: dict[str, str] = json.loads(line)
    except ValueError:  # the run was killed while it wrote
        return {}
    return result
