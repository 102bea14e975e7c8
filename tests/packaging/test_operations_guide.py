"""The operations guide quotes what the code says: a message that is changed is changed there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "operations.md"
FAILURES = 24


@cache
def spoken() -> str:
    """All texts of the library and the plugin, a line each, with `…` for what is filled in."""
    found = []
    for file in [*(ROOT / "mir_ops").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(?:s|d)", "…", node.value))
    return "\n".join(found)


def test_each_quoted_message_stands_in_the_code() -> None:
    quoted = re.findall(r"^> (.+)$", GUIDE.read_text(), re.MULTILINE)

    assert len(quoted) >= FAILURES
    assert [each for each in quoted if each not in spoken()] == []


def test_each_failure_says_what_to_do_what_is_safe_and_when_it_is_over() -> None:
    _, *sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)

    for section in sections:
        for part in ("**Safe.**", "**Over**"):
            assert part in section, section.splitlines()[0]
    assert len(sections) >= FAILURES - 2


def test_each_failure_is_in_the_list_at_the_top() -> None:
    text = GUIDE.read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}

    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == anchors
