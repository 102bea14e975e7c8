"""Load our library when this is imported: in the process of Celery whose forks run tasks.

`AIRFLOW__CELERY__EXTRA_CELERY_CONFIG='{"imports": ["mir_airflow.preloaded"]}'` has a worker
import it before it forks.
"""

from __future__ import annotations

from mir_airflow.preloading import preload

preload()
