"""A small process between a task and its executor: when the task dies, the executor does too.

Started by `process.py` as a plain script (`python -I -S keeper.py`), standard library only. Its
first line of input says what to run; the end of its input means that the task is gone or has had
enough. Its only line of output says how the executor ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_SECONDS: Final = 0.05
_LARGEST_FILE: Final = 16 << 30


def main() -> int:
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 1  # the task died before it could say what to run
    spec = json.loads(line)
    # Children that outlive their parent come to us instead of init, so that we can end them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _start(spec)
    reason = _wait(child, time.monotonic() + spec["time_seconds"])
    if reason is not None:
        _end(child, spec["grace_seconds"])
    exit_code = child.wait()
    _end_orphans(child.pid)
    with suppress(OSError):  # nobody listens any more
        os.write(1, json.dumps({"exit_code": exit_code, "reason": reason}).encode())
    return 0


def _start(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    def limit() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_FSIZE, _LARGEST_FILE)
        if spec["memory_bytes"] is not None:
            _lower(resource.RLIMIT_DATA, spec["memory_bytes"])

    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(spec["log"], flags, 0o644)
    try:
        # Nothing else runs in this process, so a hook between fork and exec is safe here.
        return subprocess.Popen(
            spec["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=spec["directory"],
            env=spec["environment"],
            start_new_session=True,
            preexec_fn=limit,
        )
    finally:
        os.close(log)


def _wait(child: subprocess.Popen[bytes], deadline: float) -> str | None:
    """Wait for the executor, the end of our input, or the time limit."""
    watched: list[int] = [sys.stdin.fileno()]
    tick = _POLL_SECONDS
    with suppress(AttributeError, OSError):  # not on every system; then we look now and then
        watched.append(os.pidfd_open(child.pid))
        tick = 60.0
    while child.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return "time-limit"
        ready, _, _ = select.select(watched, [], [], min(left, tick))
        if watched[0] in ready and not os.read(watched[0], 4096):
            return "cancelled"
    return None


def _end(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ask the whole process group to end, then end it."""
    _signal_group(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace_seconds)
    _signal_group(child.pid, signal.SIGKILL)


def _end_orphans(group: int) -> None:
    """End what the executor left behind, also in sessions of its own."""
    _signal_group(group, signal.SIGKILL)
    for _ in range(100):
        children = _children()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not children:
            return
        time.sleep(0.01)


def _children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        return [int(pid) for pid in path.read_text().split()]
    except OSError:
        return []


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or hard > limit:
        resource.setrlimit(kind, (limit, limit))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
