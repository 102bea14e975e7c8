"""Drawing images by seed: the same images, amount and seed give the same draw, in any order.

Each image has a place in line that depends on its id and the seed alone. A rate drawn from a
version and from its next one therefore agree about nearly all images that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.conditions import layer_rows
from mir_ops.errors import InvalidInputError
from mir_ops.store import rows

if TYPE_CHECKING:
    from mir_ops.store import Version

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ATTRIBUTE = "attribute:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """`count` images, or the share `rate` of them. `stratify` keeps the mix: see `strata_of`."""

    count: int | None = None
    rate: float | None = None
    seed: int = 0
    stratify: str | None = None

    def __post_init__(self) -> None:
        _check_amount(self.count, self.rate)
        check_seed(self.seed)
        check_strata(self.stratify)

    def to_parameters(self) -> dict[str, Any]:
        """What a commit's operation records beside the seed."""
        return {"count": self.count, "rate": self.rate, "stratify": self.stratify}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], seed: int | None) -> Sampling:
        """The sampling that a commit's operation recorded."""
        return cls(
            count=parameters["count"],
            rate=parameters["rate"],
            seed=seed or 0,
            stratify=parameters.get("stratify"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Units to draw from: an image, or the images of a group that must stay together.

    `unit` says for each image which one it belongs to; the others have one entry for each unit:
    its number of images, its place in line, and its stratum.
    """

    unit: Codes
    weight: Codes
    place: npt.NDArray[np.uint64]
    stratum: Codes


def sampled_assets(version: Version, ids: pa.Array, sampling: Sampling) -> pa.Array:
    """The images drawn among `ids` (ascending, all of the version)."""
    if sampling.count is not None:
        amount = min(sampling.count, len(ids))
    else:
        amount = int(len(ids) * (sampling.rate or 0.0))
    strata = strata_of(version, sampling.stratify, ids)
    line = line_up(ids, strata, seed=sampling.seed)
    return ids.filter(pa.array(draw(line, amount)))


def line_up(ids: pa.Array, strata: Codes, *, seed: int, groups: pa.Array | None = None) -> Line:
    """Put images in the line of a seed; images of one group (null: of none) form one unit."""
    place = _mixed(rows.prefixes(ids) ^ _mixed(np.array([seed % 2**64], np.uint64)))
    if groups is None or groups.null_count == len(groups):
        unit = np.arange(len(ids))
        return Line(unit=unit, weight=np.ones(len(ids), np.int64), place=place, stratum=strata)
    codes = groups.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    alone = np.arange(len(ids)) + len(ids)
    _, first, unit = np.unique(
        np.where(codes < 0, alone, codes), return_index=True, return_inverse=True
    )
    earliest = place[first]
    np.minimum.at(earliest, unit, place)
    rarest = strata[first]
    np.minimum.at(rarest, unit, strata)
    return Line(unit=unit, weight=np.bincount(unit), place=earliest, stratum=rarest)


def draw(line: Line, amount: int, taken: Mask | None = None) -> Mask:
    """Which units are drawn to get `amount` images, from each stratum its share.

    Units in `taken` are left out. Exact where units are single images; a larger unit is in when
    its middle is.
    """
    units = np.lexsort((line.place, line.stratum))
    if taken is not None:
        units = units[~taken[units]]
    weight, stratum = line.weight[units], line.stratum[units]
    drawn = np.zeros(len(line.weight), bool)
    if len(units):
        ends = np.cumsum(weight)
        amount = min(amount, int(ends[-1]))
        last = np.append(np.flatnonzero(stratum[1:] != stratum[:-1]), len(units) - 1)
        # Rounded over all strata so far, so that the shares add up to the amount.
        share = np.diff((ends[last] * amount * 2 + ends[-1]) // (2 * ends[-1]), prepend=0)
        before = np.append(0, ends[last][:-1])
        number = np.searchsorted(last, np.arange(len(units)))
        middle = (ends - before[number]) * 2 - weight
        drawn[units[middle < 2 * share[number]]] = True
    return drawn


def strata_of(version: Version, by: str | None, ids: pa.Array) -> Codes:
    """The stratum of each image of `ids` (ascending): small numbers are rare.

    By `class`: the rarest class of its ground truth; by `split`; by `attribute:KEY`.
    """
    check_strata(by)
    if by is None:
        return np.zeros(len(ids), np.int64)
    if by == "class":
        return _class_strata(version, ids)
    column = "split" if by == "split" else "attributes"
    values = rows.one_array(version.assets(columns=[column], ids=ids)[column])
    if column == "attributes":
        values = pc.map_lookup(values, by.removeprefix(_ATTRIBUTE), "first")
    codes: Codes = values.dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)
    return _ranks(np.bincount(codes))[codes]


def check_seed(seed: int) -> None:
    """Refuse a seed that a commit cannot record."""
    if not -(2**63) < seed < 2**63:
        raise InvalidInputError(
            f"The seed {seed} is too large",
            code="bad-seed",
            hint="Use a whole number of at most 18 digits",
        )


def check_strata(by: str | None) -> None:
    """Refuse what images cannot be sorted by."""
    if by in (None, "class", "split") or (by.startswith(_ATTRIBUTE) and by != _ATTRIBUTE):
        return
    raise InvalidInputError(
        f"Cannot stratify by `{by}`",
        code="bad-strata",
        hint="Use `class`, `split` or `attribute:NAME`",
    )


def _class_strata(version: Version, ids: pa.Array) -> Codes:
    """Images without a box are a stratum of their own, the last one."""
    found = layer_rows(version, "ground_truth", version.asset_ids())
    everything = version.asset_ids()
    unlabelled = np.iinfo(np.int32).max
    rarest = np.full(len(everything), unlabelled, np.int64)
    if len(found.starts):
        counts = version.stats.layers["ground_truth"].class_assets
        classes = np.array(sorted(counts), np.int64)
        ranks = _ranks(np.array([counts[class_id] for class_id in sorted(counts)], np.int64))
        codes = ranks[np.searchsorted(classes, found.classes)]
        rarest[found.place] = np.minimum.reduceat(codes, found.starts)
    return rarest if len(ids) == len(everything) else rarest[rows.is_in(everything, ids)]


def _ranks(amounts: Codes) -> Codes:
    ranks = np.empty(len(amounts), np.int64)
    ranks[np.argsort(amounts, kind="stable")] = np.arange(len(amounts))
    return ranks


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input changes half of the output's."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _check_amount(count: int | None, rate: float | None) -> None:
    if (count is None) == (rate is None):
        raise InvalidInputError(
            "Sampling needs either a count or a rate",
            code="bad-sample",
            hint="Give one of `--count N` and `--rate 0.1`",
        )
    if count is not None and count < 0:
        raise InvalidInputError(
            f"Cannot sample {count} images", code="bad-sample", hint="Give a count of 0 or more"
        )
    if rate is not None and not 0 <= rate <= 1:
        raise InvalidInputError(
            f"Cannot sample at the rate {rate}", code="bad-sample", hint="Give a rate from 0 to 1"
        )
