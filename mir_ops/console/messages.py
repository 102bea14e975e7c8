"""Texts in the reader's language: gettext over the catalogues in `locales`.

English is the key. A section's Chinese stands in `locales/zh/<section>.po`; the texts of all
sections are one catalogue. `_` and `ngettext` put values in by name, as `%(count)s`; a percent sign
of a text that is read through them is `%%`, as in templates.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

LANGUAGES: Final = {"en": "English", "zh": "中文"}
COOKIE: Final = "mir_language"

_LOCALES: Final = Path(__file__).parent / "locales"
_language: ContextVar[str] = ContextVar("mir_language", default="en")


def _(text: str, /, **values: Any) -> str:
    return translated(text) % values


def ngettext(one: str, many: str, number: int, /, **values: Any) -> str:
    """The form of the language for this number, which is `%(num)s` in it."""
    return translated_plural(one, many, number) % {"num": number, **values}


def language() -> str:
    return _language.get()


def translated(text: str) -> str:
    found = _texts(_language.get()).get(text)
    return found[0] if found else text


def translated_plural(one: str, many: str, number: int) -> str:
    # Chinese has one form for all numbers.
    found = _texts(_language.get()).get(one)
    return found[0] if found else one if number == 1 else many


@cache
def _texts(name: str) -> dict[str, tuple[str, ...]]:
    """By the English text, its forms."""
    from babel.messages.pofile import read_po

    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((_LOCALES / name).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=name, abort_invalid=True):
                forms = message.string if isinstance(message.string, tuple) else (message.string,)
                if message.id and all(forms) and not message.fuzzy:
                    key = message.id if isinstance(message.id, str) else message.id[0]
                    found[key] = tuple(map(str, forms))
    return found


class ReadersLanguage:
    """Lets what answers a request speak the language of its cookie, or else of its browser."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            token = _language.set(_asked(HTTPConnection(scope)))
            try:
                await self.app(scope, receive, send)
            finally:
                _language.reset(token)
        else:
            await self.app(scope, receive, send)


def _asked(connection: HTTPConnection) -> str:
    chosen = connection.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    for entry in connection.headers.get("accept-language", "").split(","):
        name = entry.partition(";")[0].strip().partition("-")[0].lower()
        if name in LANGUAGES:
            return name
    return "en"
