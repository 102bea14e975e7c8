"""`mir simulate`: would mining help on these images? Rounds replayed on labels that exist."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import add_job, read_asked
from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.jobs import Asked
    from mir_ops.cli.repository import Repository
    from mir_ops.mining.simulation import Plan
    from mir_ops.mining.worth import Worth
    from mir_ops.store import Version


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "simulate",
        help="Replay rounds on labelled images: would mining help here",
        description="Pretend that most labels are not known yet, and buy them in rounds: once by "
        "each strategy, several times with other seeds. Every model is trained from scratch. "
        "Killed and started again with the same words it goes on; nothing in the store is changed.",
    )
    add = parser.add_argument
    add("rev", metavar="REV", help="A labelled version; split `test`, or `val`, measures")
    add("--strategies", default="random,hybrid", metavar="A,B", help="Default: random,hybrid")
    add("--rounds", type=int, default=4, metavar="N", help="Rounds of each (default: 4)")
    add("--budget", type=int, default=100, metavar="N", help="Images a round (default: 100)")
    add("--initial", type=int, metavar="N", help="Images labelled at first (default: the budget)")
    add("--seeds", default="0,1,2", metavar="N,M", help="One run for each (default: 0,1,2)")
    add("--infer-config-file", metavar="FILE", help="Settings for looking at images")
    add("--seconds-per-image", type=float, default=3.0, metavar="S", help="Cost model (default: 3)")
    add("--seconds-per-box", type=float, default=25.0, metavar="S", help="Cost model (default: 25)")
    add("--out", metavar="DIR", help="Folder of the report (default: below `.mir/simulations`)")
    add_job(parser)
    parser.set_defaults(run=run_simulate)


def run_simulate(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.arrow import spare_pandas
    from mir_ops.console.simulations import write_simulation
    from mir_ops.mining.simulation import Simulation
    from mir_ops.mining.worth import Cost, weigh

    spare_pandas()
    repository = repository_of(arguments)
    asked = read_asked(arguments, repository, "train", output)
    rev = repository.revision(arguments.rev)
    version = repository.store.read(rev)
    plan = _plan(arguments, asked, version)
    folder = _folder(arguments, repository, plan)
    simulation = Simulation(asked.desk, version, asked.image, plan, folder)
    folder.mkdir(parents=True, exist_ok=True)
    output.note(f"{simulation.total} models, kept in {folder}; {simulation.parts.note}")
    cells = []
    for cell in simulation.run():
        cells.append(cell)
        which = f"seed {cell.seed}, {cell.strategy or 'first model'}"
        output.note(
            f"{len(cells)} of {simulation.total}: {which}, "
            f"{cell.images} images, {cell.boxes} boxes, mAP50 {cell.map50:.3f}"
        )
    cost = Cost(per_image=arguments.seconds_per_image, per_box=arguments.seconds_per_box)
    worth = weigh(cells, plan.strategies, cost)
    lines = [
        f"{rev} {version.id[:12]}, {simulation.parts.note}; {asked.image.name}; "
        f"{plan.initial} images at first, {plan.rounds} rounds of {plan.budget}, "
        f"seeds {', '.join(map(str, plan.seeds))}."
    ]
    page = write_simulation(worth, folder, title=f"Would mining help on {rev}?", lines=lines)
    _say(output, worth, page)
    return 0


def _plan(arguments: argparse.Namespace, asked: Asked, version: Version) -> Plan:
    from mir_ops.executor.task_files import read_task_file
    from mir_ops.mining.simulation import Plan

    file = arguments.infer_config_file
    return Plan(
        source=version.commit.id,
        image=asked.image.digest or asked.image.image,
        strategies=tuple(dict.fromkeys(_words(arguments.strategies))),
        rounds=arguments.rounds,
        budget=arguments.budget,
        initial=arguments.budget if arguments.initial is None else arguments.initial,
        seeds=read_seeds(arguments.seeds),
        classes=asked.file.class_names or tuple(version.taxonomy.names),
        train=dict(asked.file.config),
        infer=dict(read_task_file(Path(file)).config) if file else {},
    )


def _folder(arguments: argparse.Namespace, repository: Repository, plan: Plan) -> Path:
    below = Path(arguments.out) if arguments.out else repository.folder / "simulations"
    return (below / plan.name).absolute()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def read_seeds(text: str) -> tuple[int, ...]:
    """Numbers, separated by commas."""
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise InvalidInputError(
            f"`--seeds` is `{text}`", code="bad-simulation", hint="Give numbers, as in `0,1,2`"
        ) from None


def _say(output: Output, worth: Worth, page: Path) -> None:
    from mir_ops.mining.worth import told

    if output.json:
        output.record({**worth.to_dict(), "report": str(page)})
        return
    rows = [
        (name, point.number, point.images, f"{point.boxes:.0f}", f"{point.map50:.3f}")
        for name, points in worth.curves.items()
        for point in points
    ]
    columns = ("strategy", "round", "images", "boxes", "map50")
    output.table(columns, rows, right=columns[1:])
    for each in worth.against:
        found = (
            ("mAP50 for the same images", told(each.at_equal_images, 3)),
            ("mAP50 for the same boxes", told(each.at_equal_boxes, 3)),
            ("images saved", told(each.saved_images, 0)),
            ("boxes saved", told(each.saved_boxes, 0)),
            ("hours saved", told(each.saved_hours, 1)),
        )
        said = [f"  {what}: {value}" for what, value in found]
        output.record({}, ["", f"{each.strategy} against {each.control}, 90 % intervals:", *said])
        output.record({}, [f"  {each.verdict}"])
    for note in worth.notes:
        output.note(note)
    output.note(f"Report: {page}")
