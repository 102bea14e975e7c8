"""`make install` touches only what it made, and is instant the second time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "scripts/install.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def install(checkout: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", checkout / "scripts/install.sh"],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def write_stamp(checkout: Path, place: Path) -> None:
    (checkout / ".venv").mkdir(exist_ok=True)
    command = "cat pyproject.toml constraints.txt | cksum"
    wanted = subprocess.check_output(["bash", "-c", command], cwd=checkout, text=True).strip()
    (checkout / ".venv" / ".installed").write_text(f"{place} .venv {wanted}\n")


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Path) -> None:
    write_stamp(checkout, checkout)

    began = time.monotonic()
    done = install(checkout)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - began < 5


def test_an_environment_of_somebody_else_is_never_removed(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()

    done = install(checkout)

    assert done.returncode == 1
    assert "error: .venv was not made by `make install`" in done.stderr
    assert (checkout / ".venv" / "mine").exists()


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    done = install(checkout, PYTHON="/bin/false")

    assert done.returncode == 1
    assert "error: no Python 3.11, 3.12 or 3.13 found" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_that_was_moved_is_made_anew(checkout: Path) -> None:
    write_stamp(checkout, checkout / "elsewhere")
    (checkout / ".venv" / "old").touch()

    # An index that nobody answers at: the script gets as far as pip.
    done = install(checkout, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0",
                   PIP_CONFIG_FILE=os.devnull, HOME=str(checkout))  # fmt: skip

    assert done.returncode != 0
    assert "Removing .venv, which was made in another place" in done.stderr
    assert not (checkout / ".venv" / "old").exists()
    assert "unfinished" in (checkout / ".venv" / ".installed").read_text()
