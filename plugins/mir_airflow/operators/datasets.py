"""Work on datasets outside a round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from mir_airflow.hooks.mir import MirHook
from mir_airflow.places import explained
from mir_airflow.retries import MIR_RETRIES

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy


class ImportDatasetOperator(BaseOperator):
    """
    Import a folder or an archive into a branch; what was not taken is listed in the log.

    The XCom has the commit and the counts. The same bytes into the same branch are the same
    commit, whichever run imports them.

    :param source: Folder or archive in the connection's sharing folder, or the archive at a
        ``https://`` or ``s3://`` URL. (templated)
    :param branch: Branch to commit to. (templated)
    :param annotations: ``auto``, ``voc``, ``coco``, ``yolo``, or ``none`` to take the images
        alone. (templated)
    :param unknown_classes: ``stop``, ``ignore`` or ``add``. (templated)
    :param split: ``train``, ``val`` or ``test``; empty leaves it open. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = (
        "source",
        "branch",
        "annotations",
        "unknown_classes",
        "split",
    )

    def __init__(
        self,
        *,
        source: str,
        branch: str,
        annotations: str = "auto",
        unknown_classes: str = "stop",
        split: str = "",
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.source = source
        self.branch = branch
        self.annotations = annotations
        self.unknown_classes = unknown_classes
        self.split = split
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.dataset import import_dataset
        from mir_ops.dataset.sharing import open_shared
        from mir_ops.store import operation_id

        with explained(self.log):
            workspace = MirHook(self.mir_conn_id).workspace()
            options: dict[str, Any] = {
                "annotations": self.annotations,
                "unknown_classes": self.unknown_classes,
                "split": self.split or None,
            }
            with open_shared(self.source, workspace) as files:
                inputs = {"branch": self.branch, "source": files.digest(), **options}
                result = import_dataset(
                    workspace.store,
                    files,
                    self.branch,
                    op_id=operation_id(f"{workspace.deployment}/import", inputs),
                    run=context["run_id"],
                    **options,
                )
        for line in result.report.lines():
            self.log.info("%s", line)
        self.log.info("Imported into %s: commit %s", self.branch, result.commit.id)
        return {"commit": result.commit.id, "report": result.report.to_dict()}
