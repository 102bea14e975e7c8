"""The process runner: an executor as a child process of a keeper, over the same folders.

It keeps the contract of a container run, not its walls: the executor runs as the same user, so
this runner is for the executors that come with the project and for others you trust as your own.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor import keeper
from mir_ops.executor.gpus import taken_gpus
from mir_ops.executor.jobs import Job
from mir_ops.executor.outputs import clear_outputs, settle_log
from mir_ops.executor.owners import owner_path
from mir_ops.executor.runs import OnLog, OnProgress, Outcome, Watch
from mir_ops.executor.usage import keep_usage

_FOLLOW_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 3.0
_MOST_LOG: Final = 1 << 20


class ProcessRun:
    """A keeper and its executor, found again by the keeper's number and when it started."""

    def __init__(self, job: Job, *, keep_seconds: float = 0.0) -> None:
        self._job = job
        self._keep_seconds = keep_seconds
        self._home = job.folder / "home"
        self._record = job.folder / "process.json"
        self._report = job.folder / "ended.json"
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._started: str | None = None

    def attach(self) -> bool:
        """A keeper that runs, or the report of one that ended: another process is not ours.

        An executor that was ended because its task had gone has no result: it is started anew.
        """
        if not (record := _read(self._record)):
            return False
        self._pid, self._started = record["pid"], record["started"]
        if not record["keep_seconds"]:
            self._wait_for_end()  # its task has gone, and so will it
        runs = self._runs()
        if report := _read(self._report):
            return report["reason"] not in (keeper.CANCELLED, keeper.UNWANTED)
        return runs

    def start(self) -> None:
        script = self._script()
        clear_outputs(self._job)
        for record in (self._record, self._report):
            record.unlink(missing_ok=True)
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(mode=0o700)
        with taken_gpus(self._job.limits) as (gpus, locks):
            # The keeper has our end of a pipe: when we die in any way, the pipe ends and it knows.
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd=self._job.folder,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                start_new_session=True,
                pass_fds=locks,
            )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(json.dumps(self._spec(script, gpus)).encode() + b"\n")
        self._keeper.stdin.flush()
        self._pid = self._keeper.pid
        self._started = keeper.started_at(self._pid)

    def follow(self, *, on_progress: OnProgress, on_log: OnLog) -> Outcome:
        watch, log = Watch(self._job, on_progress), LogFile(self._job.log_path)
        reason = None
        ended = False
        while not ended:
            ended = not self._runs_for(_FOLLOW_SECONDS)
            for chunk in log.new_chunks():
                on_log(chunk)
            if (found := watch.look()) is not None and reason is None:
                reason = found
                self._signal(signal.SIGTERM)
        self._reap()
        settle_log(self._job)
        report = _read(self._report)
        if not report:
            return Outcome(exit_code=None, reason=reason or "its keeper was killed")
        keep_usage(self._job, report["seconds"], cpu_seconds=report["cpu_seconds"])
        return Outcome(exit_code=report["exit_code"], reason=reason or report["reason"])

    def remove(self) -> None:
        self._signal(signal.SIGTERM)
        self._wait_for_end()
        if self._runs():
            self._signal(signal.SIGKILL)  # its children die with it
        self._reap()
        for record in (self._record, self._report):
            record.unlink(missing_ok=True)
        shutil.rmtree(self._home, ignore_errors=True)

    def _runs(self) -> bool:
        return self._started is not None and keeper.started_at(self._pid) == self._started

    def _runs_for(self, seconds: float) -> bool:
        """Wait so long at most; whether the keeper still runs then."""
        try:
            handle = os.pidfd_open(self._pid)
        except (AttributeError, OSError):  # not on every system, or gone
            if self._runs():
                time.sleep(seconds)
        else:
            try:
                if self._runs():
                    select.select([handle], [], [], seconds)
            finally:
                os.close(handle)
        return self._runs()

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS + 2.0
        while self._runs_for(0.05) and time.monotonic() < deadline:
            pass

    def _signal(self, number: int) -> None:
        if self._runs():
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _reap(self) -> None:
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            with suppress(BrokenPipeError):
                self._keeper.stdin.close()
            self._keeper.wait()
            self._keeper = None

    def _script(self) -> Path:
        folder = self._job.image.folder
        if folder is None or not (folder / "start.py").is_file():
            raise InvalidInputError(
                f"Executor `{self._job.image.name}` has no `start.py` to run as a process",
                code="no-start-script",
                hint="Name the folder of the executor, or run it with the docker runner",
            )
        return folder / "start.py"

    def _spec(self, script: Path, gpus: tuple[str, ...]) -> dict[str, object]:
        limits = self._job.limits
        return {
            "command": [sys.executable, "-s", str(script)],
            "directory": str(script.parent),
            "environment": _environment(self._job, self._home, gpus),
            "log": str(self._job.log_path),
            "record": str(self._record),
            "report": str(self._report),
            "owner": str(owner_path(self._job.folder.parent, self._job.op_id)),
            "keep_seconds": self._keep_seconds,
            "time_seconds": limits.time_seconds,
            "grace_seconds": _GRACE_SECONDS,
            "disk_bytes": limits.disk_bytes,
            # A GPU driver reserves more address space than there is memory.
            "memory_bytes": None if limits.gpus else limits.memory_bytes,
        }


class LogFile:
    """A log that somebody else writes, read on from where we were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def new_chunks(self) -> Iterator[bytes]:
        """What came since, but no link and no more at once than a person would read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return
        with os.fdopen(descriptor, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = self.position if self.position <= size else 0  # it was shortened
            file.seek(max(start, size - _MOST_LOG))
            if chunk := file.read(_MOST_LOG):
                yield chunk
            self.position = file.tell()


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreError(f"Record `{path}` is not JSON: {error}", code="bad-record") from None
    return content


def _environment(job: Job, home: Path, gpus: tuple[str, ...]) -> dict[str, str]:
    """All that the executor sees of our environment: no credentials, no settings."""
    assert job.image.folder is not None
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "MIR_IN": str(job.inputs),
        "MIR_OUT": str(job.outputs),
        "PYTHONPATH": str(job.image.folder.parent / "sdk"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
    }
    if job.limits.cpus is not None:
        environment["OMP_NUM_THREADS"] = str(max(1, int(job.limits.cpus)))
    return environment
