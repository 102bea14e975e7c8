"""Rounds of each project: a DAG `round__<project>` for every project of the catalog."""

from __future__ import annotations

from mir_airflow.project_rounds import project_dags

globals().update(project_dags())
