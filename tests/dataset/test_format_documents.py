"""docs/formats.md: its example runs and prints what it says, and it names every format."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from mir_ops.formats import FORMATS, OBJECT_TYPES

TEXT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_for_notebooks_prints_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(blocks("python")[0], "docs/formats.md", "exec"), {})

    assert printed.getvalue() == blocks("text")[0]


def test_every_format_and_object_type_is_documented() -> None:
    assert [name for name in FORMATS if name != "none" and name.upper() not in TEXT] == []
    assert [kind for kind in OBJECT_TYPES if f"`{kind}`" not in TEXT] == []
