"""What rounds tell Airflow's metrics, by the channel that `[metrics]` in its settings names.

Names and tags are promises to the dashboards of others: `METRICS` is all of them, and the table in
docs/metrics.md. Where no channel is set nothing is worked out, asked or sent.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from mir_ops.labeling import LabelProgress
    from mir_ops.workspace import Workspace

NO_PROJECT: Final = "none"  # of a step on its own, into a branch that is no project's


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A name, and the tags that each of its values has. Timers are in seconds for who asks."""

    name: str
    kind: Literal["counter", "gauge", "timer"]
    tags: tuple[str, ...]
    says: str


ROUNDS_OPENED: Final = Metric(
    name="mir.rounds.opened",
    kind="counter",
    tags=("project",),
    says="rounds that began; one that is taken up again counts once",
)
ROUNDS_CLOSED: Final = Metric(
    name="mir.rounds.closed",
    kind="counter",
    tags=("project",),
    says="rounds that came to their end",
)
ROUNDS_FAILED: Final = Metric(
    name="mir.rounds.failed",
    kind="counter",
    tags=("project",),
    says="times that a round was given up; it may still be taken up again",
)
ROUND_MAP50: Final = Metric(
    name="mir.round.map50",
    kind="gauge",
    tags=("project",),
    says="mAP@0.5 of the newest model of the round that closed last, 0 to 1",
)
IMPORT_IMAGES: Final = Metric(
    name="mir.import.images",
    kind="counter",
    tags=("project",),
    says="images that imports took; what was imported before counts not again",
)
IMPORT_SECONDS: Final = Metric(
    name="mir.import.seconds",
    kind="timer",
    tags=("project",),
    says="how long these imports took: images by it are images per second",
)
COMMIT_SECONDS: Final = Metric(
    name="mir.commit.seconds",
    kind="timer",
    tags=("project", "step"),
    says="from what a step reads to the dataset version that it commits; of a step with an "
    "executor, from the end of that",
)
EXECUTOR_SECONDS: Final = Metric(
    name="mir.executor.seconds",
    kind="timer",
    tags=("project", "step"),
    says="how long an executor ran",
)
LABELS_WAITING: Final = Metric(
    name="mir.labels.waiting",
    kind="gauge",
    tags=("project",),
    says="images of the open round that people have yet to label; 0 once it goes on",
)
LABELS_AGE: Final = Metric(
    name="mir.labels.age_seconds",
    kind="gauge",
    tags=("project",),
    says="how long ago people were asked for them; 0 when nobody is waited for",
)
WORK_DIR_USED: Final = Metric(
    name="mir.work_dir.used",
    kind="gauge",
    tags=("host",),
    says="how full the disk of a worker's work folder is, 0 to 1",
)
METRICS: Final = (
    *(ROUNDS_OPENED, ROUNDS_CLOSED, ROUNDS_FAILED, ROUND_MAP50),
    *(IMPORT_IMAGES, IMPORT_SECONDS, COMMIT_SECONDS, EXECUTOR_SECONDS),
    *(LABELS_WAITING, LABELS_AGE, WORK_DIR_USED),
)


@cache
def is_on() -> bool:
    """Whether this deployment sends metrics.

    Airflow readies its channel in processes of tasks, but not in those of triggers and callbacks.
    """
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    settings = ("statsd_on", "statsd_datadog_enabled", "otel_on")
    if not any(conf.getboolean("metrics", name, fallback=False) for name in settings):
        return False
    stats.initialize(
        factory=get_stats_factory(),
        export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
    )
    return True


def send(metric: Metric, value: float, **tags: str) -> None:
    """Send one value; seconds of a timer."""
    from airflow.sdk.observability import stats

    if not is_on():
        return
    said = {name: stats.normalize_name_for_stats(tags[name], False) for name in metric.tags}
    if metric.kind == "counter":
        stats.incr(metric.name, int(value), tags=said)
    elif metric.kind == "gauge":
        stats.gauge(metric.name, value, tags=said)
    else:
        stats.timing(metric.name, timedelta(seconds=value), tags=said)


def send_opened(workspace: Workspace, round_id: int) -> None:
    if is_on():
        send(ROUNDS_OPENED, 1, project=project_of(workspace, round_id))


def send_closed(project: str, metrics: Mapping[str, Any]) -> None:
    send(ROUNDS_CLOSED, 1, project=project)
    send(ROUND_MAP50, float(metrics["map50"]), project=project)


def send_failed(project: str) -> None:
    send(ROUNDS_FAILED, 1, project=project)
    send_labels(project, None)


def send_import(
    workspace: Workspace, project: str, images: Iterable[tuple[str, int]], since: datetime
) -> None:
    """Count the images of each commit, if it was made since then."""
    if is_on() and (count := sum(n for commit, n in images if _is_new(workspace, commit, since))):
        send(IMPORT_IMAGES, count, project=project)
        send(IMPORT_SECONDS, _seconds(since), project=project)


def send_commit(
    workspace: Workspace, project: str, step: str, commit: str | None, since: datetime
) -> None:
    if is_on() and commit is not None and _is_new(workspace, commit, since):
        send(COMMIT_SECONDS, _seconds(since), project=project, step=step)


def send_executor(project: str, step: str, usage: Mapping[str, Any] | None) -> None:
    if usage is not None:
        send(EXECUTOR_SECONDS, usage["seconds"], project=project, step=step)


def send_labels(
    project: str, progress: LabelProgress | None, since: datetime | None = None
) -> None:
    """How far people are whom somebody waits for; None: nobody does."""
    waiting = progress.total - progress.done - progress.skipped if progress else 0
    send(LABELS_WAITING, waiting, project=project)
    send(LABELS_AGE, _seconds(since) if waiting and since else 0.0, project=project)


def send_work_dir(workspace: Workspace) -> None:
    if is_on() and workspace.work_dir.is_dir():
        used = shutil.disk_usage(workspace.work_dir)
        send(WORK_DIR_USED, round(1 - used.free / used.total, 4), host=socket.gethostname())


def project_of(workspace: Workspace, round_id: int) -> str:
    """The project's key, which it keeps under every name."""
    return workspace.catalog.rounds.get(round_id).project_key


def _is_new(workspace: Workspace, commit: str, since: datetime) -> bool:
    return workspace.store.commit(commit).created_at >= since


def _seconds(since: datetime) -> float:
    return (datetime.now(UTC) - since).total_seconds()
