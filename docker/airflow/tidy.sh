#!/bin/sh
# Empties what only grows in Airflow's database, past so many days: sh tidy.sh [DAYS]
# Runs of rounds stay, and what their tasks told each other: one that waits for people may be old.
set -eu
before=$(python -c 'import sys; from datetime import *
print((datetime.now(UTC) - timedelta(days=float(sys.argv[1]))).isoformat())' "${1:-180}")

clean() {
  airflow db clean --clean-before-timestamp "$before" --skip-archive --yes "$@"
}
# It warns of `deadline`, which belongs to runs and knows no DAG: ours have none there.
clean --tables dag_run --dag-ids executor_reaper,housekeeping
clean --tables log,job,task_instance_history,celery_taskmeta,celery_tasksetmeta \
  --error-on-cleanup-failure
