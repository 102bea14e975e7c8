"""The keeper: whatever ends the parent ends what it started, and all that that started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import is_running

from mir_ops.demo import keeper

# Ignores being asked to end, and so does its child, which left for a session of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
with open(sys.argv[1] + ".partial", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".partial", sys.argv[1])
time.sleep(600)
"""

# The parent: starts the keeper as `LocalAirflow` does, then waits for nothing.
PARENT = """
import json, os, subprocess, sys, time
plan = json.loads(sys.argv[2])
plan["parent"] = os.getpid()
keeper = subprocess.Popen([sys.executable, "-I", sys.argv[1]], stdin=subprocess.PIPE,
                          start_new_session=True)
keeper.stdin.write(json.dumps(plan).encode() + b"\\n")
keeper.stdin.flush()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets orphans be found")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_parent(tmp_path: Path, signum: signal.Signals) -> None:
    told = tmp_path / "pids"
    plan = _plan(tmp_path, [sys.executable, "-c", STUBBORN, str(told)])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, keeper.__file__, json.dumps(plan)], stderr=subprocess.DEVNULL
    )
    _wait_for(told.exists)
    pids = [int(pid) for pid in told.read_text().split()]

    parent.send_signal(signum)
    parent.wait()

    _wait_for(lambda: not any(is_running(pid) for pid in pids))


def test_a_command_that_ends_ends_the_others_and_is_named(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [sys.executable, "-c", "import time; time.sleep(600)"])
    plan["services"]["short"] = [sys.executable, "-c", "raise SystemExit(7)"]

    started = subprocess.Popen(
        [sys.executable, "-I", keeper.__file__], stdin=subprocess.PIPE, text=True
    )
    assert started.stdin is not None
    started.stdin.write(json.dumps(plan) + "\n")
    started.stdin.flush()
    code = started.wait(timeout=60)
    started.stdin.close()

    assert code == 1
    assert json.loads((tmp_path / "ended.json").read_text()) == {"name": "short", "code": 7}


def _plan(folder: Path, argv: list[str]) -> dict[str, Any]:
    return {
        "parent": os.getpid(),
        "cwd": str(folder),
        "logs": str(folder),
        "env": dict(os.environ),
        "grace": 3.0,
        "abrupt": [],
        "first": {"first": [sys.executable, "-c", "pass"]},
        "services": {"stubborn": argv},
    }


def _wait_for(met: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)
