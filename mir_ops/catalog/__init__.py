"""Projects, rounds, models and label tasks, in SQLite or PostgreSQL."""

from __future__ import annotations

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.changes import apply_project, create_project, edit_project
from mir_ops.catalog.projects import ProjectSpec, RoundConf, read_project
from mir_ops.catalog.values import (
    Executor,
    ExecutorCheck,
    GateReport,
    LabelTask,
    Model,
    Package,
    Project,
    Promotion,
    Round,
    RoundStep,
)

__all__ = [
    "Catalog",
    "Executor",
    "ExecutorCheck",
    "GateReport",
    "LabelTask",
    "Model",
    "Package",
    "Project",
    "ProjectSpec",
    "Promotion",
    "Round",
    "RoundConf",
    "RoundStep",
    "apply_project",
    "create_project",
    "edit_project",
    "read_project",
]
