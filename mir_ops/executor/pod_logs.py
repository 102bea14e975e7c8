"""The log of a pod, kept beside the job while it is passed on: it goes when its pod goes."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mir_ops.errors import StoreError
from mir_ops.executor.outputs import settle_log

if TYPE_CHECKING:
    from mir_ops.executor.cluster import Cluster
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.runs import OnLog

_STAMP: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) (.*)", re.DOTALL
)
_LARGEST: Final = 64 << 20
_REPLAYED: Final = 60 * 10**9


class PodLog:
    """Lines in their order, each once, however often the connection breaks."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._path = job.folder / "pod.log"
        self._last = 0  # when the newest line was written, in nanoseconds
        self._told_from = 0
        self._size = 0

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def resume(self) -> None:
        """Keep all of it once more, and pass on what is new: another try has passed on the rest."""
        self.clear()
        self._told_from = time.time_ns() - _REPLAYED

    def pass_on(self, cluster: Cluster, name: str, on_log: OnLog) -> bool:
        """What came since; whether that was all there is."""
        try:
            self._pass_on(cluster, name, on_log)
        except StoreError:
            return False
        return True

    def _pass_on(self, cluster: Cluster, name: str, on_log: OnLog) -> None:
        known = self._last
        for line in cluster.log_lines(name, since=_to_stamp(known) if known else None):
            written, text = _read(line)
            if written is not None:
                if written <= known:  # the cluster gives whole seconds again
                    continue
                self._last, known = written, 0
            self._keep(text)
            if self._last >= self._told_from:
                on_log(text + b"\n")

    def settle(self) -> None:
        """The log belongs to what is collected; an image may have written it itself."""
        if self._path.is_file() and not settle_log(self._job):
            os.replace(self._path, self._job.log_path)

    def _keep(self, text: bytes) -> None:
        self._size += len(text) + 1
        if self._size <= _LARGEST:
            with self._path.open("ab") as file:
                file.write(text + b"\n")


def _read(line: bytes) -> tuple[int | None, bytes]:
    """When a line was written, and the line; None for the rest of one that was too long."""
    if (found := _STAMP.fullmatch(line)) is None:
        return None, line
    moment = datetime.fromisoformat((found[1] + found[3]).decode())
    return int(moment.timestamp()) * 10**9 + int((found[2] or b"").ljust(9, b"0")), found[4]


def _to_stamp(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
