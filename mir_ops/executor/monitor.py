"""Following a job: what the executor says about itself in `monitor.txt`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from mir_ops.executor.failures import ExecutorFailedError, ExecutorOutputError, hint_for
from mir_ops.executor.files import printable, read_bounded, read_tail
from mir_ops.executor.jobs import Job

State = Literal["pending", "running", "done", "failed"]

_STATES: Final[dict[str, State]] = {"1": "pending", "2": "running", "3": "done", "4": "failed"}
_LIMIT: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One record of the monitor file. A new `timestamp` means that it was written again."""

    percent: float  # 0 to 100
    state: State
    message: str = ""
    executor_code: int | None = None
    timestamp: str = ""
    details: tuple[str, ...] = ()


def follow_monitor(job: Job) -> Progress | None:
    """The latest progress, or None while there is none or it is being written."""
    try:
        content = read_bounded(job.monitor_path, limit=_LIMIT, root=job.outputs)
    except ExecutorOutputError:
        return None
    return None if content is None else parse_monitor(content.decode("utf-8", errors="replace"))


def parse_monitor(text: str) -> Progress | None:
    """Read `task, timestamp, percent, state[, code[, message]]`; None for anything else."""
    first, *rest = text.split("\n")
    columns = first.split("\t")
    if len(columns) < 4 or columns[3].strip() not in _STATES:
        return None
    try:
        percent = float(columns[2])
    except ValueError:
        return None
    if not math.isfinite(percent):
        return None
    return Progress(
        percent=100.0 * min(max(percent, 0.0), 1.0),
        state=_STATES[columns[3].strip()],
        message=printable(columns[5]) if len(columns) > 5 else "",
        executor_code=_parse_code(columns[4]) if len(columns) > 4 else None,
        timestamp=printable(columns[1], limit=40),
        details=tuple(printable(line) for line in rest if line.strip())[:99],
    )


def check_outcome(job: Job, exit_code: int | None, reason: str | None) -> None:
    """Raise unless the executor ended well; `reason` says why the host ended it, if it did."""
    progress = follow_monitor(job)
    reported = progress is not None and progress.state == "failed"
    if exit_code == 0 and reason is None and not reported:
        return
    executor_code = progress.executor_code if progress is not None else None
    what = f"Executor `{job.image.name}` {_what_happened(exit_code, reason)}"
    if executor_code:
        what += f", code {executor_code}"
    if progress is not None and progress.message:
        what += f": {progress.message}"
    tail = read_tail(job.log_path)
    if tail:
        what += "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in tail)
    raise ExecutorFailedError(
        what,
        code="executor-timed-out" if reason == "time-limit" else "executor-failed",
        hint=hint_for(executor_code) or _hint_for_reason(reason),
        executor_code=executor_code or None,
    )


def _what_happened(exit_code: int | None, reason: str | None) -> str:
    if reason == "time-limit":
        return "reached its time limit and was ended"
    if reason is not None:
        return f"was ended: {printable(reason)}"
    if exit_code is None:
        return "vanished"
    if exit_code == 0:
        return "reported an error"
    if exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"exited with {exit_code}"


def _hint_for_reason(reason: str | None) -> str:
    if reason == "time-limit":
        return "Raise the time limit of the job, or give it less to do"
    return "Read the whole log of the executor in the task's log"


def _parse_code(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else None
