"""CI names the parts that it must test; a skip of one of them is a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(
    folder: Path, program: str, required: str, *options: str
) -> subprocess.CompletedProcess[str]:
    for name in ("conftest.py", "results_file.py"):
        (folder / name).write_text((ROOT / "tests" / name).read_text())
    (folder / "test_parts.py").write_text(program)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
         "--rootdir", str(folder), *options, str(folder)],
        env={**os.environ, "MIR_REQUIRE": required},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


SKIPS = """
import pytest

@pytest.mark.docker
def test_containers():
    pytest.skip("no engine")

@pytest.mark.s3
def test_buckets():
    pass
"""


SELF_SKIPPED = """
import pytest
pytest.importorskip("no_such_package")
"""


@pytest.mark.parametrize(
    ("required", "code"), [("", 0), ("s3", 0), ("docker", 1), ("s3,browser", 1)]
)
def test_a_skipped_part_fails_only_where_it_is_required(
    tmp_path: Path, required: str, code: int
) -> None:
    done = run(tmp_path, SKIPS, required)

    assert done.returncode == code
    assert "no engine" in done.stdout
    named = "MIR_REQUIRE: no test of `docker` passed" in done.stdout
    assert named == (required == "docker")


def test_a_file_that_skips_itself_fails(tmp_path: Path) -> None:
    done = run(tmp_path, SELF_SKIPPED, "s3")

    assert done.returncode == 1
    assert "test_parts.py was skipped as a whole" in done.stdout


def test_two_workers_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text(SKIPS)
    results = tmp_path / "results.jsonl"

    done = run(tmp_path, SELF_SKIPPED, "s3,docker", "-n", "2", "--results", str(results))

    assert done.returncode == 1
    assert done.stdout.count("test_parts.py was skipped as a whole") == 1
    assert "MIR_REQUIRE: no test of `docker` passed" in done.stdout
    assert "MIR_REQUIRE: no test of `s3` passed" not in done.stdout
    told = [json.loads(line)["test"] for line in results.read_text().splitlines()]
    assert sorted(told) == ["test_more.py::test_buckets", "test_more.py::test_containers"]
