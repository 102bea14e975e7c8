"""What a round's control arm says, once its labels are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.rounds.executing import class_ids
from mir_ops.rounds.ledger import Entry
from mir_ops.rounds.pool import round_pool

if TYPE_CHECKING:
    from mir_ops.evaluation.sides import Sides
    from mir_ops.mining import Arms
    from mir_ops.mining.candidates import Flags, Floats
    from mir_ops.mining.control import Sample, Statistic

FOR_MAP: Final = 50  # labelled images that chance alone chose: mAP of fewer is not said
BOXES_FOR_MAP: Final = 10  # of a class, on those images
_IOU: Final = 0.5


def assess_control(entry: Entry) -> dict[str, Any] | None:
    """The pool's accuracy by the model that mined, and the yields of both arms.

    None where the round has no control arm, or no labels. The confidence that counts is the one
    that the evaluation chose, on other images.
    """
    steps = entry.ws.catalog.steps
    found = {name: steps.find(entry.round.id, name) for name in ("mine", "import_labels")}
    results = {name: each.result if each else None for name, each in found.items()}
    mined, labelled = results["mine"], results["import_labels"]
    if not mined or not labelled or not labelled["commit"] or not mined["model_id"]:
        return None
    arms = _arms(entry, mined)
    if not len(arms.random):
        return None
    return _Answers.read(entry, mined, labelled["commit"], arms).to_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """The labelled images of both arms, with what the model saw on them."""

    arms: Arms
    sides: Sides
    rare: tuple[str, ...]
    confidence: float
    metric: str
    pool: int

    @classmethod
    def read(cls, entry: Entry, mined: Mapping[str, Any], labels: str, arms: Arms) -> _Answers:
        from mir_ops.evaluation.sides import read_sides
        from mir_ops.mining.control import rare_classes

        store = entry.ws.store
        chosen = pa.concat_arrays([arms.mined, arms.alone])
        answered = store.read(labels).layer_assets("ground_truth")
        ids = chosen.filter(pc.is_in(chosen, value_set=answered))
        ids = ids.take(pc.sort_indices(ids))
        classes = {class_id: name for name, class_id in class_ids(entry).items()}
        sides = read_sides(
            ground_truth=store.read(labels).layer("ground_truth", ids=ids),
            predictions=store.read(mined["mining"]).layer(
                f"predictions:{mined['model_id']}", ids=ids
            ),
            assets=pa.table({"asset_id": ids}),
            classes=classes,
        )
        known = round_pool(entry.ws, entry.round.id).known(classes, None).boxes
        evaluated = entry.ws.catalog.steps.result(entry.round.id, "evaluate")
        return cls(
            arms=arms,
            sides=sides,
            rare=rare_classes({name: known.get(id_, 0) for id_, name in classes.items()}),
            confidence=float(evaluated["metrics"]["confidence"]),
            metric=entry.round.spec.stop.metric,
            pool=mined["candidates"],
        )

    def to_dict(self) -> dict[str, Any]:
        from mir_ops.mining.control import assess

        sample = self._sample()
        accuracy, notes = self._map(sample)
        found = assess(sample, more=accuracy).to_dict()
        answered = sample.answered
        return {
            "candidates": self.pool,
            "mined": {"picked": sample.picked, "labelled": answered[0]},
            "random": {
                "drawn": len(self.arms.random),
                "also_mined": len(self.arms.random) - sample.alone,
                "labelled": answered[1] + self._shared(),
            },
            "confidence": self.confidence,
            "rare_classes": list(self.rare),
            **found,
            "notes": [*found["notes"], *notes],
        }

    def _shared(self) -> int:
        """Labelled images that are in both arms."""
        ids = self.sides.asset_ids
        both = pc.and_(
            pc.is_in(ids, value_set=self.arms.mined), pc.is_in(ids, value_set=self.arms.random)
        )
        return int(pc.sum(both).as_py() or 0)

    def _sample(self) -> Sample:
        """How many boxes of each sort each image has, at IoU 0.5 and the confidence."""
        from mir_ops.evaluation.matching import AREAS, match
        from mir_ops.mining.control import Sample

        sides, bit = self.sides, np.uint64(1)
        sure = sides.found.only(sides.found.score >= self.confidence)
        matches = match(sides.truth, sure, thresholds=[_IOU], areas=[AREAS["all"]])
        counted = matches.aside & bit == 0
        hit = (matches.hit & bit == 1) & counted
        real = matches.ignored & bit == 0
        scarce = np.isin(sides.truth.label, [sides.names.index(name) for name in self.rare])
        right = self._per_image(matches.found.image[hit])
        boxes = self._per_image(sides.truth.image[real])
        counts = {
            "right": right,
            "wrong": self._per_image(matches.found.image[counted & ~hit]),
            "missed": boxes - right,
            "boxes": boxes,
        }
        if self.rare:
            counts["rare"] = self._per_image(sides.truth.image[real & scarce])
        return Sample(
            mined=np.asarray(pc.is_in(sides.asset_ids, value_set=self.arms.mined)),
            counts=counts,
            pool=self.pool,
            picked=len(self.arms.mined),
            alone=len(self.arms.alone),
        )

    def _per_image(self, images: npt.NDArray[np.integer[Any]]) -> Floats:
        return np.bincount(images, minlength=len(self.sides.asset_ids)).astype(np.float64)

    def _map(self, sample: Sample) -> tuple[dict[str, Statistic], list[str]]:
        """The metric that the project goes by, over the classes that these images can carry."""
        from mir_ops.evaluation.comparison import Weighted, match_for

        if sample.answered[1] < FOR_MAP:
            return {}, [f"{self.metric} on the pool needs {FOR_MAP} labelled random images"]
        enough = self._carried(~sample.mined)
        if not enough.any():
            return {}, [f"{self.metric} on the pool needs {BOXES_FOR_MAP} boxes of a class"]
        sides = self.sides
        truth = sides.truth.only(enough[sides.truth.label])
        weighted = Weighted.of(match_for(replace(sides, truth=truth), self.metric))

        def value(weights: Floats) -> Floats:
            return np.apply_along_axis(weighted.map, -1, weights)

        left = [name for name, there in zip(sides.names, enough, strict=True) if not there]
        notes = [f"{self.metric} on the pool is without {', '.join(left)}: too few boxes"]
        return {self.metric: value}, notes if left else []

    def _carried(self, alone: Flags) -> Flags:
        """For each class whether the random images have enough boxes of it."""
        truth = self.sides.truth
        mine = truth.label[alone[truth.image] & ~truth.crowd]
        return np.bincount(mine, minlength=len(self.sides.names)) >= BOXES_FOR_MAP


def _arms(entry: Entry, mined: Mapping[str, Any]) -> Arms:
    from mir_ops.mining import read_arms

    return read_arms(entry.ws.store.read(mined["mining"]).layer(mined["scores"]))


def control_lines(control: Mapping[str, Any] | None) -> list[str]:
    """What a record says of the control arm, in sentences for people."""
    if control is None:
        return []
    drawn, mined = control["random"], control["mined"]
    lines = [
        f"Control arm: {drawn['drawn']} images drawn at random of {control['candidates']} "
        f"candidates ({drawn['also_mined']} mined too), {drawn['labelled']} labelled; "
        f"{mined['labelled']} of {mined['picked']} mined images labelled."
    ]
    figures = [
        f"{name} {each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]"
        for name, each in control["pool"].items()
    ]
    if figures:
        lines.append(
            f"The model on the whole pool, at confidence {control['confidence']:.2f} "
            f"(90 % intervals): {', '.join(figures)}."
        )
    for name, each in control["yields"].items():
        verdict = {"more": "mining finds more", "less": "mining finds less"}.get(
            each["verdict"], each["verdict"]
        )
        lines.append(
            f"{name.capitalize()}: mined {each['mined']:.2f}, random {each['random']:.2f}, "
            f"difference {each['difference']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]: "
            f"{verdict}."
        )
    return [*lines, *(f"{note[:1].upper()}{note[1:]}." for note in control["notes"])]
