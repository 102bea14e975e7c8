"""What the library says in English, a reader of Chinese reads in Chinese."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po
from console_data import HOSTILE, Client, Shown

import mir_ops
from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.rendering import prose
from mir_ops.console.sentences import FOLDER, parts_of, said, values_between
from mir_ops.console.sources import Sources
from mir_ops.dataset.report import ISSUES

LIBRARY = Path(mir_ops.__file__).parent
PLUGIN = LIBRARY.parent / "plugins" / "mir_airflow"
# Of these every error, hint and finding has its Chinese.
COMPLETE = [
    *LIBRARY.glob("console/*.py"),
    *LIBRARY.glob("console/*/*.py"),
    LIBRARY / "doctor.py",
    LIBRARY / "dataset" / "conditions.py",
    LIBRARY / "dataset" / "merging.py",
    LIBRARY / "dataset" / "sampling.py",
    LIBRARY / "dataset" / "sharing.py",
    LIBRARY / "dataset" / "classes.py",
    PLUGIN / "runs.py",
]
# Said where a command line or a programmer reads it.
UNSEEN = {"Axis limits must be finite: {}, {}", "Cannot listen on {}:{}: {}",
          "Choose another port with `--port`, or 0 for any free one"}  # fmt: skip
# Values of other sentences, or addresses: nothing can be said of them.
PLAIN = {"{} answers", "{} answers {}", "Docker {}", "{}{}: {}"}


def pattern_of(node: ast.expr) -> str | None:
    """A literal as a catalogue's key."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("{", "{{").replace("}", "}}")
    if isinstance(node, ast.JoinedStr):
        parts = (pattern_of(one) if isinstance(one, ast.Constant) else "{}" for one in node.values)
        return "".join(part or "" for part in parts)
    return None


@cache
def literals() -> frozenset[str]:
    """All that the library's code has in quotes."""
    paths = [*LIBRARY.rglob("*.py"), *PLUGIN.rglob("*.py")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in paths)
    kinds = ast.Constant, ast.JoinedStr
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, kinds))
    return frozenset(found for node in nodes if (found := pattern_of(node)))


def sentences(path: Path) -> Iterator[str]:
    """What errors and findings say."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        spoken = [each.value for each in node.keywords if each.arg in ("hint", "found", "advice")]
        if name == "HTTPException":
            spoken += node.args[1:2]
        elif name.endswith("Error"):
            spoken += node.args[:1]
        yield from (text for each in spoken if (text := pattern_of(each)))


@cache
def chinese() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted((FOLDER / "zh" / "library").glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh", abort_invalid=True):
                if message.id:
                    assert str(message.id) not in found, f"twice: {message.id}"
                    found[str(message.id)] = str(message.string)
    return found


def test_every_sentence_of_the_catalogues_stands_in_the_code() -> None:
    assert set(chinese()) - literals() == set()


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_error_hint_and_finding_has_its_chinese(path: Path) -> None:
    assert set(sentences(path)) - set(chinese()) - UNSEEN - PLAIN == set()


def test_every_issue_of_an_import_has_its_chinese() -> None:
    assert {text for texts in ISSUES.values() for text in texts} - set(chinese()) == set()


@pytest.mark.parametrize("key", [*chinese()])
def test_chinese_takes_the_values_that_there_are(key: str) -> None:
    count = len(parts_of(key)) - 1
    fields = [field for _, field, _, _ in Formatter().parse(chinese()[key]) if field is not None]

    assert {int(field or at) for at, field in enumerate(fields)} == set(range(count))
    # What has few words of its own would be found in what it is not.
    assert count == 0 or len(re.sub(r"[^a-zA-Z]", "", "".join(parts_of(key)))) > 3


@pytest.mark.parametrize(
    ("english", "values"),
    [
        ("Round 3 of `a` is open", ["3", "a"]),
        ("Round 3 of `a` of `b` is open", ["3", "a` of `b"]),
        ("Round  of `` is open", ["", ""]),
        ("Round 3 of `a` is opened", None),
        ("Round 3 of `a", None),
        ("", None),
    ],
)
def test_values_are_what_stands_between_the_words(english: str, values: list[str] | None) -> None:
    assert values_between(parts_of("Round {} of `{}` is open"), english) == values


def test_one_word_is_only_found_alone() -> None:
    assert values_between(parts_of("a {{b}}"), "a {b}") == []
    assert values_between(parts_of("a {{b}}"), "a {b}!") is None


@pytest.fixture
def reader() -> Iterator[None]:
    """Reads Chinese."""
    from mir_ops.console import messages

    token = messages._language.set("zh")
    yield
    messages._language.reset(token)


@pytest.mark.usefixtures("reader")
def test_sentence_within_a_sentence_is_said_too() -> None:
    nested = "Round 3 of `a` failed: No executor is called `b`"

    assert said(nested) == "`a` 的第 3 轮失败：没有名为 `b` 的执行器"
    assert said("2 of 9 rules do not hold:\n[stop] boxes/inside: 3 of 7 rows") == (
        "9 条规则中有 2 条不满足：\n[stop] boxes/inside: 3 of 7 rows"
    )
    assert said("Something that nobody has translated") == "Something that nobody has translated"
    assert prose(f"No project named `{HOSTILE}`").count("<") == 2  # <code> and its end


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("random draw 0.1234 with seed 7", "以种子 7 随机抽取，值为 0.1234"),
        (
            "entropy 0.693, mean over the top 3 of 9 boxes; least certain: `big dog` at 0.51",
            "entropy 0.693，9 个框，取 前 3 个的平均；最不确定：`big dog`，置信度 0.51",
        ),
        (
            "rarity 2.5: `cat` at 0.50; also drawn for the control arm",
            "稀有度 2.5：`cat`，置信度 0.50；同时被随机抽入对照组",
        ),
    ],
)
def test_why_an_image_was_picked_is_said(english: str, chinese: str) -> None:
    assert said(english) == chinese


@pytest.mark.usefixtures("reader")
def test_hostile_text_is_looked_through_at_once() -> None:
    began = time.process_time()

    said("Round " * 300 + " of `" * 300 + " is open" * 200)

    assert time.process_time() - began < 1.0


def test_errors_are_said_in_the_readers_language(shown: Shown, empty_catalog: str) -> None:
    catalog = Catalog.open(empty_catalog)
    client = Client(create_app(lambda: Sources(shown.store, catalog)))
    chinese = {"Accept-Language": "zh-CN"}

    for path in ("/projects/none", "/api/v1/projects/none"):
        assert "No project named" in client.get(path).text
        answer = client.get(path, headers=chinese)
        assert answer.status_code == 404
        assert re.search("没有名为 .*none.* 的项目", answer.text)
    assert client.get("/api/v1/projects/none", headers=chinese).json()["error"]["code"] == (
        "no-such-project"
    )
    catalog.close()
