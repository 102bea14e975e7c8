"""Rounds replayed on labelled images: what mining would have been worth on this data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.mining.reading import read_labelled, whole
from mir_ops.mining.registry import check_parameters
from mir_ops.mining.selection import select
from mir_ops.store import operation_id
from mir_ops.store.schema import ASSET_ID, PREDICTIONS

if TYPE_CHECKING:
    from mir_ops.executor import InferenceResult
    from mir_ops.executor.jobs import ExecutorImage, ModelFiles
    from mir_ops.executor.tasks import Desk
    from mir_ops.store import Version

CONTROL: Final = "random"
_HELD_OUT: Final = 0.2  # of the images, where none is in a split for measuring
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is simulated. The same plan on the same version goes on where it stopped."""

    source: str  # id of the commit
    image: str
    strategies: tuple[str, ...]
    rounds: int
    budget: int
    initial: int
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    train: Mapping[str, Any] = field(default_factory=dict)
    infer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The same for the same plan, but for the seeds: more of them go on with the others."""
        said = {**asdict(self), "seeds": None, "format": _FORMAT}
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[
            :12
        ]

    def check(self) -> None:
        """Refuse what cannot be simulated."""
        for strategy in self.strategies:
            check_parameters(strategy, {})
        numbers = {"rounds": self.rounds, "budget": self.budget, "initial": self.initial}
        for name, value in numbers.items():
            if value < 1:
                raise InvalidInputError(
                    f"`{name}` is {value}", code="bad-simulation", hint="It is at least 1"
                )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InvalidInputError(
                f"Seeds are {', '.join(map(str, self.seeds)) or 'none'}",
                code="bad-simulation",
                hint="Name each once, none below 0",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model: what it was trained on, what it reached, and what would be labelled next."""

    seed: int
    strategy: str | None  # None: the first model, which all strategies share
    number: int  # labelled so many times before
    images: int
    boxes: int
    map50: float
    map50_95: float
    labelled: tuple[str, ...]
    next: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"seed-{self.seed}-{self.number}-{self.strategy or 'first'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The images of a version: to choose from, to measure on, and for the training to look at."""

    pool: pa.Array
    test: pa.Array
    validation: pa.Array
    note: str

    @classmethod
    def of(cls, version: Version) -> Parts:
        """By the splits of the labelled images; a fifth is held out where there are none."""
        assets = version.assets(columns=["asset_id", "split"])
        known = pc.is_in(assets["asset_id"], value_set=version.layer_assets("ground_truth"))
        assets = assets.filter(known).sort_by("asset_id")
        ids, splits = whole(assets["asset_id"]), assets["split"].fill_null("").to_numpy()
        mask = {name: splits == name for name in ("val", "test")}
        note = "measured on the images of split test"
        if not mask["test"].any() and mask["val"].any():
            mask["test"], note = mask["val"], "measured on the images of split val"
        if not mask["test"].any():
            mask["test"] = _drawn(len(ids))
            note = f"measured on {mask['test'].sum()} images drawn from all: there is no split"
        val = mask["val"] if mask["val"].any() else mask["test"]
        rest = ~(mask["test"] | mask["val"])
        return cls(
            pool=ids.filter(pa.array(rest)),
            test=ids.filter(pa.array(mask["test"])),
            validation=ids.filter(pa.array(val)),
            note=note,
        )


class Simulation:
    """Trains, looks and picks in turn; every finished model is a file, and is not made again."""

    def __init__(
        self, desk: Desk, version: Version, image: ExecutorImage, plan: Plan, folder: Path
    ) -> None:
        plan.check()
        self.plan, self.version, self.image, self.folder = plan, version, image, folder
        self.desk = replace(desk, jobs_dir=folder / "jobs")
        self.parts = Parts.of(version)
        self.classes = _class_ids(version, plan.classes)
        needed = plan.initial + plan.rounds * plan.budget
        if len(self.parts.pool) < needed:
            raise InvalidInputError(
                f"{len(self.parts.pool)} labelled images can be chosen from, {needed} are asked "
                f"for: {plan.initial} at first and {plan.rounds} times {plan.budget}",
                code="pool-too-small",
                hint="Ask for fewer `--rounds`, a smaller `--budget` or `--initial`",
            )

    @property
    def total(self) -> int:
        """How many models are trained in all."""
        return len(self.plan.seeds) * (1 + len(self.plan.strategies) * self.plan.rounds)

    def run(self) -> Iterator[Cell]:
        """Every model in turn, those of an earlier run from their files."""
        for seed in self.plan.seeds:
            first = self._cell(seed, None, 0, self._first(seed))
            yield first
            for strategy in self.plan.strategies:
                cell = first
                for number in range(1, self.plan.rounds + 1):
                    chosen = (*cell.labelled, *cell.next[strategy])
                    cell = self._cell(seed, strategy, number, chosen)
                    yield cell

    def _first(self, seed: int) -> tuple[str, ...]:
        drawn = self._select(CONTROL, self.parts.pool, self.plan.initial, seed, None, ())
        return drawn[0]

    def _cell(
        self, seed: int, strategy: str | None, number: int, labelled: tuple[str, ...]
    ) -> Cell:
        path = self.folder / "models" / f"seed-{seed}-{number}-{strategy or 'first'}.json"
        if (done := _read(path)) is not None and done.labelled == labelled:
            return done
        cell = self._work(seed, strategy, number, labelled)
        _write(path, cell)
        return cell

    def _work(
        self, seed: int, strategy: str | None, number: int, labelled: tuple[str, ...]
    ) -> Cell:
        key = f"seed-{seed}-{number}-{strategy or 'first'}"
        last = number == self.plan.rounds
        following = () if last else self.plan.strategies if strategy is None else (strategy,)
        found, metrics = self._model(key, seed, _ids(labelled), following)
        picks = {
            each: self._select(each, self._left(labelled), self.plan.budget, seed, found, labelled)
            for each in following
        }
        return Cell(
            seed=seed,
            strategy=strategy,
            number=number,
            images=len(labelled),
            boxes=self._truth(_ids(labelled)).num_rows,
            map50=metrics["map50"],
            map50_95=metrics["map50_95"],
            labelled=labelled,
            next={each: ids for each, (ids, _) in picks.items()},
            notes=tuple(dict.fromkeys(note for _, notes in picks.values() for note in notes)),
        )

    def _model(
        self, key: str, seed: int, labelled: pa.Array, following: tuple[str, ...]
    ) -> tuple[InferenceResult, dict[str, Any]]:
        """Train on the labelled images, and look at those to measure on and to choose from."""
        from mir_ops.evaluation import evaluate
        from mir_ops.executor import collect_inference, collect_training, remove_job

        training = self._training(key, seed, labelled)
        self.desk.run(training)
        model = collect_training(training).model_files()
        seen = (
            pa.concat_arrays([self.parts.test, self.parts.pool]) if following else self.parts.test
        )
        look = self._looking(key, seed, seen, model, mine="executor" in following)
        self.desk.run(look)
        found = collect_inference(look, self.classes)
        metrics = evaluate(
            ground_truth=self.version.layer("ground_truth", ids=self.parts.test),
            predictions=_on(found.predictions, self.parts.test),
            assets=self.version.assets(columns=["asset_id"], ids=self.parts.test),
            classes={class_id: name for name, class_id in self.classes.items()},
        ).to_dict()
        remove_job(look)
        remove_job(training)
        return found, metrics

    def _training(self, key: str, seed: int, labelled: pa.Array) -> Any:
        from mir_ops.executor import AssetCache, prepare_training

        return prepare_training(
            self.desk.ws.store,
            _as_training(self.version, labelled, self.parts.validation),
            op_id=operation_id(f"simulate/{self.plan.name}", {"train": key}),
            image=self.image,
            class_names=self.plan.classes,
            config={**self.plan.train, "seed": seed},
            jobs_dir=self.desk.jobs_dir,
            cache=AssetCache(self.desk.cache_dir),
            limits=self.desk.limits,
            labels=self.desk.labels,
        )

    def _looking(self, key: str, seed: int, ids: pa.Array, model: ModelFiles, *, mine: bool) -> Any:
        from mir_ops.executor import AssetCache, prepare_inference

        return prepare_inference(
            self.desk.ws.store,
            self.version,
            op_id=operation_id(f"simulate/{self.plan.name}", {"look": key}),
            image=self.image,
            asset_ids=ids,
            model=model,
            config={**self.plan.infer, "seed": seed},
            jobs_dir=self.desk.jobs_dir,
            cache=AssetCache(self.desk.cache_dir),
            limits=self.desk.limits,
            labels=self.desk.labels,
            mine=mine,
        )

    def _select(
        self,
        strategy: str,
        pool: pa.Array,
        budget: int,
        seed: int,
        found: InferenceResult | None,
        labelled: tuple[str, ...],
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the picks by rank, and what the strategy had to do without."""
        vectors = found.embeddings if found else None
        known = _ids(labelled)
        selection = select(
            strategy,
            assets=self.version.assets(ids=pool),
            predictions=found.predictions if found else PREDICTIONS.empty_table(),
            classes={class_id: name for name, class_id in self.classes.items()},
            budget=budget,
            seed=seed,
            embeddings=vectors,
            labelled=read_labelled(self._truth(known), vectors and _on(vectors, known)),
            ranking=found.mining if found else None,
        )
        scores = selection.scores
        picked = scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")
        return tuple(one.hex() for one in picked["asset_id"].to_pylist()), selection.notes

    def _left(self, labelled: tuple[str, ...]) -> pa.Array:
        return self.parts.pool.filter(pc.invert(pc.is_in(self.parts.pool, _ids(labelled))))

    def _truth(self, ids: pa.Array) -> pa.Table:
        truth = self.version.layer("ground_truth", columns=["asset_id", "class_id"], ids=ids)
        wanted = pa.array(list(self.classes.values()), pa.int32())
        return truth.filter(pc.is_in(truth["class_id"], value_set=wanted))


def _as_training(version: Version, labelled: pa.Array, validation: pa.Array) -> Version:
    """The version with these images only, for training and for validation; nothing is committed."""
    from mir_ops.dataset.filtering import keep
    from mir_ops.dataset.previews import preview
    from mir_ops.store.changesets import ChangeSet

    ids = pa.concat_arrays([labelled, validation])
    kept = preview(version, keep(version, ids.take(pc.sort_indices(ids))))
    assets = kept.assets()
    for_training = pc.is_in(assets["asset_id"], value_set=labelled)
    place = assets.schema.get_field_index("split")
    splits = pc.if_else(for_training, "train", "val")
    changes = ChangeSet()
    changes.put_assets(assets.set_column(place, assets.schema.field(place), splits))
    return preview(kept, changes)


def _class_ids(version: Version, names: tuple[str, ...]) -> dict[str, int]:
    found = {name: version.taxonomy.id_of(name) for name in names}
    unknown = [name for name, class_id in found.items() if class_id is None]
    if unknown or not found:
        raise InvalidInputError(
            f"Classes unknown to the dataset: {', '.join(f'`{name}`' for name in unknown)}"
            if unknown
            else "The version has no classes",
            code="unknown-class",
            hint=f"It knows: {', '.join(version.taxonomy.names) or 'none'}",
        )
    return {name: class_id for name, class_id in found.items() if class_id is not None}


def _drawn(count: int) -> np.ndarray:
    """A fifth of so many, the same for every seed and strategy."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(count)
    mask = np.zeros(count, bool)
    mask[order[: round(count * _HELD_OUT)]] = True
    return mask


def _ids(names: tuple[str, ...]) -> pa.Array:
    ids = pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
    return ids.take(pc.sort_indices(ids))


def _on(table: pa.Table, ids: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["asset_id"], value_set=ids))


def _read(path: Path) -> Cell | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise InvalidInputError(
            f"`{path}` is not what a simulation wrote",
            code="bad-simulation",
            hint="Remove it: this model is then trained again",
        ) from None
    lists = {name: tuple(said[name]) for name in ("labelled", "notes")}
    return Cell(**{**said, **lists, "next": {k: tuple(v) for k, v in said["next"].items()}})


def _write(path: Path, cell: Cell) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(cell)), encoding="utf-8")
    os.replace(partial, path)
