"""The benchmark of the console runs, on a small version, and reads every page that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/console.py"


@pytest.mark.long
@pytest.mark.parametrize("place", ["local", "s3"])
def test_every_page_is_asked_for_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "console-stores"  # made by the first of the two
    command = [sys.executable, str(BENCHMARK), "--json", "--images", "2000", "--times", "2"]

    done = subprocess.run(
        [*command, "--folder", str(folder), "--on", place], stdout=subprocess.PIPE, text=True
    )

    lines = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    where = {"local": "local", "s3": "S3"}[place]
    assert lines[f"20 people at once, {where}: errors"]["ok"] is True
    for name in ("first page of the grid", "a filtered page", "one image", "version page"):
        assert lines[f"{name}, {where}: ms"]["ours"] > 0
    assert lines[f"thumbnails from the cache, {where}: 1/s"]["ours"] > 0
    assert lines[f"peak memory of the server, {where}: MiB"]["ours"] > 50
