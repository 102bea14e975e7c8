"""docs/store.md: its example runs and prints what it says, and it names every code and command."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from mir_ops.cli.main import main
from mir_ops.store.objects import MemoryObjects
from mir_ops.store.probes import probe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "store.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_example_prints_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(blocks("python")[0], "docs/store.md", "exec"), {})

    assert printed.getvalue() == blocks("text")[0]


def test_every_error_code_of_the_store_is_documented() -> None:
    codes = set()
    for path in sorted((ROOT / "mir_ops" / "store").glob("*.py")):
        source = path.read_text()
        codes |= set(re.findall(r'\bcode ?= ?"([a-z-]+)"', source))
        codes |= set(re.findall(r'errno\.\w+: \("([a-z-]+)"', source))

    assert len(codes) > 30
    assert [code for code in sorted(codes) if f"`{code}`" not in TEXT] == []


def test_every_command_and_property_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["store", "--help"])
    listed = capsys.readouterr().out.partition("commands:")[2]
    commands = re.findall(r"^    ([a-z-]+) ", listed, re.MULTILINE)

    assert sorted(commands) == ["compact", "doctor", "export-view", "fsck", "gc", "resolve"]
    assert all(f"`mir store {command}" in TEXT for command in commands)
    properties = [finding.name for finding in probe(MemoryObjects()).findings]
    assert [name for name in properties if f"`{name}`" not in TEXT] == []
