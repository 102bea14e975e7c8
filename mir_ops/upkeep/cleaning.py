"""What piles up on a host: kept jobs of failed steps, files of killed processes, old task logs,
images that were labelled.

Only names that this library gives are looked at, links are never followed, and nothing outside of
the given folders is touched. What a running task, a container or an open round may want stays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.executor.keeper import started_at
from mir_ops.executor.owners import is_owned, owner_path, owning

Kind = Literal["job", "lock", "temporary", "log", "labelled"]

DAY: Final = 24 * 3600.0

_JOB: Final = re.compile(r"(?P<op>[0-9a-f]{32})(-picture)?")
_LOCK: Final = re.compile(r"(?P<op>[0-9a-f]{32})\.lock")
_TEMPORARY: Final = re.compile(r"(model|copy|pictures)-[a-z0-9_]{8}")
_RUN: Final = re.compile(r"run_id=.+")
_DAG: Final = re.compile(r"dag_id=.+")
_LABEL_TASK: Final = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}")
_LABEL_PARTIAL: Final = re.compile(r"\.[a-z0-9][a-z0-9-]*-[0-9a-f]{12}\.\d+\.partial")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")  # of the logs that tell how DAG files were read


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """For how many days after their last change things are kept. Temporary files of processes
    that were killed have a term of their own: nothing works on one for so long."""

    job_days: float = 14.0
    log_days: float = 180.0
    label_days: float = 90.0
    image_days: float = 30.0
    temporary_days: float = 2.0

    def __post_init__(self) -> None:
        for name in ("job_days", "log_days", "label_days", "image_days", "temporary_days"):
            if getattr(self, name) < 1:
                raise InvalidInputError(
                    f"`{name}` is {getattr(self, name):g}: what is a day old may be in use",
                    code="invalid-parameter",
                    hint="Keep things for a day at least",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What must stay: operations (the first 32 digits of their ids) and runs of open rounds."""

    operations: Collection[str] = ()
    runs: Collection[tuple[str, str]] = ()  # DAG and run


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Something to be removed: a folder with all in it, or a file."""

    kind: Kind
    path: Path
    byte_size: int
    age: float  # seconds since anything in it was changed


def find_jobs(
    work_dir: Path, *, wanted: Wanted, rules: Rules, now: float | None = None
) -> Iterator[Stale]:
    """Jobs and their locks, and what killed processes left, that are past their term and that
    nobody wants."""
    now = time.time() if now is None else now
    yield from _jobs(work_dir / "jobs", wanted, rules, now)
    for folder in (work_dir, work_dir / "jobs"):
        for entry in _children(folder):
            if _TEMPORARY.fullmatch(entry.name) and _is_folder(entry):
                yield from _stale("temporary", Path(entry), rules.temporary_days, now)


def find_logs(
    logs_dir: Path, *, wanted: Wanted, rules: Rules, now: float | None = None
) -> Iterator[Stale]:
    """Logs of Airflow's tasks, and of how DAG files were read, that are past their term."""
    now = time.time() if now is None else now
    yield from _logs(logs_dir, wanted, rules, now)
    yield from _parse_logs(logs_dir, rules, now)


def find_labelled(labels_dir: Path, *, rules: Rules, now: float | None = None) -> Iterator[Stale]:
    """The images in tasks of the label folder that are closed since long. What people put there
    stays, and what they were asked."""
    now = time.time() if now is None else now
    for entry in _children(labels_dir):
        task = Path(entry)
        if _LABEL_PARTIAL.fullmatch(entry.name) and _is_folder(entry):
            yield from _stale("temporary", task, rules.temporary_days, now)
        elif _LABEL_TASK.fullmatch(entry.name) and _is_folder(entry):
            images = task / "images"
            if (
                images.is_dir()
                and not images.is_symlink()
                and _closed_for(task, now) > (rules.label_days * DAY)
            ):
                yield from _stale("labelled", images, rules.label_days, now)


def remove(stale: Stale, jobs_dir: Path) -> bool:
    """Remove it, if it is still nobody's; True: it is gone."""
    if stale.kind in ("job", "lock"):
        op_id = stale.path.name[:32]
        try:
            with owning(jobs_dir, op_id, wait_seconds=0.0):
                if stale.kind == "job":
                    return not _runs(stale.path) and _remove(stale.path)
        except ConflictError:
            return False  # a task took it up meanwhile
        return True  # whoever owned a lock removes it
    return _remove(stale.path)


def _jobs(jobs_dir: Path, wanted: Wanted, rules: Rules, now: float) -> Iterator[Stale]:
    for entry in _children(jobs_dir):
        found = _JOB.fullmatch(entry.name) or _LOCK.fullmatch(entry.name)
        if found is None or found["op"] in wanted.operations:
            continue
        if is_owned(owner_path(jobs_dir, found["op"])):
            continue
        if found.re is _JOB and _is_folder(entry):
            if not _runs(Path(entry)):
                yield from _stale("job", Path(entry), rules.job_days, now)
        elif found.re is _LOCK and entry.is_file(follow_symlinks=False):
            yield from _stale("lock", Path(entry), rules.job_days, now)


def _logs(logs_dir: Path, wanted: Wanted, rules: Rules, now: float) -> Iterator[Stale]:
    """One folder for each run, as Airflow's default template has it."""
    kept = {(_as_logged(dag), _as_logged(run)) for dag, run in wanted.runs}
    kept |= {*wanted.runs}
    for dag in _children(logs_dir):
        if not (_DAG.fullmatch(dag.name) and _is_folder(dag)):
            continue
        for run in _children(Path(dag)):
            name = (dag.name.partition("=")[2], run.name.partition("=")[2])
            if _RUN.fullmatch(run.name) and _is_folder(run) and name not in kept:
                yield from _stale("log", Path(run), rules.log_days, now)


def _parse_logs(logs_dir: Path, rules: Rules, now: float) -> Iterator[Stale]:
    for day in _children(logs_dir / "dag_processor"):
        if _DATE.fullmatch(day.name) and _is_folder(day):
            yield from _stale("log", Path(day), rules.log_days, now)


def _closed_for(task: Path, now: float) -> float:
    """For how many seconds a label task of ours has been closed; 0: it is open, or is none."""
    try:
        known = stat.S_ISREG(os.lstat(task / "request.json").st_mode)
        return now - os.lstat(task / "closed").st_mtime if known else 0.0
    except FileNotFoundError:
        return 0.0


def _as_logged(name: str) -> str:
    return quote(name, safe="")


def _stale(kind: Kind, path: Path, days: float, now: float) -> Iterator[Stale]:
    newest, size = _newest(path)
    if now - newest > days * DAY:
        yield Stale(kind=kind, path=path, byte_size=size, age=now - newest)


def _newest(path: Path) -> tuple[float, int]:
    """When anything in it was changed last, and how many bytes it has. Links are not followed."""
    newest, size = 0.0, 0
    for directory, folders, names in os.walk(path):
        for name in (*folders, *names):
            with suppress(FileNotFoundError):
                status = os.stat(os.path.join(directory, name), follow_symlinks=False)
                newest = max(newest, status.st_mtime)
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    with suppress(FileNotFoundError):
        own = os.stat(path, follow_symlinks=False)
        newest = max(newest, own.st_mtime)
        size += own.st_size if stat.S_ISREG(own.st_mode) else 0
    return newest, size


def _runs(job: Path) -> bool:
    """Whether an executor that is a child process works in this folder; unreadable: it may."""
    try:
        record = json.loads((job / "process.json").read_bytes())
        return bool(started_at(int(record["pid"])) == record["started"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError, KeyError):
        return True


def _children(folder: Path) -> list[os.DirEntry[str]]:
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _remove(path: Path) -> bool:
    """The folder as it is now: where a link took its place, the link stays, and what it names."""
    assert shutil.rmtree.avoids_symlink_attacks
    failed: list[str] = []
    note: Callable[..., None] = lambda *found: failed.append(str(found[1]))  # noqa: E731
    shutil.rmtree(path, onerror=note)
    return not failed
