"""No DAG: what `project_rounds.py` could not make shows as this file's import error in Airflow."""

from __future__ import annotations

from mir_airflow.project_rounds import check_project_dags

check_project_dags()
