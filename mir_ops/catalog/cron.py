"""Cron expressions of five fields, checked when they are written and not when they are due."""

from __future__ import annotations

from typing import Final

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)


def checked_cron(expression: str) -> str:
    """The expression, its blanks single; ValueError that names the field which is wrong."""
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"`{expression}` is not five fields: minute, hour, day, month, weekday")
    for part, (name, least, most, words) in zip(parts, _FIELDS, strict=True):
        for item in part.lower().split(","):
            if not _fits(item, least, most, words):
                raise ValueError(f"`{item}` is no {name}: {least} to {most}, `*`, or a range")
    return " ".join(parts)


def _fits(item: str, least: int, most: int, words: tuple[str, ...]) -> bool:
    span, slash, step = item.partition("/")
    if slash and not (_is_number(step) and 1 <= int(step) <= most):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    numbers = [_number(each, least, words) for each in ([first, last] if dash else [first])]
    known = [each for each in numbers if each is not None and least <= each <= most]
    return len(known) == len(numbers) and known == sorted(known)


def _number(text: str, least: int, words: tuple[str, ...]) -> int | None:
    if text in words:
        return words.index(text) + least
    return int(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 2
