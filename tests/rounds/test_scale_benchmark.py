"""The benchmark of large pools runs, on a small one, through every stage that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import celery_airflow
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/scale.py"
STAGES = (
    "import", "gate of the data", "prepare the pool", "plan the shards", "shards", "score and pick",
    "import the labels", "merge the labels", "close",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_stage_of_a_sharded_round_is_measured_on_workers_of_celery() -> None:
    if missing := celery_airflow.missing_parts():
        pytest.skip(f"Not installed here: {', '.join(missing)}")
    command = [sys.executable, str(BENCHMARK), "--json", "--server", "moto"]

    done = subprocess.run(
        [*command, "--images", "300", "600", "--shard", "200"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    lines = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    for stage in STAGES:
        for what in ("seconds", "CPU seconds", "peak MiB of a task"):
            assert lines[f"600 images, {stage}: {what}"]["ours"] > 0
    both = lines["600 images, shards: seconds, two workers against one"]
    assert both["ours"] > 0
    assert both["other"] > 0
    for name in (
        "shards: MiB that a task took at 600 against 300 images",
        "600 images, shards: MiB that a task took, late against early",
    ):
        assert lines[name]["bar"]
        assert lines[name]["other"] > 0
