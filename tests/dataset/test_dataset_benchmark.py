"""The benchmark of the dataset commands runs, and its results are those of plain pyarrow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/datasets.py"


@pytest.mark.long
def test_the_large_rows_are_measured_and_checked(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--json", "--only", "large", "--large", "20000"]

    done = subprocess.run([*command, "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True)

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["name"] for line in lines} >= {
        "merge + a fifth at 20000",
        "filter two classes at 20000",
        "sampling 10 % at 20000",
        "stats at 20000: MiB",
    }
    assert all(line["ours"] > 0 for line in lines)
