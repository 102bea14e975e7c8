"""One round of active learning for any project."""

from __future__ import annotations

from mir_airflow.round_dag import round_dag
from mir_airflow.round_params import PARAMS

dag = round_dag("active_learning_round", project="{{ params.project }}", params=PARAMS)
