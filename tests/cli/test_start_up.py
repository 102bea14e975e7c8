"""Commands that only look at history start without the heavy packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mir_ops.cli.main import main

HEAVY = ("pyarrow", "numpy", "boto3", "botocore", "sqlalchemy", "PIL", "pandas")
CODE = f"""
import sys
from mir_ops.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else code)
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    (tmp_path / "labels.csv").write_text("0,,person\n1,,cat\n")
    assert main(["classes", "record", "--to", "master"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["log"],
        ["log", "--dog"],
        ["checkout", "master"],
        ["branch"],
        ["tag"],
        ["show"],
        ["classes"],
        ["keywords"],
        ["search", "master"],
        ["completion", "revisions"],
        ["update", "--help"],
    ],
    ids=" ".join,
)
def test_history_needs_nothing_heavy(repository: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=repository, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr.count("loaded")) == (0, 0), done.stderr


LEAN = """
import os, sys
from mir_ops.arrow import load_rows
before = dict(os.environ)
load_rows()
import pyarrow as pa, pyarrow.compute as pc
assert dict(os.environ) == before
assert "pandas" not in sys.modules
assert pa.default_memory_pool().backend_name == "system"
assert pc.is_in(pa.array([1, 2]), value_set=pa.array([2])).to_pylist() == [False, True]
"""


def test_rows_load_without_what_no_command_uses_and_change_no_setting() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_repository_whose_configuration_was_edited_by_hand_is_found(repository: Path) -> None:
    config = repository / ".mir/config.yaml"
    text = config.read_text()
    config.write_text(
        "# where things are\n"
        + text.replace("store: ", 'store:  "', 1).replace("\n", '" # here\n', 1)
    )

    assert main(["log", "master"]) == 0


def test_an_empty_configuration_says_what_belongs_there(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".mir/config.yaml").write_text("")

    assert main(["log"]) == 1
    assert "It holds two lines" in capsys.readouterr().err
