"""What mining was worth in accuracy, from the control arms that closed rounds have left.

Two models for each seed: both learn from what was labelled before the first of these rounds, one
also from all images that were drawn at random since, the other from as many mined ones, as many of
each round. Which mined ones is drawn anew for each seed. An image that both arms chose may be in
both. They are measured on the validation images; the difference is paired by seed, with the
interval of Student's t. It covers the chance of training and of which mined images were taken, not
that of which random images the rounds happened to draw: more rounds make that smaller.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import Round
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.rounds.candidates import digest, without
from mir_ops.rounds.executing import image_inputs, image_of, limits_of
from mir_ops.workspace import Runner, Workspace

if TYPE_CHECKING:
    from mir_ops.executor.jobs import Limits
    from mir_ops.executor.tasks import Desk
    from mir_ops.mining.bench import Bench
    from mir_ops.mining.simulation import Cell
    from mir_ops.mining.worth import Estimate
    from mir_ops.store import Version

LEAST: Final = 50  # labelled random images: fewer teach too little to tell
FEWEST_SEEDS: Final = 3
ARMS: Final = ("random", "mined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulated:
    """Labelled images of both arms, of each round; `base` is what was labelled before."""

    rounds: tuple[int, ...]
    version: Version
    base: pa.Array
    mined: tuple[pa.Array, ...]
    random: tuple[pa.Array, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many images of each round both arms can give."""
        pairs = zip(self.mined, self.random, strict=True)
        return tuple(min(len(mined), len(drawn)) for mined, drawn in pairs)

    def arm(self, name: str, seed: int) -> pa.Array:
        """`base` and as many images of this arm as of the other, sorted."""
        from mir_ops.mining.candidates import draws_of

        taken = [self.base]
        for ids, size in zip(getattr(self, name), self.sizes, strict=True):
            order = np.argsort(draws_of(ids, seed), kind="stable")[:size]
            taken.append(ids.take(pa.array(order)))
        joined = pc.unique(pa.concat_arrays(taken))
        return joined.take(pc.sort_indices(joined))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmsWorth:
    """`difference` is mined less random, None as long as too little has accumulated."""

    project: str
    rounds: tuple[int, ...]
    images: int  # of each arm
    base: int
    metric: str
    means: dict[str, float]
    boxes: dict[str, float]
    difference: Estimate | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def arms_worth(
    ws: Workspace,
    project: str,
    folder: Path,
    *,
    seeds: Sequence[int],
    runner: Runner | None = None,
    on_trial: Callable[[Cell], None] = lambda _: None,
) -> ArmsWorth:
    """Train both arms on each seed; finished models are files below `folder`, and not made again.

    As long as fewer than 50 random images are labelled nothing is trained.
    """
    _check(seeds)
    found = accumulated(ws, project)
    spec = ws.catalog.projects.get(project).spec
    images, metric = sum(found.sizes), spec.stop.metric
    empty = ArmsWorth(
        project=project,
        rounds=found.rounds,
        images=images,
        base=len(found.base),
        metric=metric,
        means={},
        boxes={},
        difference=None,
        verdict=f"cannot tell yet: {images} labelled random images so far, {LEAST} are needed",
    )
    if images < LEAST:
        return empty
    trials = _Trials.of(ws, project, found, folder, runner)
    cells = []
    for seed in seeds:
        for arm in ARMS:
            cells.append(trials.cell(arm, seed))
            on_trial(cells[-1])
    return _weighed(empty, cells)


def accumulated(ws: Workspace, project: str) -> Accumulated:
    """Both arms of all closed rounds of the project that had a control arm and got labels."""
    from mir_ops.mining import read_arms

    closed = [each for each in ws.catalog.rounds.list(project) if each.state == "closed"]
    with_arms = [each for each in closed if _had_control(ws, each)]
    if not with_arms:
        raise NotFoundError(
            f"No closed round of `{project}` has a control arm",
            code="no-control-arm",
            hint="Set `mining.control` of the project, and close a round",
        )
    steps = ws.catalog.steps
    version = ws.store.read(steps.result(closed[-1].id, "close_round")["training"])
    first = ws.store.read(steps.result(with_arms[0].id, "merge_training")["commit"])
    known = _for_training(version)
    arms = []
    for each in with_arms:
        mined = steps.result(each.id, "mine")
        arms.append(read_arms(ws.store.read(mined["mining"]).layer(mined["scores"])))
    return Accumulated(
        rounds=tuple(each.number for each in with_arms),
        version=version,
        base=_only(_for_training(first), known),
        mined=_once([_only(each.mined, known) for each in arms]),
        random=_once([_only(each.random, known) for each in arms]),
    )


def _weighed(start: ArmsWorth, cells: Sequence[Cell]) -> ArmsWorth:
    from mir_ops.mining.worth import estimate

    def values(arm: str, what: str) -> list[float]:
        return [float(getattr(cell, what)) for cell in cells if cell.strategy == arm]

    reached = {arm: values(arm, start.metric) for arm in ARMS}
    pairs = zip(reached["mined"], reached["random"], strict=True)
    difference = estimate([mined - drawn for mined, drawn in pairs])
    verdict = {
        1: "mining is worth more than random picks here",
        0: "cannot tell yet: the interval spans 0",
        -1: "mining is worth less than random picks here",
    }[difference.sign]
    return replace(
        start,
        means={arm: float(np.mean(each)) for arm, each in reached.items()},
        boxes={arm: float(np.mean(values(arm, "boxes"))) for arm in ARMS},
        difference=difference,
        verdict=verdict,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trials:
    """Trains one arm on one seed, or reads what came of it before."""

    found: Accumulated
    bench: Bench
    folder: Path

    @classmethod
    def of(
        cls, ws: Workspace, project: str, found: Accumulated, folder: Path, runner: Runner | None
    ) -> _Trials:
        from mir_ops.executor.images import described
        from mir_ops.executor.models import choose_model
        from mir_ops.mining.bench import Bench, class_ids_of

        spec = ws.catalog.projects.get(project).spec
        config = spec.executor.config
        image = described(image_of(spec))
        how = runner or ("docker" if image.folder is None else "process")
        said = {
            "version": found.version.commit.id,
            "base": digest(found.base),
            "rounds": list(found.rounds),
            "image": image_inputs(replace(ws, runner=how), spec),
            "train": config.train,
            "infer": config.infer,
            "pretrained": spec.pretrained,
        }
        name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
        bench = Bench(
            name=f"worth/{name}",
            desk=_desk(ws, folder / name, how, limits_of(spec)),
            version=found.version,
            image=image,
            classes=class_ids_of(found.version, spec.classes),
            validation=_of_split(found.version, "val"),
            train=config.train,
            infer=config.infer,
            start=choose_model(ws, spec.pretrained).files() if spec.pretrained else None,
        )
        return cls(found=found, bench=bench, folder=folder / name)

    def cell(self, arm: str, seed: int) -> Cell:
        from mir_ops.mining.simulation import Cell, read_cell, write_cell

        key = f"seed-{seed}-{arm}"
        path = self.folder / f"{key}.json"
        ids = self.found.arm(arm, seed)
        if (done := read_cell(path)) is not None:
            return done
        _, metrics = self.bench.trial(key, seed, ids, self.bench.validation)
        cell = Cell(
            seed=seed,
            strategy=arm,
            number=1,
            images=len(ids),
            boxes=self.bench.truth(ids).num_rows,
            map50=metrics["map50"],
            map50_95=metrics["map50_95"],
            labelled=tuple(one.hex() for one in ids.to_pylist()),
            next={},
        )
        write_cell(path, cell)
        return cell


def _desk(ws: Workspace, folder: Path, runner: Runner, limits: Limits) -> Desk:
    from mir_ops.executor.tasks import Desk

    return Desk(
        ws=ws,
        runner=runner,
        jobs_dir=folder / "jobs",
        cache_dir=ws.cache_dir,
        limits=limits,
    )


def _had_control(ws: Workspace, round_: Round) -> bool:
    closing = ws.catalog.steps.find(round_.id, "close_round")
    return bool(closing and closing.result and closing.result.get("control"))


def _for_training(version: Version) -> pa.Array:
    return _of_split(version, "train")


def _of_split(version: Version, split: str) -> pa.Array:
    """Labelled images of a split, sorted."""
    assets = version.assets(columns=["asset_id", "split"])
    mine = pc.fill_null(pc.equal(assets["split"], split), False)
    ids = assets.filter(mine)["asset_id"].combine_chunks()
    ids = _only(ids, version.layer_assets("ground_truth"))
    return ids.take(pc.sort_indices(ids))


def _only(ids: pa.Array, known: pa.Array) -> pa.Array:
    return ids.filter(pc.is_in(ids, value_set=known))


def _once(rounds: Sequence[pa.Array]) -> tuple[pa.Array, ...]:
    """Each image in the first round that has it: where rounds may look at labelled images."""
    kept: list[pa.Array] = []
    for ids in rounds:
        kept.append(without(ids, kept))
    return tuple(kept)


def _check(seeds: Sequence[int]) -> None:
    if len(set(seeds)) < max(FEWEST_SEEDS, len(seeds)) or min(seeds) < 0:
        raise InvalidInputError(
            f"Seeds are {', '.join(map(str, seeds)) or 'none'}",
            code="bad-seeds",
            hint=f"Name at least {FEWEST_SEEDS}, each once, none below 0",
        )
