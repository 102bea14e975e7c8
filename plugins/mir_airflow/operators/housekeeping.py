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

    from mir_ops.upkeep.cleaning import Rules
    from mir_ops.upkeep.housekeeping import Cleaned


class CleanOperator(BaseOperator):
    """
    Remove the kept jobs of failed steps, files of killed processes, old task logs and the images
    of label tasks that were closed long ago.

    Looks at the host of the worker that it runs on. What a running task, a container or an open
    round may want stays. The XCom is how many things and bytes were removed. A part that cannot be
    done fails the task once the others are done.

    :param job_days: For how many days the job of a failed step is kept. (templated)
    :param log_days: For how many days the logs of a run are kept. (templated)
    :param label_days: For how many days images stay in the work folder's ``labels``. (templated)
    :param images: Also remove old builds of executors from the engine. (templated)
    :param dry_run_only: Only log what would be removed. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields = ("job_days", "log_days", "label_days", "images", "dry_run_only")

    def __init__(
        self,
        *,
        job_days: float | str,
        log_days: float | str,
        label_days: float | str,
        images: bool | str = False,
        dry_run_only: bool | str = False,
        mir_conn_id: str = MirHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_days = job_days
        self.log_days = log_days
        self.label_days = label_days
        self.images = images
        self.dry_run_only = dry_run_only
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002
        from mir_ops.errors import MirError
        from mir_ops.upkeep.housekeeping import clean

        dry_run = str(self.dry_run_only) == "True"
        logs = Path(conf.get("logging", "base_log_folder"))
        with explained(self.log):
            done = clean(
                MirHook(self.mir_conn_id).workspace(),
                rules=self._rules(),
                logs_dir=logs if logs.is_absolute() else None,
                images=str(self.images) == "True",
                dry_run=dry_run,
            )
            self._tell(done, said="Would remove" if dry_run else "Removed")
            if done.failed:
                raise MirError(
                    f"Not all could be cleaned: {'; '.join(done.failed)}",
                    code="not-cleaned",
                    hint="What could be removed is; mend the cause, and clear this task",
                )
        return {"removed": len(done.removed), "bytes": done.byte_size}

    def _rules(self) -> Rules:
        from mir_ops.upkeep.cleaning import Rules

        return Rules(
            job_days=float(self.job_days),
            log_days=float(self.log_days),
            label_days=float(self.label_days),
        )

    def _tell(self, done: Cleaned, *, said: str) -> None:
        for one in done.removed:
            self.log.info("%s %s %s, %d bytes", said, one.kind, one.path, one.byte_size)
        for one in done.kept:
            self.log.warning("%s is in use now, or cannot be removed", one.path)
        for note in done.notes:
            self.log.warning("%s", note)


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
