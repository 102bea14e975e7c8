"""Mining strategies by name. A new one is a file in `scoring/` and a line in its `__init__`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy.typing as npt
import pyarrow as pa

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One entry per candidate, in the candidates' order. The highest scores are picked."""

    score: Floats
    reason: pa.Array  # text for people: why this image
    components: Mapping[str, npt.NDArray] = field(default_factory=dict)  # type: ignore[type-arg]


Strategy = Callable[[Candidates], Scored]

_strategies: dict[str, tuple[str, Strategy]] = {}


def register(name: str, description: str) -> Callable[[Strategy], Strategy]:
    """Decorate a function to make it a mining strategy."""

    def keep(strategy: Strategy) -> Strategy:
        if name in _strategies:
            raise ValueError(f"A mining strategy named `{name}` is registered already")
        _strategies[name] = (description, strategy)
        return strategy

    return keep


def strategies() -> dict[str, str]:
    """Every strategy's name and what it does."""
    _load()
    return {name: description for name, (description, _) in sorted(_strategies.items())}


def find_strategy(name: str) -> Strategy:
    _load()
    if name in _strategies:
        return _strategies[name][1]
    close = difflib.get_close_matches(name, _strategies, n=1)
    raise InvalidInputError(
        f"No mining strategy named `{name}`",
        code="unknown-strategy",
        hint=f"Did you mean `{close[0]}`?"
        if close
        else f"Choose one of {', '.join(f'`{known}`' for known in sorted(_strategies))}",
    )


def _load() -> None:
    import mir_ops.mining.scoring  # noqa: F401  (registers ours)
