"""The process runner: an executor as a child process of the task, over the same folders.

It keeps the contract of a container run, not its walls: the executor runs as the same user, so
this runner is for the executors that come with the project and for others you trust as your own.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.executor.jobs import Job
from mir_ops.executor.monitor import Progress, check_outcome, follow_monitor
from mir_ops.executor.outputs import clear_outputs

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_FOLLOW_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 3.0
_AWAIT_OTHER_SECONDS: Final = 10.0


def run_job(
    job: Job,
    *,
    runner: Literal["process"] = "process",
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Run the job to its end, or raise `ExecutorFailedError`.

    Whatever ends this call, also the death of this process, ends the executor and its children.
    """
    if runner != "process":
        raise InvalidInputError(
            f"Runner `{runner}` is not one of: process",
            code="no-such-runner",
            hint="Containers are run by the Airflow operator",
        )
    with _owned(job) as lock:
        clear_outputs(job)
        home = job.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        try:
            exit_code, reason = _run_kept(job, home, lock, on_progress)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    check_outcome(job, exit_code, reason)


@contextmanager
def _owned(job: Job) -> Iterator[int]:
    """Hold the folder. The keeper holds it as well: the executor of a killed task is awaited."""
    handle = os.open(job.folder / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _AWAIT_OTHER_SECONDS
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"Job `{job.op_id[:12]}` is running already",
                    code="job-running",
                    hint="Wait for the other task, or end it",
                )
            time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run_kept(
    job: Job, home: Path, lock: int, on_progress: Callable[[Progress], None] | None
) -> tuple[int | None, str | None]:
    # The keeper holds our end of a pipe: when we die in any way, the pipe ends and it acts.
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_KEEPER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=job.folder,
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        start_new_session=True,
        pass_fds=(lock,),
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        keeper.stdin.write(json.dumps(_keeper_spec(job, home)).encode() + b"\n")
        keeper.stdin.flush()
        report = _follow(job, keeper.stdout, on_progress)
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()
    if not report:
        return None, "its keeper was killed"
    outcome = json.loads(report)
    return outcome["exit_code"], outcome["reason"]


def _follow(job: Job, report: IO[bytes], on_progress: Callable[[Progress], None] | None) -> bytes:
    """Pass each new progress on until the keeper reports the end."""
    seen = ""
    while True:
        ended, _, _ = select.select([report], [], [], _FOLLOW_SECONDS)
        progress = follow_monitor(job) if on_progress is not None else None
        if on_progress is not None and progress is not None and progress.timestamp != seen:
            seen = progress.timestamp
            on_progress(progress)
        if ended:
            return report.read()


def _keeper_spec(job: Job, home: Path) -> dict[str, object]:
    folder = job.image.folder
    if folder is None or not (folder / "start.py").is_file():
        raise InvalidInputError(
            f"Executor `{job.image.name}` has no `start.py` to run as a process",
            code="no-start-script",
            hint="Name the folder of the executor, or run it with the docker runner",
        )
    limits = job.limits
    return {
        "command": [sys.executable, "-s", str(folder / "start.py")],
        "directory": str(folder),
        "environment": _environment(job, home),
        "log": str(job.log_path),
        "time_seconds": limits.time_seconds,
        "grace_seconds": _GRACE_SECONDS,
        # A GPU driver reserves more address space than there is memory.
        "memory_bytes": None if limits.gpus else limits.memory_bytes,
    }


def _environment(job: Job, home: Path) -> dict[str, str]:
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
        "CUDA_VISIBLE_DEVICES": ",".join(job.limits.gpu_ids),
    }
    if job.limits.cpus is not None:
        environment["OMP_NUM_THREADS"] = str(max(1, int(job.limits.cpus)))
    return environment
