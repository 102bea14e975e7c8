"""Sentences of the library in the reader's language: errors, hints, reasons, findings.

The library says them in English, and the catalog keeps them so. Their Chinese stands in
`locales/zh/library`, by the words that stand in the code, with `{}` for each value: a catalogue's
key is the literal of an f-string. In the Chinese `{}` is the next value, `{0}` the first.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from string import Formatter
from typing import Final

from mir_ops.console.messages import language

FOLDER: Final = Path(__file__).parent / "locales"
_LONGEST: Final = 4000  # characters of a sentence that is looked for


def said(text: str) -> str:
    """The sentence in the reader's language; one that no catalogue has stays as it is."""
    return _said(language(), text) if text and len(text) <= _LONGEST else text


def parts_of(pattern: str) -> tuple[str, ...]:
    """The words of a catalogue's key, around its values."""
    parts = [""]
    for words, field, _, _ in Formatter().parse(pattern):
        parts[-1] += words
        if field is not None:
            parts.append("")
    return tuple(parts)


def values_between(parts: tuple[str, ...], text: str) -> list[str] | None:
    """The values of a text that has these words in their order; None if it has not."""
    first, *middle, last = parts if len(parts) > 1 else (*parts, "")
    start, end = len(first), len(text) - len(last)
    if start > end or not (text.startswith(first) and text.endswith(last)):
        return None
    if len(parts) == 1:
        return [] if text == first else None
    values = []
    for words in middle:
        found = text.find(words, start, end)
        if found < 0:
            return None
        values.append(text[start:found])
        start = found + len(words)
    return [*values, text[start:end]]


@lru_cache(maxsize=4096)
def _said(name: str, text: str) -> str:
    for parts, form in _known(name):
        if (values := values_between(parts, text)) is not None:
            # A value may be a sentence itself; a single word is somebody's name.
            return form.format(*(_said(name, one) if " " in one else one for one in values))
    lines = text.split("\n")
    return "\n".join(_said(name, line) for line in lines) if len(lines) > 1 else text


@cache
def _known(name: str) -> list[tuple[tuple[str, ...], str]]:
    """Words with their form in a language; what says most stands first."""
    from babel.messages.pofile import read_po

    found: dict[tuple[str, ...], str] = {}
    for path in sorted((FOLDER / name / "library").glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=name, abort_invalid=True):
                if message.id and message.string and not message.fuzzy:
                    found[parts_of(str(message.id))] = str(message.string)
    return sorted(found.items(), key=lambda entry: (-len("".join(entry[0])), len(entry[0])))
