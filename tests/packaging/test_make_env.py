"""`make env`: a `.env` with secrets of its own, which the check of placeholders accepts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make_env(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["bash", ROOT / "scripts" / "make-env.sh", folder / ".env"],
        env={**clean, "YMIR_PATH": str(folder / "work"), **given}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def settings(folder: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in (folder / ".env").read_text().splitlines()]
    return {name: value for name, _, value in lines if re.fullmatch("[A-Z0-9_]+", name)}


def test_nothing_is_left_to_fill_in(tmp_path: Path) -> None:
    done = make_env(tmp_path, FIRST_ADMIN="ann@example.org")

    assert done.returncode == 0, done.stderr
    made = settings(tmp_path)
    assert [name for name, value in made.items() if "set_your_" in value] == []
    assert made["FIRST_ADMIN"] == "ann@example.org"
    assert made["YMIR_PATH"] == str(tmp_path / "work")
    assert re.fullmatch("[0-9a-f]{40}", made["LABEL_TOOL_TOKEN"])
    check = ["sh", ROOT / "docker" / "check-env.sh", tmp_path / ".env"]
    assert subprocess.run(check, check=False).returncode == 0


def test_each_secret_is_its_own_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    made = []
    for name in ("one", "two"):
        make_env(tmp_path / name)
        found = settings(tmp_path / name)
        made += [v for k, v in found.items() if re.search("SECRET|PASSWORD|TOKEN|_KEY$", k)]

    assert len(made) >= 2 * 10
    assert len(set(made)) == len(made)
    assert all(len(value) >= 20 for value in made)
    assert (tmp_path / "one" / ".env").stat().st_mode & 0o077 == 0
    assert not any(value in make_env(tmp_path / "one").stdout for value in made)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")

    done = make_env(tmp_path)

    assert (done.returncode, (tmp_path / ".env").read_text()) == (0, "MINE=1\n")
    assert "stays as it is" in done.stdout


def test_tasks_run_as_whoever_owns_the_work_folder_and_never_as_root(tmp_path: Path) -> None:
    make_env(tmp_path)

    user = int(settings(tmp_path)["AIRFLOW_UID"])
    assert user == (os.getuid() or 50000)
    assert (tmp_path / "work" / "ymir-sharing").stat().st_uid == user


def test_a_work_folder_with_strange_characters_is_refused(tmp_path: Path) -> None:
    done = make_env(tmp_path, YMIR_PATH=str(tmp_path / "my work"))

    assert done.returncode == 1
    assert "hint: name another folder" in done.stderr
    assert not (tmp_path / ".env").exists()
