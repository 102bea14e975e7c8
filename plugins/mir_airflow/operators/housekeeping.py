"""Keeps a host clean, and lets the store know what was changed outside of rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from mir_airflow.hooks.mir import MirHook
from mir_airflow.places import explained

if TYPE_CHECKING:
    from airflow.sdk import Context


class CleanOperator(BaseOperator):
    """
    Remove the kept jobs of failed steps, files of killed processes and old task logs.

    Looks at the host of the worker that it runs on. What a running task, a container or an open
    round may want stays. The XCom is how many things and bytes were removed.

    :param job_days: For how many days the job of a failed step is kept. (templated)
    :param log_days: For how many days the logs of a run are kept. (templated)
    :param dry_run_only: Only log what would be removed. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields = ("job_days", "log_days", "dry_run_only")

    def __init__(
        self,
        *,
        job_days: float | str,
        log_days: float | str,
        dry_run_only: bool | str = False,
        mir_conn_id: str = MirHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_days = job_days
        self.log_days = log_days
        self.dry_run_only = dry_run_only
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002
        from mir_ops.upkeep.cleaning import Rules
        from mir_ops.upkeep.housekeeping import clean

        dry_run = str(self.dry_run_only) == "True"
        logs = Path(conf.get("logging", "base_log_folder"))
        with explained(self.log):
            done = clean(
                MirHook(self.mir_conn_id).workspace(),
                rules=Rules(job_days=float(self.job_days), log_days=float(self.log_days)),
                logs_dir=logs if logs.is_absolute() else None,
                dry_run=dry_run,
            )
        for one in done.removed:
            said = "Would remove" if dry_run else "Removed"
            self.log.info("%s %s %s, %d bytes", said, one.kind, one.path, one.byte_size)
        for one in done.kept:
            self.log.warning("%s is in use now, or cannot be removed", one.path)
        for note in done.notes:
            self.log.warning("%s", note)
        return {"removed": len(done.removed), "bytes": done.byte_size}


class KeepCatalogOperator(BaseOperator):
    """
    Let the store keep what the catalog knows: a lost catalog is made again from it.

    The XCom is the number of pages that were missing or old.

    :param mir_conn_id: Connection to the workspace.
    """

    def __init__(self, *, mir_conn_id: str = MirHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> int:  # noqa: ARG002
        from mir_ops.catalog.pages import keep_all

        workspace = MirHook(self.mir_conn_id).workspace()
        with explained(self.log):
            written = keep_all(workspace.catalog, workspace.store, workspace.deployment)
        self.log.info("Wrote %d pages", written)
        return written
