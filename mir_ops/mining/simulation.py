"""Rounds replayed on labelled images: what mining would have been worth on this data."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.evaluation.frozen import frozen_images, frozen_sets
from mir_ops.mining.bench import Bench, class_ids_of, on
from mir_ops.mining.candidates import Flags
from mir_ops.mining.reading import read_labelled, whole
from mir_ops.mining.registry import check_parameters
from mir_ops.mining.selection import select
from mir_ops.store.schema import ASSET_ID, PREDICTIONS

if TYPE_CHECKING:
    from mir_ops.executor import InferenceResult
    from mir_ops.executor.jobs import ExecutorImage
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
    def of(cls, version: Version, frozen: pa.Array | None = None) -> Parts:
        """By the splits of the labelled images; a fifth is held out where there are none.

        Images of frozen test sets are measured on, if they are in that part, and nothing else.
        """
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
        kept = np.zeros(len(ids), bool) if frozen is None else _among(ids, frozen)
        rest = ~(mask["test"] | mask["val"] | kept)
        val = (mask["val"] if mask["val"].any() else mask["test"]) & ~kept
        if not val.any():
            val = rest & _drawn(len(ids))
            rest &= ~val
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
        self.plan, self.version, self.folder = plan, version, folder
        store = desk.ws.store
        self.parts = Parts.of(version, frozen_images(store, frozen_sets(store).values()))
        self.bench = Bench(
            name=f"simulate/{plan.name}",
            desk=replace(desk, jobs_dir=folder / "jobs"),
            version=version,
            image=image,
            classes=class_ids_of(version, plan.classes),
            validation=self.parts.validation,
            train=plan.train,
            infer=plan.infer,
        )
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
        """Every model in turn, those of an earlier run from their files.

        While another process is at the same simulation this is a `ConflictError`.
        """
        with _alone(self.folder):
            for seed in self.plan.seeds:
                yield from self._curves(seed)

    def _curves(self, seed: int) -> Iterator[Cell]:
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
        if (done := read_cell(path)) is not None and done.labelled == labelled:
            return done
        cell = self._work(seed, strategy, number, labelled)
        write_cell(path, cell)
        return cell

    def _work(
        self, seed: int, strategy: str | None, number: int, labelled: tuple[str, ...]
    ) -> Cell:
        key = f"seed-{seed}-{number}-{strategy or 'first'}"
        last = number == self.plan.rounds
        following = () if last else self.plan.strategies if strategy is None else (strategy,)
        found, metrics = self.bench.trial(
            key,
            seed,
            sorted_ids_of(labelled),
            self.parts.test,
            pool=self.parts.pool if following else None,
            mine="executor" in following,
        )
        picks = {
            each: self._select(each, self._left(labelled), self.plan.budget, seed, found, labelled)
            for each in following
        }
        return Cell(
            seed=seed,
            strategy=strategy,
            number=number,
            images=len(labelled),
            boxes=self.bench.truth(sorted_ids_of(labelled)).num_rows,
            map50=metrics["map50"],
            map50_95=metrics["map50_95"],
            labelled=labelled,
            next={each: ids for each, (ids, _) in picks.items()},
            notes=tuple(dict.fromkeys(note for _, notes in picks.values() for note in notes)),
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
        known = sorted_ids_of(labelled)
        selection = select(
            strategy,
            assets=self.version.assets(ids=pool),
            predictions=found.predictions if found else PREDICTIONS.empty_table(),
            classes={class_id: name for name, class_id in self.bench.classes.items()},
            budget=budget,
            seed=seed,
            embeddings=vectors,
            labelled=read_labelled(self.bench.truth(known), vectors and on(vectors, known)),
            ranking=found.mining if found else None,
        )
        scores = selection.scores
        picked = scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")
        return tuple(one.hex() for one in picked["asset_id"].to_pylist()), selection.notes

    def _left(self, labelled: tuple[str, ...]) -> pa.Array:
        return self.parts.pool.filter(pc.invert(pc.is_in(self.parts.pool, sorted_ids_of(labelled))))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else works in this folder meanwhile; the system lets go when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"Another process is at this simulation, in `{folder}`",
                code="folder-in-use",
                hint="Let it end: what it has done is not done again; or name another `--out`",
            ) from None
        yield


def _among(ids: pa.Array, others: pa.Array) -> Flags:
    found: Flags = pc.is_in(ids, value_set=others).to_numpy(zero_copy_only=False)
    return found


def _drawn(count: int) -> np.ndarray:
    """A fifth of so many, the same for every seed and strategy."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(count)
    mask = np.zeros(count, bool)
    mask[order[: round(count * _HELD_OUT)]] = True
    return mask


def sorted_ids_of(names: tuple[str, ...]) -> pa.Array:
    """Asset ids from their names in hex."""
    ids = pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
    return ids.take(pc.sort_indices(ids))


def read_cell(path: Path) -> Cell | None:
    """What `write_cell` wrote, if it did."""
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


def write_cell(path: Path, cell: Cell) -> None:
    """Keep a finished model: the whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(cell)), encoding="utf-8")
    os.replace(partial, path)
