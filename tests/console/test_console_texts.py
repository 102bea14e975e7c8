"""Every text of the console has its Chinese, and no text stands outside of the catalogues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from console_data import Client, Shown
from jinja2.ext import babel_extract

import mir_ops.console
from mir_ops.console.app import create_app

ROOM = Path(mir_ops.console.__file__).parent
PAGES = [
    path
    for path in sorted(ROOM.glob("templates/**/*.html"))
    if path.parent.name != "templates" or path.name in ("layout.html", "error.html")
]
CATALOGUES = sorted(ROOM.glob("locales/zh/*.po"))
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}


def extracted() -> Iterator[tuple[str, str]]:
    """Each text, and where it stands."""
    for path in [*ROOM.glob("**/*.py"), *ROOM.glob("templates/**/*.html")]:
        method = "python" if path.suffix == ".py" else babel_extract
        for _, text, _, _ in extract_from_file(
            method, path, keywords=KEYWORDS, options={"silent": "false"}
        ):
            first = text if isinstance(text, str) else text[0]
            yield first, str(path.relative_to(ROOM))


def translations() -> Iterator[tuple[str, tuple[str, ...], str]]:
    for path in CATALOGUES:
        with path.open("rb") as file:
            for message in read_po(file, locale="zh", abort_invalid=True):
                if message.id:
                    key = message.id if isinstance(message.id, str) else message.id[0]
                    said = message.string
                    yield key, said if isinstance(said, tuple) else (said,), path.name


def test_every_text_has_its_chinese() -> None:
    known = {key for key, forms, _ in translations() if all(forms)}

    missing = {text: place for text, place in extracted() if text not in known}

    assert missing == {}


def test_no_chinese_is_of_a_text_that_went() -> None:
    said = {text for text, _ in extracted()}

    assert [(name, key) for key, _, name in translations() if key not in said] == []


def test_one_text_has_one_chinese() -> None:
    found: dict[str, set[tuple[str, ...]]] = {}
    for key, forms, _ in translations():
        found.setdefault(key, set()).add(forms)

    assert {key: forms for key, forms in found.items() if len(forms) > 1} == {}


def test_values_are_put_where_they_are_in_english() -> None:
    def names(text: str) -> set[str]:
        return set(re.findall(r"%\(\w+\)[sd]|%%", text))

    for key, forms, name in translations():
        for form in forms:
            assert names(form) - {"%(num)s"} == names(key) - {"%(num)s"}, (name, key)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOM / "templates")))
def test_no_text_of_a_page_stands_outside_of_the_catalogues(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"<(code|svg|style|script)\b.*?</\1>", " ", text, flags=re.DOTALL)
    attributes = re.findall(r'\b(?:aria-label|title|alt|data-confirm)="([^"]*)"', text)
    text = re.sub(r"<[^>]*>", " ", text)

    words = [word for part in (text, *attributes) for word in re.findall(r"[A-Za-z]{3,}", part)]

    assert [word for word in words if word not in ("mir", "nbsp", "mAP")] == []


def test_reader_is_answered_in_their_language(shown: Shown) -> None:
    client = Client(create_app(lambda: shown.sources))

    def heading(**headers: str) -> str:
        page = client.get("/classes", headers=headers).text
        found = re.search(r'<html lang="(\w+)".*<h1>(.*?)</h1>', page, re.DOTALL)
        assert found is not None
        return f"{found[1]} {found[2]}"

    asked = {"Accept-Language": "fr-CH, zh-TW;q=0.9, en;q=0.8"}
    assert heading() == "en Classes"
    assert heading(**asked) == "zh 类别"
    assert heading(**asked, Cookie="mir_language=en") == "en Classes"
    assert heading(Cookie="a=b; mir_language=zh") == "zh 类别"
    assert heading(Cookie="mir_language=../../x") == "en Classes"
