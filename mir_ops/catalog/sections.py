"""Levels of a project's file: known keys, strict types, and errors that name the key to correct."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from mir_ops.errors import InvalidInputError


class Section(BaseModel):
    """One level of the file: unknown keys are refused, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=Section)


def validated(kind: type[Kind], mapping: Mapping[str, Any], *, what: str, code: str) -> Kind:
    """The section that a mapping says; each error names the key to correct."""
    if not isinstance(mapping, Mapping):
        raise InvalidInputError(f"A {what} is a mapping of keys to values", code=code)
    try:
        return kind.model_validate(dict(mapping))
    except ValidationError as error:
        raise _explained(kind, error, what=what, code=code) from None


def _explained(
    kind: type[Section], error: ValidationError, *, what: str, code: str
) -> InvalidInputError:
    unknown = [entry["loc"] for entry in error.errors() if entry["type"] == "extra_forbidden"]
    if unknown:
        keys = ", ".join(f"`{_dotted(loc)}`" for loc in unknown)
        return InvalidInputError(
            f"Unknown {what} parameter: {keys}",
            code="unknown-parameter",
            hint="; ".join(_close_match(kind, loc) for loc in unknown),
        )
    wrong = [
        f"`{_dotted(entry['loc'])}`: {entry['msg'].removeprefix('Value error, ')}"
        for entry in error.errors(include_url=False, include_context=False)
    ]
    named = any(entry["type"] == "string_pattern_mismatch" for entry in error.errors())
    return InvalidInputError(
        f"Invalid {what}: " + "; ".join(wrong),
        code=code,
        hint="A name has lower-case letters, digits, `-` and `_`, 63 at most"
        if named
        else f"docs/{'rounds' if what == 'run' else 'projects'}.md says what each key takes",
    )


def _close_match(kind: type[Section], location: tuple[int | str, ...]) -> str:
    *above, key = (str(part) for part in location)
    known = list(_section_at(kind, above).model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"Did you mean `{_dotted((*above, close[0]))}`?"
    return f"Known here: {', '.join(f'`{name}`' for name in known)}"


def _section_at(kind: type[Section], above: list[str]) -> type[Section]:
    for key in above:
        field = kind.model_fields.get(key)
        kind = next(sections_of(field.annotation), kind) if field else kind
    return kind


def sections_of(annotation: Any) -> Iterator[type[Section]]:
    """The sections that a key of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from sections_of(part)


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
