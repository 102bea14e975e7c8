"""Whether a round that was played in again came out as its record says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mir_ops.rounds.rerun import Rerun

_MADE: Final = ("trained_on", "evaluation", "pool", "mining", "mined", "labels", "training")
_SHORT: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be the same both times; values are short texts."""

    what: str
    recorded: str
    replayed: str

    @property
    def same(self) -> bool:
        return self.recorded == self.replayed


def verify_rerun(rerun: Rerun) -> list[Check]:
    """Everything that the round decided or made; times and what people spent are left out.

    Of versions the manifest counts, which names their content: a commit also says when.
    """
    was, now = rerun.recorded, rerun.replayed
    checks = [Check(what="executor build", recorded=_build(was), replayed=_build(now))]
    checks += [
        Check(what=what, recorded=_manifest(rerun, was, what), replayed=_manifest(rerun, now, what))
        for what in _MADE
        if was["commits"][what] or now["commits"][what]
    ]
    parts = zip(_parts(was), _parts(now), strict=True)
    for (what, mine), (_, other) in parts:
        checks.append(Check(what=what, recorded=_digest(mine), replayed=_digest(other)))
        checks += _differences(what, mine, other)
    return checks


def _manifest(rerun: Rerun, record: Mapping[str, Any], what: str) -> str:
    commit = record["commits"][what]
    return rerun.scratch.store.commit(commit).manifest if commit else "-"


def _parts(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the record says of models, metrics, decisions and picks."""
    last = record["last"] or {}
    return [
        ("model", _model(record["model"])),
        ("metrics", record["metrics"]),
        ("stop", (record["stop"] or {}).get("code")),
        ("end", (record["end"] or {}).get("code")),
        ("last model", _model(last.get("model"))),
        ("last metrics", last.get("metrics")),
        ("chosen", record["chosen"]),
    ]


def _differences(what: str, mine: Any, other: Any) -> Iterator[Check]:
    """The values in two parts of records that are not the same, by their place."""
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        for key in sorted({*mine, *other}):
            yield from _differences(f"{what}.{key}", mine.get(key), other.get(key))
    elif isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        for place, (one, another) in enumerate(zip(mine, other, strict=True)):
            yield from _differences(f"{what}[{place}]", one, another)
    elif mine != other:
        yield Check(what=what, recorded=_text(mine), replayed=_text(other))


def _build(record: Mapping[str, Any]) -> str:
    image = record["image"]
    return str(image.get("digest") or image["image"])


def _model(model: Mapping[str, Any] | None) -> str | None:
    return f"{model['model_id']}@{model['stage']}" if model else None


def _digest(value: Any) -> str:
    """Short values as they are, others by a digest."""
    text = _text(value)
    return text if len(text) <= _SHORT else hashlib.sha256(text.encode()).hexdigest()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
