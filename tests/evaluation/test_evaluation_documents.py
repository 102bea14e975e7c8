"""docs/evaluation.md: its example runs and prints what it says, and its commands can be parsed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mir_ops import evaluation
from mir_ops.cli import compare
from mir_ops.cli import main as cli

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_example_prints_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(blocks("python")[0], "docs/evaluation.md", "exec"), {})

    assert printed.getvalue() == blocks("text")[0]


@pytest.mark.parametrize("line", re.findall(r"^\$ (mir .*)$", TEXT, re.MULTILINE))
def test_its_commands_can_be_parsed(line: str) -> None:
    words = shlex.split(line)[1:]

    assert callable(cli._parser(words).parse_args(words).run)


def test_every_mark_and_kind_is_in_the_document() -> None:
    from mir_ops.evaluation.marks import IOU, MARK, MISTAKE, PARTNER, THERE
    from mir_ops.evaluation.mistakes import KINDS, MISSED

    for word in (IOU, MARK, MISTAKE, PARTNER, THERE, *KINDS, MISSED):
        assert f"`{word}`" in TEXT


def test_every_error_code_is_in_the_document() -> None:
    room = Path(evaluation.__file__).parent
    text = "".join(path.read_text() for path in [*room.glob("*.py"), Path(compare.__file__)])

    assert {code for code in re.findall(r'code="([a-z-]+)"', text) if f"`{code}`" not in TEXT} == (
        set()
    )
