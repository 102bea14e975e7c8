"""What the control arm says of a round: the pool's accuracy, and what mining found against chance.

The labelled images of a round are of two strata. What the strategy picked was chosen with
certainty: it stands for itself. What chance alone chose is a simple random sample of all candidates
that the strategy did not pick (see `Control.divide`): each stands for as many as its stratum has
images for each that is labelled. An image that both chose is in the first stratum, once.

**Accuracy on the pool.** Weighted in this way, sums over the labelled images (right, wrong and
missed boxes) are unbiased estimates of the sums over the whole pool: the estimator of Horvitz and
Thompson (JASA 1952) for a design with a certainty stratum (Cochran, *Sampling Techniques*, 1977,
ch. 5); the same weights are used for evaluating on actively chosen samples by Kossen et al.
(*Active Testing*, ICML 2021) and Farquhar et al. (ICLR 2021). Mined images alone would measure the
model on what it finds hardest. Precision, recall and mAP are functions of such sums: they are
consistent, and their bias is of order 1 / n. Labels that never came are taken as missing at random
within their stratum; their number is told.

**Mined against random.** What a mined image brought, less what an image of the pool would have
brought in the mean, which is estimated with the same weights.

**Intervals** hold 90 %. Their standard errors are those of the rescaling bootstrap of Rao and Wu
(JASA 1988) within the strata; of the accuracy with its correction for finite populations, so that a
pool that is labelled whole leaves no doubt; of the differences without it, and with the mined
images resampled too: they are about images like these. They reach Student's t either way, with the
degrees of freedom of the smaller sample, shares on the scale of log odds. The tests measure how
often they hold what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from mir_ops.mining.candidates import Flags, Floats
from mir_ops.mining.intervals import student

LEAST: Final = 5  # labelled images that chance alone chose: fewer say nothing
RESAMPLES: Final = 1000
TELLS_NOT: Final = "cannot tell yet"

# Of a weight for each labelled image, or of many such rows.
Statistic = Callable[[Floats], Floats]
_CELLS: Final = 1 << 20  # of weights worked on together


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An estimate, and the interval that holds the truth with 90 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What the mined brought for each image or box, what random picks would have, and by how much
    more: `more`, `less`, or that these images cannot tell."""

    mined: float
    random: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """In words."""
        if self.low <= 0 <= self.high:
            return TELLS_NOT
        return "more" if self.low > 0 else "less"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A round's labelled images, a row each: their arm, and how many boxes of each sort they have.

    `counts` has `right`, `wrong` (predictions), `missed`, `boxes` (labelled), and `rare`, if any
    class is. `picked` counts the images of the mined arm, `alone` those that chance alone chose,
    labelled or not.
    """

    mined: Flags
    counts: Mapping[str, Floats]
    pool: int
    picked: int
    alone: int

    @property
    def answered(self) -> tuple[int, int]:
        """Labelled images of the mined arm, and of those that chance alone chose."""
        return int(self.mined.sum()), int((~self.mined).sum())

    def weights(self) -> Floats:
        """How many images of the pool each stands for."""
        mined, alone = self.answered
        return np.where(
            self.mined, self.picked / max(1, mined), (self.pool - self.picked) / max(1, alone)
        )

    def sampled(self) -> tuple[float, float]:
        """Which share of each stratum is labelled; of one without images all."""
        mined, alone = self.answered
        rest = self.pool - self.picked
        return mined / self.picked if self.picked else 1.0, alone / rest if rest else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """`pool`: the model's accuracy on the pool by name. `yields`: `misses`, `false positives`,
    `boxes` and `rare boxes`, each per image or per box. What the images cannot carry is left out,
    and `notes` say so."""

    pool: Mapping[str, Figure] = field(default_factory=dict)
    yields: Mapping[str, Yield] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        yields = {
            name: {**asdict(each), "verdict": each.verdict} for name, each in self.yields.items()
        }
        pool = {name: asdict(each) for name, each in self.pool.items()}
        return {"pool": pool, "yields": yields, "notes": list(self.notes)}


def assess(
    sample: Sample,
    *,
    more: Mapping[str, Statistic] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Assessment:
    """Everything that a round's control arm can say; `more` are other shares to estimate."""
    mined, alone = sample.answered
    if alone < LEAST and sample.sampled() != (1.0, 1.0):
        return Assessment(
            notes=(
                f"{alone} labelled images were chosen by chance alone: of fewer than {LEAST} "
                "nothing is said",
            )
        )
    asked = {**_shares(sample), **(more or {})}
    spread = _spread(sample, asked, resamples, seed, finite=True)
    pool, notes = {}, []
    for name, statistic in asked.items():
        found = _figure(sample, statistic, spread[name])
        if found is None:
            notes.append(f"{name} on the pool: these images cannot carry it")
        else:
            pool[name] = found
    lost = sample.picked + sample.alone - mined - alone
    if lost:
        notes.append(f"{lost} picked images have no labels: taken as missing by chance")
    return Assessment(
        pool=pool, yields=_yields(sample, resamples, seed) if alone else {}, notes=tuple(notes)
    )


def _shares(sample: Sample) -> dict[str, Statistic]:
    right, wrong, missed = (sample.counts[name] for name in ("right", "wrong", "missed"))
    return {"precision": ratio(right, right + wrong), "recall": ratio(right, right + missed)}


def ratio(above: Floats, below: Floats) -> Statistic:
    """One weighted sum over another; NaN where there is nothing below."""

    def value(weights: Floats) -> Floats:
        under = np.asarray(weights @ below)
        nothing = np.full(under.shape, np.nan)
        shares: Floats = np.divide(weights @ above, under, out=nothing, where=under > 0)
        return shares

    return value


def _figure(sample: Sample, statistic: Statistic, error: float) -> Figure | None:
    """None where the estimate has no interval: all right or all wrong, in a sample."""
    value = float(statistic(sample.weights()))
    if not np.isfinite(value):
        return None
    if sample.sampled() == (1.0, 1.0):
        return Figure(value=value, low=value, high=value)
    if not 0 < value < 1 or not error > 0:
        return None
    odds = float(np.log(value / (1 - value)))
    half = student(_smaller(sample, finite=True)) * error / (value * (1 - value))
    low, high = (1 / (1 + float(np.exp(-(odds + way)))) for way in (-half, half))
    return Figure(value=value, low=low, high=high)


def _yields(sample: Sample, resamples: int, seed: int) -> dict[str, Yield]:
    """A mined image against one of the pool, and a labelled box of theirs."""
    below = {"image": np.ones(len(sample.mined)), "box": sample.counts["boxes"]}
    columns = {"misses": "missed", "false positives": "wrong", "boxes": "boxes"}
    columns |= {"rare boxes": "rare"} if "rare" in sample.counts else {}
    asked = {
        f"{name} per {per}": ratio(sample.counts[column], under)
        for name, column in columns.items()
        for per, under in below.items()
        if name != per + "es"
    }
    apart = {name: _lead(sample, statistic) for name, statistic in asked.items()}
    spread = _spread(sample, apart, resamples, seed, finite=False)
    half = student(_smaller(sample, finite=False))
    weights, found = sample.weights(), {}
    for name, statistic in asked.items():
        random, lead = float(statistic(weights)), float(apart[name](weights))
        way = half * spread[name]
        if np.isfinite([lead, way]).all():
            found[name] = Yield(
                mined=random + lead,
                random=random,
                difference=lead,
                low=lead - way,
                high=lead + way,
            )
    return found


def _lead(sample: Sample, statistic: Statistic) -> Statistic:
    """How much more it is on the mined images than on the pool."""
    return lambda weights: statistic(weights * sample.mined) - statistic(weights)


def _smaller(sample: Sample, *, finite: bool) -> int:
    """Images of the smaller of the samples that chance had a hand in."""
    sizes = zip(sample.answered, sample.sampled(), strict=True)
    return min(
        (size for size, share in sizes if size > 1 and not (finite and share >= 1)), default=2
    )


def _spread(
    sample: Sample, asked: Mapping[str, Statistic], resamples: int, seed: int, *, finite: bool
) -> dict[str, float]:
    """The standard error of each statistic."""
    rng = np.random.Generator(np.random.PCG64(seed))
    many: dict[str, list[Floats]] = {name: [] for name in asked}
    rows = max(1, _CELLS // max(1, len(sample.mined)))
    for start in range(0, resamples, rows):
        factors = _factors(sample, rng, min(rows, resamples - start), finite=finite)
        weights = factors * sample.weights()
        for name, statistic in asked.items():
            many[name].append(statistic(weights))
    errors = {}
    for name, parts in many.items():
        values = np.concatenate(parts)
        known = values[np.isfinite(values)]
        errors[name] = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    return errors


def _factors(sample: Sample, rng: np.random.Generator, rows: int, *, finite: bool) -> Floats:
    """What each image's weight is multiplied with, a row for each resample.

    From a stratum of n images n - 1 are drawn with repetition; `finite` draws the factors nearer
    to 1 by the share of the stratum that is labelled.
    """
    factors = np.ones((rows, len(sample.mined)))
    strata = (np.flatnonzero(sample.mined), np.flatnonzero(~sample.mined))
    for members, share in zip(strata, sample.sampled(), strict=True):
        size = len(members)
        if size < 2 or (finite and share >= 1):
            continue
        much = np.sqrt(1 - share) if finite else 1.0
        drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=rows)
        factors[:, members] = 1 - much + much * size / (size - 1) * drawn
    return factors


def rare_classes(boxes: Mapping[str, int]) -> tuple[str, ...]:
    """Classes with less than half as many labelled boxes as a class has in the mean."""
    mean = sum(boxes.values()) / max(1, len(boxes))
    return tuple(sorted(name for name, count in boxes.items() if count < mean / 2))
