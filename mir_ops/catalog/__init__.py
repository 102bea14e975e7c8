"""Projects, rounds, models and label tasks, in SQLite or PostgreSQL."""

from __future__ import annotations

from mir_ops.catalog.catalog import Catalog, apply_project
from mir_ops.catalog.projects import ProjectSpec, RoundConf, read_project
from mir_ops.catalog.values import GateReport, LabelTask, Model, Project, Round, RoundStep

__all__ = [
    "Catalog",
    "GateReport",
    "LabelTask",
    "Model",
    "Project",
    "ProjectSpec",
    "Round",
    "RoundConf",
    "RoundStep",
    "apply_project",
    "read_project",
]
