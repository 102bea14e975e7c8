"""Does mining teach more than chance? Rounds of picking and training, against random, by seed.

Pools of scenes, long-tailed, with a crowded hard minority, balanced, and full of near-duplicates.
In each the reference detector is trained on images drawn at random, a strategy picks more by what
that model sees, and the next model is trained from scratch on all of them, and so on; the same
with random. Every model is measured on two tests that never change: one with the classes of the
pool, one with every class as often. Both lengths of training stop at a fixed iteration: `short`
is too short for the network to learn all there is, `converged` is not.

Without options: the default strategy against random, on the long tail at both lengths, on the
other pools at the short one, over three seeds. Each model is a line in `cells.jsonl`; a run that
was killed goes on, and a line counts for as long as the code that made it is the same. Seeds below
1000 are for tuning strategies, and were; those reported on were not looked at before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

# A worker is one thread: two of them use two processors best.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from learning_cells import (
    ALL,
    CONTROL,
    FIRST,
    TESTS,
    Cell,
    digests,
    parse_strategy,
    work,
)
from learning_curves import DEFAULT, LONG_TAIL, Group, draw, judge
from learning_figure import write_figure
from learning_pools import SETTINGS
from lines import report

FOLDER: Final = Path(__file__).parents[1] / ".mir-test" / "learning"
STRATEGIES: Final = (
    DEFAULT,
    "entropy:aggregate=sum",
    "entropy",
    "least-confidence",
    "margin",
    "class-rarity",
    "k-center",
    "distinct",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long models are trained, and how much is labelled in between.

    Random is labelled for more rounds: other strategies pick images with more boxes.
    """

    iterations: int
    budget: int
    rounds: int
    control_rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    initial: int
    pool_images: int
    test_images: int
    lengths: Mapping[str, Length]


REAL: Final = Scale(
    initial=100,
    pool_images=2000,
    test_images=400,
    lengths={
        "short": Length(iterations=600, budget=100, rounds=3, control_rounds=5),
        "converged": Length(iterations=2400, budget=150, rounds=2, control_rounds=3),
    },
)
TINY: Final = Scale(
    initial=12,
    pool_images=40,
    test_images=12,
    lengths={
        "short": Length(iterations=4, budget=4, rounds=1, control_rounds=2),
        "converged": Length(iterations=6, budget=4, rounds=1, control_rounds=2),
    },
)


class Results:
    """Lines of finished cells by their key. What a killed run wrote by half is not a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.codes = digests()
        self._lines: dict[str, dict[str, Any]] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        for line in map(json.loads, whole.splitlines()):
            self._lines[line["key"]] = line
        if len(whole) < len(text):
            path.write_text(whole, encoding="utf-8")

    def find(self, cell: Cell) -> dict[str, Any] | None:
        return self._lines.get(cell.key(self.codes))

    def add(self, line: dict[str, Any]) -> None:
        self._lines[line["key"]] = line
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def plan(options: argparse.Namespace) -> list[Group]:
    """The cells of every pool and length, those of the default run first."""
    scale = TINY if options.tiny else REAL
    groups = []
    for pool in options.pools:
        for length in scale.lengths:
            if pool == LONG_TAIL or length == "short" or options.all:
                cells = [
                    cell
                    for seed in options.seeds
                    for cell in _cells(scale, pool, length, seed, options.strategies)
                ]
                groups.append(Group(pool=pool, length=length, cells=cells, lines={}))
    return groups


def _cells(
    scale: Scale, pool: str, length: str, seed: int, strategies: Sequence[str]
) -> Iterator[Cell]:
    times = scale.lengths[length]

    def cell(strategy: str, number: int, budget: int, before: Cell | None) -> Cell:
        return Cell(
            pool=pool,
            seed=seed,
            length=length,
            strategy=strategy,
            number=number,
            budget=budget,
            iterations=times.iterations,
            pool_images=scale.pool_images,
            test_images=scale.test_images,
            before=before,
        )

    first = cell(FIRST, 0, scale.initial, None)
    yield first
    for strategy in (CONTROL, *strategies):
        before = first
        for number in range(1, 1 + (times.control_rounds if strategy == CONTROL else times.rounds)):
            before = cell(strategy, number, times.budget, before)
            yield before
    if pool == LONG_TAIL and length == "converged":
        yield cell(ALL, 1, scale.pool_images, None)


def work_off(cells: Sequence[Cell], results: Results, folder: Path, workers: int) -> None:
    """Have the cells made that are not there, the first ones first."""
    todo = [cell for cell in cells if results.find(cell) is None]
    print(f"{len(cells) - len(todo)} of {len(cells)} cells are there", file=sys.stderr, flush=True)
    running: dict[Future[dict[str, Any]], Cell] = {}
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    )
    with pool:
        while todo or running:
            for cell in [cell for cell in todo if _ready(cell, results)][: workers - len(running)]:
                todo.remove(cell)
                before = results.find(cell.before) if cell.before else None
                future = pool.submit(work, cell, cell.key(results.codes), before, folder)
                running[future] = cell
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                running.pop(done)
                results.add(done.result())
                _say(done.result(), len(cells) - len(todo) - len(running), len(cells))


def _ready(cell: Cell, results: Results) -> bool:
    return cell.before is None or results.find(cell.before) is not None


def _say(line: Mapping[str, Any], done: int, planned: int) -> None:
    reached = (f"{name} {line['tests'][name]['map50']:.3f}" for name in TESTS)
    print(
        f"{done}/{planned} {line['pool']} {line['length']}, seed {line['seed']}, "
        f"{line['strategy']} {line['number']}: {line['images']} images, {line['boxes']} boxes, "
        f"map50 {' '.join(reached)}, "
        f"{sum(line['cpu_seconds'].values()):.0f} CPU s",
        file=sys.stderr,
        flush=True,
    )


def _end_with(parent: int) -> None:
    """A worker ends when the program that started it has gone, killed perhaps."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--seeds", type=int, nargs="+", help="to report on: 1000 to 1002")
    parser.add_argument(
        "--strategies", nargs="+", metavar="NAME[:PARAMETER=VALUE,…]", help=f"against {CONTROL}"
    )
    parser.add_argument("--pools", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument(
        "--all", action="store_true", help="every strategy, both lengths everywhere, ten seeds"
    )
    parser.add_argument("--report", action="store_true", help="train nothing: tell what is there")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of results, models and plots")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="too small to say anything: for tests")
    options = parser.parse_args()
    options.seeds = options.seeds or list(range(1000, 1010 if options.all else 1003))
    options.strategies = options.strategies or list(STRATEGIES if options.all else (DEFAULT,))
    for strategy in options.strategies:
        parse_strategy(strategy)
    return options


def main() -> int:
    options = read_options()
    started = time.monotonic()
    results = Results(options.folder / "cells.jsonl")
    groups = plan(options)
    cells = [
        cell
        for seed in options.seeds
        for group in groups
        for cell in group.cells
        if cell.seed == seed
    ]
    if not options.report:
        work_off(cells, results, options.folder, options.workers)
    told = []
    for group in groups:
        found = {cell: line for cell in group.cells if (line := results.find(cell))}
        told.append(Group(pool=group.pool, length=group.length, cells=group.cells, lines=found))
    missed = report(judge(told), as_json=options.json)
    plots = options.folder / "plots"
    pages = [draw(group, plots, test) for group in told for test in TESTS]
    pages += [path for test in TESTS if write_figure(told, path := plots / f"{test}.svg", test)]
    for page in filter(None, pages):
        print(page, file=sys.stderr)
    print(f"{time.monotonic() - started:.0f} seconds", file=sys.stderr)
    return missed


if __name__ == "__main__":
    sys.exit(main())
