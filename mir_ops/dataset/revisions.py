"""How a revision is written: `[tr:|va:|te:]branch[@tid]`; several are joined by `;`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mir_ops.errors import InvalidInputError

_SPLITS: Final = {"": None, "tr": "train", "va": "val", "te": "test"}
_HINT: Final = "Write `branch`, `branch@tid` or, for a split, `tr:branch@tid`; join several by `;`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A revision to read, and the split that its images are put into (None: each keeps its own)."""

    rev: str
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The branch to commit to, and the tag `branch@tid` to make there, if a tid is given."""

    branch: str
    tid: str | None = None

    @property
    def tag(self) -> str | None:
        return f"{self.branch}@{self.tid}" if self.tid else None

    def __str__(self) -> str:
        return self.tag or self.branch


def parse_source(text: str) -> Source:
    kind, colon, rev = text.strip().rpartition(":")
    branch, _, tid = rev.partition("@")
    if not branch or "@" in tid or ":" in kind or ";" in rev:
        raise InvalidInputError(f"`{text}` is not one revision", code="bad-revision", hint=_HINT)
    if kind not in _SPLITS or (colon and "@" in kind):
        raise InvalidInputError(
            f"`{kind}` in `{text}` is not a split: use tr, va or te",
            code="bad-revision",
            hint=_HINT,
        )
    return Source(rev=f"{branch}@{tid}" if tid else branch, split=_SPLITS[kind])


def parse_sources(text: str) -> list[Source]:
    """At least one; empty parts, as behind a last `;`, do not count."""
    sources = [parse_source(part) for part in text.split(";") if part.strip()]
    if not sources:
        raise InvalidInputError("No revision is given", code="bad-revision", hint=_HINT)
    return sources


def parse_destination(text: str) -> Destination:
    source = parse_source(text)
    if source.split is not None:
        raise InvalidInputError(
            f"The destination `{text}` cannot have a split", code="bad-revision", hint=_HINT
        )
    branch, _, tid = source.rev.partition("@")
    return Destination(branch=branch, tid=tid or None)
