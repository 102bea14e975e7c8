"""A version from others, as a person asks for it: merged, filtered, drawn; counted, then committed.

What is asked stands in an address or in JSON, in the words of `mir fuse`: a list may be one text
joined by `;`, bounds are `MIN:MAX`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from mir_ops.dataset.merging import Strategy
from mir_ops.dataset.revisions import Source, parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.dataset import Bounds, Conditions, Sampling
    from mir_ops.store import Commit, Stats, Store

_SPLITS: Final = {"tr": "train", "va": "val", "te": "test"}
_BOUNDS: Final = ("width", "height", "byte_size", "boxes")
_CHOICES: Final = {
    "strategy": get_args(Strategy),
    "match": ("any", "all"),
    "annotation_source": ("any", "gt", "pred"),
}
# Of what is asked: the option of `mir fuse` that says it.
_OPTIONS: Final = {
    "exclude": "--ex-src-revs",
    "strategy": "--strategy",
    "include_classes": "-p",
    "exclude_classes": "-P",
    "match": "--match",
    "annotation_source": "--filter-anno-src",
    "attributes": "--attributes",
    "exclude_attributes": "--ex-attributes",
    "splits": "--splits",
    "width": "--width",
    "height": "--height",
    "byte_size": "--byte-size",
    "boxes": "--boxes",
    "count": "--count",
    "rate": "--rate",
    "seed": "--seed",
    "stratify": "--stratify",
}
_LISTS: Final = (
    "exclude",
    "include_classes",
    "exclude_classes",
    "attributes",
    "exclude_attributes",
    "splits",
)
FIELDS: Final = ("sources", *_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Which versions are merged, which of their images stay, how many are drawn."""

    sources: tuple[Source, ...]
    exclude: tuple[str, ...]
    strategy: Strategy
    conditions: Conditions
    sampling: Sampling | None
    given: Mapping[str, str]

    @property
    def kind(self) -> str:
        """The smallest operation that does it."""
        from mir_ops.dataset import Conditions

        merges = len(self.sources) > 1 or self.exclude or self.sources[0].split
        filters = self.conditions != Conditions()
        if merges:
            return "fuse" if filters or self.sampling else "merge"
        if self.sampling:
            return "fuse" if filters else "sample"
        return "filter"

    def command(self, branch: str) -> str:
        """What does the same on a command line."""
        words = ["mir", "fuse", "--src-revs", self.given["sources"]]
        for name, option in _OPTIONS.items():
            words += [option, self.given[name]] if name in self.given else []
        return " ".join(map(shlex.quote, [*words, "--to", branch]))


def read_recipe(given: Mapping[str, Any]) -> Recipe | None:
    """What was asked; None: nothing yet. Unknown and senseless fields are refused by name."""
    if unknown := sorted(given.keys() - {*FIELDS}):
        raise _bad(f"There is no field `{unknown[0][:60]}`", f"Fields are {', '.join(FIELDS)}")
    said = {name: text for name in FIELDS if (text := _text(name, given.get(name)))}
    if not said.get("sources"):
        return None
    from mir_ops.dataset import Conditions, Sampling

    lists = {name: tuple(_names(said.get(name, ""))) for name in _LISTS}
    choices = {name: _choice(name, said) for name in _CHOICES}
    strategy: Any = choices.pop("strategy")
    splits = tuple(_SPLITS.get(name, name) for name in lists.pop("splits"))
    bounds = {name: _bounds(name, said.get(name)) for name in _BOUNDS}
    exclude = lists.pop("exclude")
    asked: dict[str, Any] = {**lists, **choices, **bounds}
    count, rate = _number("count", said, int), _number("rate", said, float)
    seed = _number("seed", said, int) or 0
    drawn = count is not None or rate is not None
    return Recipe(
        sources=tuple(parse_source(text) for text in _names(said["sources"])),
        exclude=exclude,
        strategy=strategy,
        conditions=Conditions(splits=splits, **asked),
        sampling=Sampling(count=count, rate=rate, seed=seed, stratify=said.get("stratify"))
        if drawn
        else None,
        given=said,
    )


def foretell_recipe(store: Store, recipe: Recipe) -> Stats:
    """The counts that committing it would give. Writes nothing."""
    from mir_ops.dataset.merging import foretell

    return foretell(
        store,
        recipe.sources,
        strategy=recipe.strategy,
        exclude=recipe.exclude,
        conditions=recipe.conditions,
        sampling=recipe.sampling,
    )


def commit_recipe(
    store: Store, recipe: Recipe, branch: str, *, message: str | None, project: str | None
) -> Commit:
    """Do it. The same recipe for the same branch, from the same versions, is done once."""
    from mir_ops.dataset import filter_dataset, fuse, merge, sample
    from mir_ops.store import operation_id

    sources = [[source.split, store.resolve(source.rev).id] for source in recipe.sources]
    inputs = {
        "command": recipe.kind,
        **recipe.given,
        "sources": sources,
        "exclude": [store.resolve(rev).id for rev in recipe.exclude],
    }
    told: dict[str, Any] = {
        "op_id": operation_id(f"console/{branch}", inputs),
        "message": message,
        "project": project,
    }
    first, conditions, sampling = recipe.sources[0].rev, recipe.conditions, recipe.sampling
    if recipe.kind == "filter":
        return filter_dataset(store, first, branch, conditions, **told)
    if recipe.kind == "sample" and sampling:
        return sample(store, first, branch, sampling, **told)
    told |= {"strategy": recipe.strategy, "exclude": recipe.exclude}
    if recipe.kind == "merge":
        return merge(store, recipe.sources, branch, **told)
    return fuse(store, recipe.sources, branch, conditions=conditions, sampling=sampling, **told)


def _text(name: str, value: Any) -> str:
    """The one text that stands for a value, as a command line has it."""
    if isinstance(value, list | tuple):
        parts = [_text(name, each) for each in value]
        return ";".join(part for part in parts if part)
    if value is None or value is True or value is False:
        return ""
    if not isinstance(value, str | int | float):
        raise _bad(f"`{name}` is no text, number or list", "Write it as on a command line")
    return str(value).strip()


def _names(text: str) -> Iterator[str]:
    return (name.strip() for name in text.split(";") if name.strip())


def _choice(name: str, said: Mapping[str, str]) -> str:
    choices: Sequence[str] = _CHOICES[name]
    chosen = said.get(name, choices[0])
    if chosen not in choices:
        raise _bad(f"`{name}` cannot be `{chosen[:60]}`", f"Use one of {', '.join(choices)}")
    return chosen


def _number(name: str, said: Mapping[str, str], kind: Callable[[str], int | float]) -> Any:
    try:
        return kind(said[name]) if name in said else None
    except ValueError:
        raise _bad(f"`{name}` is no number: `{said[name][:60]}`", "Write digits") from None


def _bounds(name: str, text: str | None) -> Bounds | None:
    from mir_ops.dataset import Bounds

    if text is None:
        return None
    found = re.fullmatch(r"(\d{0,18})(?:(:)(\d{0,18}))?", text)
    if found is None:
        raise _bad(f"`{name}` is no range: `{text[:60]}`", "Write `MIN:MAX`, `MIN:` or `:MAX`")
    low, colon, high = found.groups()
    return Bounds(
        low=int(low) if low else None,
        high=(int(high) if high else None) if colon else int(low),
    )


def _bad(reason: str, hint: str) -> InvalidInputError:
    return InvalidInputError(reason, code="bad-recipe", hint=hint)
