"""How often the interval of the pool's mAP, from a round's two arms, holds what is true."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from mir_ops.evaluation.comparison import Weighted, match_for
from mir_ops.evaluation.sides import Sides, read_sides
from mir_ops.mining import Arms
from mir_ops.mining.control import assess
from mir_ops.rounds.control import _Answers
from mir_ops.store.schema import ASSET_ID

CLASSES = {0: "car", 1: "dog", 2: "cat", 3: "emu"}
SHARES = (0.55, 0.25, 0.15, 0.05)  # of the boxes: those of emus seldom suffice
POOL = 1500


class Pool:
    """Images of which a third is hard, a model's boxes on them, and the order mining would pick."""

    def __init__(self, seed: int) -> None:
        dice = np.random.default_rng(seed)
        raw = np.sort(np.frombuffer(dice.bytes(32 * POOL), "S32"))
        self.ids = pa.Array.from_buffers(ASSET_ID, POOL, [None, pa.py_buffer(raw.tobytes())])
        count = np.where(dice.random(POOL) < 0.25, 0, dice.poisson(2.5, POOL))
        hard = dice.random(POOL) < 0.3
        image = np.repeat(np.arange(POOL), count)
        label = dice.choice(4, len(image), p=SHARES)
        slot = np.concatenate([np.arange(each) for each in count])  # boxes never overlap
        self.truth = self._boxes(image, label, slot)
        sure = np.where(hard[image], 0.45, 0.85) - 0.1 * label
        found = dice.random(len(image)) < sure
        score = dice.beta(4, 2, len(image)) * np.where(hard[image], 0.8, 1.0)
        named = np.where(dice.random(len(image)) < 0.07, dice.integers(0, 4, len(image)), label)
        wrong = np.repeat(np.arange(POOL), dice.poisson(np.where(hard, 1.2, 0.4)))
        image = np.concatenate([image[found], wrong])
        label = np.concatenate([named[found], dice.choice(4, len(wrong), p=SHARES)])
        slot = np.concatenate([slot[found], 50 + np.arange(len(wrong)) % 40])
        score = np.concatenate([score[found], dice.beta(2, 3, len(wrong))])
        self.found = self._boxes(image, label, slot).append_column(
            "confidence", pa.array(score.astype(np.float32))
        )
        doubt = np.bincount(image, score * (1 - score), POOL)
        self.order = np.argsort(-(doubt + dice.normal(0, 0.05, POOL)))

    def _boxes(self, image: np.ndarray, label: np.ndarray, slot: np.ndarray) -> pa.Table:
        side = {"x": 20.0 * (slot % 10), "y": 20.0 * (slot // 10), "w": slot * 0 + 10.0}
        numbers = {name: pa.array(values.astype(np.float32)) for name, values in side.items()}
        return pa.table(
            {
                "asset_id": self.ids.take(pa.array(image)),
                "annotation_id": pa.array(np.arange(len(image)), pa.uint64()),
                "class_id": pa.array(label.astype(np.int32)),
                **numbers,
                "h": numbers["w"],
            }
        )

    def sides(self, ids: pa.Array, classes: dict[int, str] = CLASSES) -> Sides:
        return read_sides(
            ground_truth=self.truth,
            predictions=self.found,
            assets=pa.table({"asset_id": ids}),
            classes=classes,
        )

    def true_map(self, names: list[str]) -> float:
        """Of these classes, over the whole pool."""
        sides = self.sides(self.ids, {n: name for n, name in CLASSES.items() if name in names})
        return Weighted.of(match_for(sides, "map50")).map(np.ones(POOL, np.int64))

    def arms(self, budget: int, share: float, seed: int) -> Arms:
        """As a round divides its budget; see `tests/mining/test_arms.py`."""
        dice = np.random.default_rng(seed)
        drawn = dice.choice(POOL, int(share * budget + 0.5), replace=False)
        taken = budget - len(drawn)
        while taken + len(drawn[~np.isin(drawn, self.order[:taken])]) < budget:
            taken += 1
        mined = np.sort(self.order[:taken])
        return Arms(
            mined=self.ids.take(pa.array(mined)), random=self.ids.take(pa.array(np.sort(drawn)))
        )


def interval(pool: Pool, arms: Arms, resamples: int) -> tuple[float, float, float] | None:
    """Low, high and the truth that they should hold; None where too few images are labelled."""
    ids = pa.concat_arrays([arms.mined, arms.alone])
    answers = _Answers(
        arms=arms,
        sides=pool.sides(ids),
        rare=(),
        confidence=0.3,
        metric="map50",
        pool=POOL,
    )
    sample = answers._sample()
    statistics, _ = answers._map(sample)
    if not statistics:
        return None
    figure = assess(sample, more=statistics, resamples=resamples).pool["map50"]
    carried = answers._carried(~sample.mined)
    names = [name for name, there in zip(answers.sides.names, carried, strict=True) if there]
    return figure.low, figure.high, pool.true_map(names)


def coverage(trials: int, budget: int, share: float) -> tuple[float, float]:
    """How often the interval holds the truth, and how wide it is in the median."""
    held, wide = [], []
    for trial in range(trials):
        if trial % 10 == 0:
            pool = Pool(trial)
        found = interval(pool, pool.arms(budget, share, 1000 + trial), 200)
        if found is not None:
            low, high, true = found
            held.append(low <= true <= high)
            wide.append(high - low)
    assert len(held) > trials / 2
    return float(np.mean(held)), float(np.median(wide))


def test_the_interval_of_map_holds_the_truth() -> None:
    held, wide = coverage(60, 300, 0.2)

    # 52 of 60 are expected; 44 or fewer come by chance in 1 of 500.
    assert held > 0.74
    assert 0.05 < wide < 0.3


@pytest.mark.long
@pytest.mark.parametrize(("budget", "share"), [(120, 0.5), (300, 0.2), (600, 0.2)])
def test_the_interval_of_map_holds_the_truth_nearly_as_often_as_it_says(
    budget: int, share: float
) -> None:
    held, _ = coverage(int(os.environ.get("MIR_TRIALS", "1000")), budget, share)

    # Said are 90 %; measured were 86 and 87 % with 60 random images, 89 with 120.
    assert 0.83 < held < 0.94
