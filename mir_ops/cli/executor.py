"""`mir executor`: the images that train, mine and infer."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import RUNNER_HELP, find_executor
from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog
    from mir_ops.executor.checks import Clause
    from mir_ops.executor.jobs import ExecutorImage

_TYPES = {"training": "train", "mining": "mine", "infer": "infer"}


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "executor",
        help="List, add, check and scaffold executor images",
        description="An executor is an image that speaks the contract: one of those that come "
        "with mir-ops, a folder with a `start.py`, or any image of the Docker engine.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    actions.add_parser("list", help="List the executors").set_defaults(run=run_list)
    add = actions.add_parser("add", help="Register an image, and what it needs")
    _name_image(add)
    add.add_argument(
        "--name", metavar="NAME", help="What to call it (default: the image's own name)"
    )
    add.add_argument("--network", action="store_true", help="It downloads: give it a network")
    add.add_argument("--run-as-root", action="store_true", help="It only runs as root")
    add.add_argument(
        "--protocol",
        default="1.1.0",
        choices=("0.0.0", "1.0.0", "1.1.0"),
        help="What it speaks; 0.0.0 for images of YMIR 1.1 and before (default: 1.1.0)",
    )
    add.set_defaults(run=run_add)
    remove = actions.add_parser("remove", help="Forget a name that no project uses")
    remove.add_argument("name", metavar="NAME", help="As it was added")
    remove.set_defaults(run=run_remove)
    templates = actions.add_parser("templates", help="Write the settings of one kind of job")
    _name_image(templates)
    templates.add_argument("--type", required=True, choices=tuple(_TYPES), help="Kind of job")
    templates.add_argument(
        "--object-type",
        type=int,
        metavar="N",
        help="2 boxes, 3 semantic, 4 instance segmentation, 50 multi-modal (default: its first)",
    )
    templates.add_argument("--output", metavar="FILE", help="Default: standard output")
    templates.set_defaults(run=run_templates)
    _add_check(actions)
    new = actions.add_parser("new", help="Write the start of an executor of your own")
    new.add_argument("name", metavar="NAME", help="What it is called: small letters and digits")
    new.add_argument("--to", metavar="DIR", help="Where (default: a folder of that name here)")
    new.set_defaults(run=run_new)


def _add_check(actions: argparse._SubParsersAction[Any]) -> None:
    check = actions.add_parser("check", help="Try whether an image keeps the contract")
    _name_image(check)
    check.add_argument("--task-config-file", metavar="FILE", help="Settings of its training")
    check.add_argument("--runner", choices=("process", "docker"), help=RUNNER_HELP)
    check.add_argument(
        "--time-limit",
        type=float,
        default=10.0,
        metavar="MINUTES",
        help="Of each of its jobs (default: 10)",
    )
    check.add_argument("--network", action="store_true", help="Give it a network")
    check.add_argument("--run-as-root", action="store_true", help="Let it be root")
    check.set_defaults(run=run_check)


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.images import describe_folder
    from mir_ops.executor.jobs import bundled_image

    rows: list[tuple[str, str, str, str | None]] = []
    for name in ("detector", "sample", "torchvision"):
        try:
            image = bundled_image(name)
        except NotFoundError:
            continue
        assert image.folder is not None
        description = describe_folder(image.folder)
        rows.append((name, image.image, _kinds(description.templates), "comes with mir-ops"))
    for found in repository_of(arguments).workspace.catalog.executors.list():
        needs = [word for word, on in _needs(found.network, found.run_as_root) if on]
        rows.append((found.name, found.image, _kinds(found.templates), ", ".join(needs) or None))
    output.table(("executor", "image", "does", "notes"), rows)
    return 0


def run_add(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.registered import register_executor

    folder = Path(arguments.image).absolute()
    made, findings = register_executor(
        repository_of(arguments).workspace.catalog,
        arguments.image,
        name=arguments.name,
        network=arguments.network,
        run_as_root=arguments.run_as_root,
        protocol=arguments.protocol,
        folder=folder if (folder / "start.py").is_file() else None,
    )
    does = _kinds(made.templates)
    output.record(
        {"executor": made.name, "does": does, "digest": made.digest},
        [f"Added `{made.name}`: {does}", *(f"warning: {found}" for found in findings)],
    )
    return 0


def run_remove(arguments: argparse.Namespace, output: Output) -> int:
    repository_of(arguments).workspace.catalog.executors.remove(arguments.name)
    output.record({"executor": arguments.name}, [f"Removed `{arguments.name}`"])
    return 0


def run_templates(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.task_files import write_template

    image = _image(arguments, arguments.object_type)
    text = write_template(image, _TYPES[arguments.type])  # type: ignore[arg-type]
    if arguments.output:
        Path(arguments.output).write_text(text, encoding="utf-8")
        output.note(f"Written: {arguments.output}")
    else:
        output.record({"template": text}, text.rstrip("\n").split("\n"))
    return 0


def run_check(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.checks import check_executor
    from mir_ops.executor.registered import keep_check
    from mir_ops.executor.task_files import read_task_file

    catalog = _catalog(arguments)
    image = _image(arguments, None)
    image = replace(
        image,
        network=image.network or arguments.network,
        run_as_root=image.run_as_root or arguments.run_as_root,
    )
    path = arguments.task_config_file
    clauses = check_executor(
        image,
        runner=arguments.runner or ("docker" if image.folder is None else "process"),
        config=read_task_file(Path(path)).config if path else {},
        time_seconds=arguments.time_limit * 60,
        on_clause=lambda clause: _say(output, clause),
    )
    kept = catalog is not None and keep_check(catalog, image, clauses)
    failed = sum(clause.state == "failed" for clause in clauses)
    passed = sum(clause.state == "passed" for clause in clauses)
    output.note(
        f"{passed} passed, {failed} failed, {len(clauses) - passed - failed} not claimed"
        + (f"; kept with `{image.name}`" if kept else "")
    )
    return 1 if failed else 0


def run_new(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.scaffolds import write_scaffold

    target = Path(arguments.to or arguments.name)
    if target.exists() and any(target.iterdir()):
        raise ConflictError(
            f"`{target}` is not empty", code="folder-exists", hint="Choose another with `--to`"
        )
    files = write_scaffold(arguments.name, target)
    output.record(
        {"executor": arguments.name, "folder": str(target), "files": files},
        [
            *(f"{target}/{file}" for file in files),
            f"Try it: mir executor check {_as_folder(target)}",
            f"Build it: docker build -t {arguments.name}:1 {_as_folder(target)}",
        ],
    )
    return 0


def _as_folder(path: Path) -> str:
    """So that nobody takes it for the name of an image."""
    return str(path) if path.is_absolute() or ".." in path.parts else f"./{path}"


def _name_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="Name, folder or image")


def _catalog(arguments: argparse.Namespace) -> Catalog | None:
    """A registered executor needs a repository; every other one does not."""
    try:
        return repository_of(arguments).workspace.catalog
    except NotFoundError:
        return None


def _image(arguments: argparse.Namespace, object_type: int | None) -> ExecutorImage:
    from mir_ops.executor.images import open_executor

    catalog = _catalog(arguments)
    if catalog is None:
        return open_executor(arguments.image, object_type=object_type)
    return find_executor(catalog, arguments.image, object_type)


def _say(output: Output, clause: Clause) -> None:
    detail = f": {clause.detail}" if clause.detail else ""
    output.record(
        {
            "clause": clause.name,
            "state": clause.state,
            "text": clause.text,
            "detail": clause.detail,
        },
        [f"{clause.state:<11} {clause.name:<22} {clause.text}{detail}"],
    )


def _kinds(templates: Any) -> str:
    kinds = {kind for found in templates.values() for kind in found}
    return ", ".join(word for word, kind in _TYPES.items() if kind in kinds) or "nothing"


def _needs(network: bool, run_as_root: bool) -> list[tuple[str, bool]]:
    return [("network", network), ("root", run_as_root)]
