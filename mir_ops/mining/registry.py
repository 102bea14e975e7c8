"""Mining strategies by name, and the parameters that each takes."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates, Floats, Integers

_GROUP: Final = "mir_ops.strategies"

Column = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One score per candidate, in the candidates' order; the highest are picked.

    A strategy that picks one after the other gives their positions in `order`, about as many as
    were `wanted`; what it does not name follows by falling score. `reason` tells people why a
    candidate was picked. Entries of a component that are NaN are left out. `notes` say what the
    strategy had to do without.
    """

    score: Floats
    reason: Callable[[int], str]
    order: Integers | None = None
    components: Mapping[str, Column] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Strategy = Callable[..., Scored]  # Candidates, then parameters by keyword, each with a default


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """`needs`: which of `vectors`, `labelled vectors` and `ranking` it can use."""

    name: str
    description: str
    needs: frozenset[str]
    score: Strategy


_strategies: dict[str, Registered] = {}


def register(
    name: str, description: str, *, needs: tuple[str, ...] = ()
) -> Callable[[Strategy], Strategy]:
    """Decorate a function to make it a mining strategy."""

    def keep(strategy: Strategy) -> Strategy:
        if name in _strategies:
            raise ValueError(f"A mining strategy named `{name}` is registered already")
        _strategies[name] = Registered(
            name=name, description=description, needs=frozenset(needs), score=strategy
        )
        return strategy

    return keep


def strategies() -> dict[str, str]:
    """Every strategy's name and what it does."""
    _load()
    return {name: each.description for name, each in sorted(_strategies.items())}


def find_strategy(name: str) -> Registered:
    """The strategy of this name; another is refused with the nearest that there is."""
    _load()
    if name in _strategies:
        return _strategies[name]
    raise InvalidInputError(
        f"No mining strategy named `{name}`",
        code="unknown-strategy",
        hint=_suggestion(name, _strategies),
    )


def check_parameters(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The strategy's parameters, all of them: those given, each known and in range, and defaults.

    Their types and bounds are those of the strategy's keyword arguments.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    wanted = _parameters_of(find_strategy(name).score)
    for given in parameters:
        if given not in wanted:
            raise InvalidInputError(
                f"Mining strategy `{name}` has no parameter `{given}`",
                code="unknown-parameter",
                hint=_suggestion(given, wanted) if wanted else "It takes none",
            )
    model = create_model(
        "Parameters", __config__=ConfigDict(strict=True, allow_inf_nan=False), **wanted
    )
    try:
        return dict(model(**parameters))
    except ValidationError as error:
        wrong = "; ".join(f"`{entry['loc'][0]}`: {entry['msg']}" for entry in error.errors())
        raise InvalidInputError(
            f"Parameters of mining strategy `{name}`: {wrong}",
            code="invalid-parameter",
            hint="Correct the value, or leave it out: each has a default",
        ) from None


def _parameters_of(score: Strategy) -> dict[str, Any]:
    types = typing.get_type_hints(score, include_extras=True)
    known = inspect.signature(score).parameters.values()
    return {
        each.name: (types[each.name], each.default)
        for each in known
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(f"`{each}`" for each in sorted(known))
    return f"Did you mean `{close[0]}`?" if close else f"Choose one of {listed}"


@cache
def _load() -> None:
    """Ours, and those that installed packages bring along."""
    from importlib.metadata import entry_points

    import mir_ops.mining.scoring  # noqa: F401  (registers ours)

    for entry in entry_points(group=_GROUP):
        entry.load()


def score_candidates(name: str, candidates: Candidates, parameters: Mapping[str, Any]) -> Scored:
    """Let a strategy score them; what it gives back is checked."""
    scored = find_strategy(name).score(candidates, **check_parameters(name, parameters))
    if scored.score.shape != (len(candidates),) or not np.isfinite(scored.score).all():
        raise ValueError(f"Strategy `{name}` must give one finite score per candidate")
    if scored.order is not None and len(np.unique(scored.order)) < len(scored.order):
        raise ValueError(f"Strategy `{name}` picks a candidate twice")
    return scored
