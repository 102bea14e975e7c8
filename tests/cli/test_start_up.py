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
