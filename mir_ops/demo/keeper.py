"""Run a few commands, and end them and everything they started when the parent is gone.

Run as a script, not imported: `python -I keeper.py`, with a plan as one line of JSON on stdin. It
ends when stdin closes (the parent stopped it, or died, even by SIGKILL) or when any command ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ASK_AGAIN_SECONDS = 2.0
LINUX = sys.platform == "linux"


def main() -> int:
    plan = json.loads(sys.stdin.buffer.readline())
    if LINUX:
        # Whatever our commands leave behind becomes our child instead of init's.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for ends in ENDS:
        signal.signal(ends, _leave)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        return _run(plan, running)
    except SystemExit:
        return 0
    finally:
        for ends in ENDS:
            signal.signal(ends, signal.SIG_IGN)
        _end_all(plan, running)


def _run(plan: dict[str, Any], running: dict[str, subprocess.Popen[bytes]]) -> int:
    for name, argv in plan["first"].items():
        step = running[name] = _start(name, argv, plan)
        while step.poll() is None:
            if _parent_is_gone(plan):
                return 0
        if step.returncode != 0:
            return _report(plan, name, step.returncode)
        del running[name]
    for name, argv in plan["services"].items():
        running[name] = _start(name, argv, plan)
    while not _parent_is_gone(plan):
        for name, service in running.items():
            if service.poll() is not None:
                return _report(plan, name, service.returncode)
    return 0


def _start(name: str, argv: list[str], plan: dict[str, Any]) -> subprocess.Popen[bytes]:
    with (Path(plan["logs"]) / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            argv,
            cwd=plan["cwd"],
            env=plan["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if LINUX else None,
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _parent_is_gone(plan: dict[str, Any]) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], 0.2)
    # A copy of the pipe in a forked child of the parent must not keep us alive.
    return bool(readable) or os.getppid() != plan["parent"]


def _report(plan: dict[str, Any], name: str, code: int) -> int:
    (Path(plan["logs"]) / "ended.json").write_text(json.dumps({"name": name, "code": code}))
    return 1


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _end_all(plan: dict[str, Any], running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask each command to end in its own way, then ask everything that is left, then kill."""
    start = time.monotonic()
    asked = 0
    for name, service in running.items():
        abrupt = name in plan["abrupt"]
        _send(os.kill, service.pid, signal.SIGKILL if abrupt else signal.SIGTERM)
    while _alive(running) and (elapsed := time.monotonic() - start) < plan["grace"]:
        if elapsed > (asked + 1) * ASK_AGAIN_SECONDS:
            asked += 1
            _send_to_all(running, signal.SIGTERM)
        time.sleep(0.05)
    while _alive(running):
        _send_to_all(running, signal.SIGKILL)
        time.sleep(0.02)


def _send_to_all(running: dict[str, subprocess.Popen[bytes]], signum: signal.Signals) -> None:
    if LINUX:
        for pid in _descendants(os.getpid()):
            _send(os.kill, pid, signum)
    else:
        for service in running.values():
            _send(os.killpg, service.pid, signum)


def _send(kill: Callable[[int, int], None], pid: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        kill(pid, signum)


def _alive(running: dict[str, subprocess.Popen[bytes]]) -> bool:
    if not LINUX:
        return any(service.poll() is None for service in running.values())
    while True:  # reap what has ended, ours and what was left to us
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The second field, the program's name, is in parentheses and may contain anything.
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


if __name__ == "__main__":
    raise SystemExit(main())
