"""`mir round worth`: what mining was worth in accuracy, from the control arms of closed rounds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output

if TYPE_CHECKING:
    from mir_ops.mining.simulation import Cell


def register_worth(actions: Any) -> None:
    """Add `worth` to `mir round`."""
    worth = actions.add_parser(
        "worth",
        help="Train both arms of a project's rounds, and say what mining was worth",
        description="For each seed one model learns from the images that were drawn at random in "
        "the project's rounds, one from as many mined ones, both also from what was labelled "
        "before. Finished models are kept: run again it trains only what is new. With fewer than "
        "50 labelled random images nothing is trained.",
    )
    add = worth.add_argument
    add("project", metavar="PROJECT", help="Its name")
    add("--seeds", default="0,1,2,3,4", metavar="N,M", help="Default: 0,1,2,3,4")
    add("--runner", choices=("process", "docker"), help="Default: docker for images")
    add("--out", metavar="DIR", help="Folder of the models (default: below `.mir/worth`)")
    worth.set_defaults(run=run_worth)


def run_worth(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.arrow import spare_pandas
    from mir_ops.cli.simulate import read_seeds
    from mir_ops.mining.worth import told
    from mir_ops.rounds.worth import arms_worth

    spare_pandas()
    repository = repository_of(arguments)
    folder = Path(arguments.out) if arguments.out else repository.folder / "worth"

    def tell(cell: Cell) -> None:
        output.note(
            f"seed {cell.seed}, {cell.strategy}: {cell.images} images, {cell.boxes} boxes, "
            f"mAP50 {cell.map50:.3f}"
        )

    found = arms_worth(
        repository.workspace,
        arguments.project,
        folder.absolute(),
        seeds=read_seeds(arguments.seeds),
        runner=arguments.runner,
        on_trial=tell,
    )
    lines = [
        f"{len(found.rounds)} rounds, {found.images} images of each arm beside {found.base} others"
    ]
    lines += [
        f"{arm}: {found.metric} {found.means[arm]:.3f}, {found.boxes[arm]:.0f} boxes"
        for arm in found.means
    ]
    if found.difference is not None:
        lines.append(f"mined less random: {told(found.difference, 3)}, 90 % interval")
    output.record(found.to_dict(), [*lines, found.verdict])
    return 0
