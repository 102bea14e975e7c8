"""`mir models`: what was trained here or imported, and what it finds on a picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import add_job, find_model, read_asked
from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output, time_title
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.catalog import Package
    from mir_ops.cli.repository import Repository


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "models",
        help="List, import, export, describe, promote and verify models",
        description="A model is named by its id, which may be cut short, and perhaps a stage: "
        "`4fd01be3@best`; or by the name that it was promoted to.",
    )
    _add_import(parser, "--package-path")  # YMIR's spelling has no action
    parser.set_defaults(run=run_without_action)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listed = actions.add_parser("list", help="List the models")
    listed.add_argument("--deleted", action="store_true", help="Those that were deleted")
    listed.set_defaults(run=run_list)
    show = actions.add_parser("show", help="Show a model: stages, metrics, where it comes from")
    _name_model(show)
    show.set_defaults(run=run_show)
    taken = actions.add_parser("import", help="Take a model package of ours or of YMIR's")
    taken.add_argument("package", metavar="FILE", help="File or URL")
    _add_import(taken)
    taken.set_defaults(run=run_import)
    export = actions.add_parser("export", help="Write a model package, which `tar -xf` opens")
    _name_model(export)
    export.add_argument("--to", required=True, metavar="PATH", help="File; or folder/, for its id")
    export.set_defaults(run=run_export)
    promote = actions.add_parser("promote", help="Let a name mean this model and stage")
    _name_model(promote)
    promote.add_argument("--name", default="production", metavar="NAME", help="Default: production")
    promote.set_defaults(run=run_promote)
    describe = actions.add_parser("describe", help="Say what a model is called, and its best stage")
    _name_model(describe)
    describe.add_argument("--title", metavar="TEXT", help="What people call it")
    describe.add_argument("--description", metavar="TEXT", help="What people say of it")
    describe.add_argument("--best-stage", metavar="STAGE", help="The stage that its id alone means")
    describe.set_defaults(run=run_describe)
    delete = actions.add_parser("delete", help="Take a model out of the lists; it is kept")
    _name_model(delete)
    delete.set_defaults(run=run_delete)
    restore = actions.add_parser("restore", help="Bring a deleted model back")
    restore.add_argument("model", metavar="ID", help="Id, which may be cut short")
    restore.set_defaults(run=run_restore)
    verify = actions.add_parser("verify", help="Look at one picture with a model")
    _name_model(verify)
    verify.add_argument("picture", metavar="PICTURE", help="JPEG, PNG or BMP file")
    verify.add_argument("--to", metavar="FILE", help="The picture with boxes (default: beside it)")
    add_job(verify)
    verify.set_defaults(run=run_verify)


def run_without_action(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.package is None:
        raise InvalidInputError(
            "No action is given",
            code="no-action",
            hint="Use list, show, import, export, promote, describe, delete, restore or verify",
        )
    return run_import(arguments, output)


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    packages = repository_of(arguments).workspace.catalog.packages
    names: dict[str, list[str]] = {}
    for promotion in packages.promotions():
        names.setdefault(promotion.model_id, []).append(promotion.name)
    rows = [
        (
            package.model_id if output.json else package.model_id[:12],
            package.title or None,
            package.state,
            list(package.stages) if output.json else ", ".join(package.stages),
            package.best_stage,
            _main_metric(package),
            len(package.classes),
            package.origin.get("image") or package.origin.get("producer"),
            ", ".join(names.get(package.model_id, [])) or None,
            output.time(package.created_at),
        )
        for package in packages.list(deleted=arguments.deleted)
    ]
    columns = (
        *("model", "title", "state", "stages", "best", "metric", "classes", "from", "name"),
        "created",
    )
    output.table(columns, rows, right=("metric", "classes"))
    return 0


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import choose_model

    chosen = choose_model(repository_of(arguments).workspace, arguments.model)
    package = chosen.package
    values = {
        "model": package.model_id,
        "title": package.title,
        "description": package.description,
        "state": package.state,
        "best_stage": package.best_stage,
        "stages": {name: dict(metrics) for name, metrics in package.stages.items()},
        "classes": list(package.classes),
        "object_type": package.object_type,
        "package": package.package,
        "origin": dict(package.origin),
        "created": package.created_at.isoformat(),
    }
    lines = [f"Model: {package.model_id} ({package.state})"]
    lines += [text for text in (package.title, package.description) if text]
    for name, metrics in package.stages.items():
        told = ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items())
        lines.append(f"Stage: {name}{' (best)' if name == package.best_stage else ''}: {told}")
    lines += [
        f"Classes: {', '.join(package.classes)}",
        f"Created: {time_title(package.created_at)} UTC",
    ]
    lines += _origin_lines(package.origin)
    output.record(values, lines)
    return 0


def run_import(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import export_model, import_model
    from mir_ops.label_files import LabelFiles

    repository = repository_of(arguments)
    strict = arguments.unknown_types_strategy == "stop"
    classes = _known_classes(repository) if strict else None
    with _fetched(arguments, repository, output) as path:
        package = import_model(repository.workspace, path, project_classes=classes)
    if arguments.unknown_types_strategy == "add":
        known = _known_classes(repository)
        new = [name for name in package.classes if name.strip().lower() not in known]
        LabelFiles(yaml=repository.labels_path).declare(new)
    if arguments.model_location:
        folder = Path(arguments.model_location).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        export_model(repository.workspace, package, folder)
    output.record(
        {
            "model": package.model_id,
            "stages": list(package.stages),
            "best_stage": package.best_stage,
            "classes": list(package.classes),
        },
        [
            f"Model: {package.model_id}",
            f"Stages: {', '.join(package.stages)}; best: {package.best_stage}",
            f"Classes: {', '.join(package.classes)}",
        ],
    )
    return 0


def run_export(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import choose_model, export_model

    workspace = repository_of(arguments).workspace
    package = choose_model(workspace, arguments.model).package
    target = Path(arguments.to).expanduser()
    if arguments.to.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)
    path = export_model(workspace, package, target)
    output.record({"model": package.model_id, "file": str(path)}, [f"Written: {path}"])
    return 0


def run_promote(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import choose_model, promote_model

    workspace = repository_of(arguments).workspace
    chosen = choose_model(workspace, arguments.model)
    promotion = promote_model(workspace, chosen, arguments.name)
    output.record(
        {"name": promotion.name, "model": promotion.model_id, "stage": promotion.stage},
        [f"`{promotion.name}` is model {promotion.model_id[:12]}, stage {promotion.stage}"],
    )
    return 0


def run_describe(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import choose_model

    workspace = repository_of(arguments).workspace
    known = choose_model(workspace, arguments.model).package
    package = workspace.catalog.packages.change(
        known.model_id,
        title=arguments.title,
        description=arguments.description,
        best_stage=arguments.best_stage,
    )
    _say_package(output, package, f"Model: {package.model_id} {package.title}".rstrip())
    return 0


def run_delete(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.models import choose_model

    workspace = repository_of(arguments).workspace
    known = choose_model(workspace, arguments.model).package
    package = workspace.catalog.packages.delete(known.model_id)
    _say_package(output, package, f"Deleted: {package.model_id}")
    return 0


def run_restore(arguments: argparse.Namespace, output: Output) -> int:
    packages = repository_of(arguments).workspace.catalog.packages
    found = packages.find(arguments.model)
    package = packages.restore(found.model_id if found else arguments.model)
    _say_package(output, package, f"Restored: {package.model_id}")
    return 0


def _say_package(output: Output, package: Package, line: str) -> None:
    deleted = package.deleted_at.isoformat() if package.deleted_at else None
    values = {
        "model": package.model_id,
        "title": package.title,
        "description": package.description,
        "best_stage": package.best_stage,
        "deleted": deleted,
    }
    output.record(values, [line])


def run_verify(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.pictures import draw_boxes, predict_on_files

    repository = repository_of(arguments)
    model = find_model(arguments, repository, arguments.model)
    kind = model.package.object_type
    asked = read_asked(arguments, repository, "infer", output, object_type=kind)
    picture = Path(arguments.picture)
    found = predict_on_files(asked.desk, asked.image, model, asked.file.config, picture=picture)
    boxes = found.pictures.get(picture.name, [])
    target = Path(arguments.to or picture.with_name(f"{picture.stem}.verified.png"))
    draw_boxes(picture, boxes, target)
    found.write(target.with_suffix(".json"))
    lines = [
        f"{box['class_name']} {box['score']:.3f} at "
        + " ".join(f"{side} {box['box'][side]:g}" for side in "xywh")
        for box in boxes
    ]
    lines += [*found.report.lines(), f"Written: {target}, {target.with_suffix('.json')}"]
    values = {"model": model.package.model_id, "stage": model.stage, "boxes": boxes}
    output.record({**values, "picture": str(target)}, lines)
    return 0


@contextmanager
def _fetched(
    arguments: argparse.Namespace, repository: Repository, output: Output
) -> Iterator[Path]:
    """The package as a file; one at a URL is downloaded first."""
    from mir_ops.dataset.downloads import fetched, is_url
    from mir_ops.dataset.network import Network

    if not is_url(arguments.package):
        yield Path(arguments.package).expanduser()
        return
    network = Network(private=arguments.allow_private or bool(os.environ.get("MIR_ALLOW_PRIVATE")))
    workspace = repository.workspace
    with fetched(
        arguments.package,
        network,
        workspace=workspace,
        folder=repository.downloads,
        on_progress=output.progress,
    ) as path:
        yield path


def _name_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="ID[@STAGE]", help="Id, which may be cut short, or name")


def _add_import(parser: argparse.ArgumentParser, *flags: str) -> None:
    if flags:
        parser.add_argument(*flags, dest="package", metavar="FILE", help=argparse.SUPPRESS)
        for accepted in ("--dst-rev", "-w"):  # YMIR's: a model is no version here
            parser.add_argument(accepted, dest="_", metavar="X", help=argparse.SUPPRESS)
    parser.add_argument("--model-location", metavar="DIR", help="Also write the package here")
    parser.add_argument(
        "--allow-private", action="store_true", help="Download from this machine or network too"
    )
    parser.add_argument(
        "--unknown-types-strategy",
        choices=("stop", "ignore", "add"),
        default="stop",
        help="Classes that `labels.yaml` lacks: stop (default), take the model anyway, or add",
    )


def _known_classes(repository: Repository) -> list[str]:
    declared = repository.declared_classes()
    if declared is None:
        return sorted(repository.store.classes())
    return [name for entry in declared.classes for name in (entry.name, *entry.aliases)]


def _origin_lines(origin: Mapping[str, Any]) -> Iterator[str]:
    for key, value in origin.items():
        if isinstance(value, Mapping):
            yield f"{key.replace('_', ' ').capitalize()}:"
            yield from (f"    {name}: {setting}" for name, setting in value.items())
        elif value not in (None, ""):
            yield f"{key.replace('_', ' ').capitalize()}: {value}"


def _main_metric(package: Package) -> str | None:
    from mir_ops.executor.stages import main_metric

    name = main_metric(package.object_type)
    value = package.stages[package.best_stage].get(name)
    return None if value is None else f"{name} {value:.4g}"
