"""Where a step runs, and the names that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A task of a DAG run. The number of the try is no part of it: a retry is the same place."""

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        parts = (self.deployment, self.dag_id, self.run_id, self.task_id, str(self.map_index))
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)

    def op_id(self, inputs: Mapping[str, Any]) -> str:
        """The operation that this place does with these inputs: the same for every try."""
        from mir_ops.store import operation_id

        return operation_id(str(self), inputs)

    def labels(self) -> dict[str, str]:
        """What a container carries, so that a later try finds it."""
        return {
            "mir.deployment": self.deployment,
            "mir.dag": self.dag_id,
            "mir.run": self.run_id,
            "mir.task": self.task_id,
            "mir.map-index": str(self.map_index),
        }


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of one project, by its key."""

    project: str

    def imported(self, role: str) -> str:
        """Raw imports: `training`, `validation` or `pool`, as they came."""
        return f"{self.project}/import/{role}"

    @property
    def training(self) -> str:
        return f"{self.project}/training"

    @property
    def evaluation(self) -> str:
        return f"{self.project}/evaluation"

    @property
    def pool(self) -> str:
        """What rounds mine in, where the project filters or samples its pool."""
        return f"{self.project}/pool"

    @property
    def mining(self) -> str:
        return f"{self.project}/mining"

    @property
    def mined(self) -> str:
        return f"{self.project}/mined"

    @property
    def labels(self) -> str:
        return f"{self.project}/labels"
