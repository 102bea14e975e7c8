"""A small process between a task and its executor: it ends all that the executor started.

Started by `process.py` as a plain script (`python -I -S keeper.py`), standard library only. Its
one line of input says what to run. It writes `process.json` before it starts the executor, so that
the next task finds it, and `ended.json` when the executor has ended. When its task is gone and no
other one takes the job within the given time, it ends the executor; at SIGTERM it does so at once.
"""

from __future__ import annotations

import ctypes
import fcntl
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

CANCELLED: Final = "cancelled"
UNWANTED: Final = "no task came back for it"

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 1.0
_LARGEST_FILE: Final = 16 << 30
_LARGEST_LOG: Final = 64 << 20
_KEPT_LOG: Final = 1 << 20


class _CancelledError(Exception):
    """Somebody sent SIGTERM."""


def main() -> int:
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 1  # the task died before it could say what to run
    spec = json.loads(line)
    # Children that outlive their parent come to us instead of init, so that we can end them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    record = {"pid": os.getpid(), "started": started_at(os.getpid())}
    _write(Path(spec["record"]), {**record, "keep_seconds": spec["keep_seconds"]})
    begun = time.monotonic()
    child = _start(spec)
    signal.signal(signal.SIGTERM, _cancel)
    try:
        reason = _wait(child, spec)
    except _CancelledError:
        reason = CANCELLED
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if reason is not None:
        _end(child, spec["grace_seconds"])
    exit_code = child.wait()
    _end_orphans(child.pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of all that ended below us
    report = {
        "exit_code": exit_code,
        "reason": reason,
        "seconds": time.monotonic() - begun,
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }
    with suppress(OSError):  # the folder was removed: nobody wants to know
        _write(Path(spec["report"]), report)
    return 0


def started_at(pid: int) -> str | None:
    """When a process started, in a form that no other process with this number shares."""
    if sys.platform != "linux":
        told = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True
        ).stdout.split(None, 1)
        return None if len(told) < 2 or told[0].startswith("Z") else told[1].strip()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else f"{boot}/{fields[19].decode()}"


def _cancel(*_: object) -> None:
    raise _CancelledError


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)


def _start(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    def limit() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_FSIZE, min(_LARGEST_FILE, spec["disk_bytes"]))
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


def _wait(child: subprocess.Popen[bytes], spec: dict[str, Any]) -> str | None:
    """Wait for the executor, for its time limit, or until no task wants it any more."""
    deadline = time.monotonic() + spec["time_seconds"]
    task = sys.stdin.fileno()
    watched: list[int] = [task]
    tick = _POLL_SECONDS
    with suppress(AttributeError, OSError):  # not on every system; then we look more often
        watched.append(os.pidfd_open(child.pid))
        tick = _LOOK_SECONDS
    left_at = None
    while child.poll() is None:
        now = time.monotonic()
        if now > deadline:
            return "time-limit"
        ready, _, _ = select.select(watched, [], [], min(deadline - now, tick))
        if task in ready and not os.read(task, 4096):
            watched.remove(task)
            left_at = time.monotonic()
        if left_at is not None:
            left_at = time.monotonic() if _is_held(spec["owner"]) else left_at
            if time.monotonic() - left_at >= spec["keep_seconds"]:
                return UNWANTED if spec["keep_seconds"] else CANCELLED
        _shorten(spec["log"])
    return None


def _is_held(owner: str) -> bool:
    """Whether a task holds the job's lock."""
    try:
        handle = os.open(owner, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _shorten(path: str) -> None:
    """Keep the end of a log that grew too long; the executor goes on appending to it."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "r+b", buffering=0) as log:
            size = os.fstat(handle).st_size
            if size <= _LARGEST_LOG:
                return
            log.seek(size - _KEPT_LOG)
            end = log.read(_KEPT_LOG)
            log.truncate(0)
            log.write(b"[%d bytes of log were left out]\n" % (size - len(end)) + end)


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
