"""What `mir train, mining, infer` have in common: the executor, its settings, where it works."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mir_ops.cli.operations import Done, commit_once, destination_of, repository_of
from mir_ops.dataset.revisions import Destination, Source, parse_sources
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog
    from mir_ops.cli.output import Output
    from mir_ops.cli.repository import Repository
    from mir_ops.executor.jobs import ExecutorImage, Job, Kind, Limits
    from mir_ops.executor.models import ChosenModel
    from mir_ops.executor.task_files import TaskFile
    from mir_ops.executor.tasks import Desk, Order
    from mir_ops.store import Commit, Version
    from mir_ops.taxonomy import Taxonomy
    from mir_ops.workspace import Workspace

_GIB = 1 << 30
RUNNER_HELP = "Default: docker for images, process for folders and those of mir-ops"

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The executor and the settings that a command line asks for."""

    image: ExecutorImage
    file: TaskFile
    desk: Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command line that does a job, with all that it names."""

    arguments: argparse.Namespace
    repository: Repository
    destination: Destination
    asked: Asked
    version: Version
    model: ChosenModel | None

    @property
    def predictor(self) -> ChosenModel:
        """The model of a command that cannot do without."""
        assert self.model is not None
        return self.model

    def once(
        self,
        command: str,
        message: str,
        inputs: Mapping[str, Any],
        work: Callable[[Order], tuple[Commit, Found, Job]],
    ) -> tuple[Done, tuple[Found, Job] | None]:
        """Do the work, and say what came of it; None when it was done before."""
        from mir_ops.executor.tasks import Order

        store, branch = self.repository.store, self.destination.branch
        ran: list[tuple[Found, Job]] = []

        def commit(op_id: str) -> Commit:
            if done := store.find_operation(branch, op_id):
                return done
            order = Order(
                op_id=op_id,
                branch=branch,
                image=self.asked.image,
                config=self.asked.file.config,
                message=self.arguments.message or message,
            )
            made, found, job = work(order)
            ran.append((found, job))
            return made

        everything = {**self._inputs(), **inputs}
        done = commit_once(self.repository, self.destination, command, everything, commit)
        return done, ran[0] if ran else None

    def _inputs(self) -> Mapping[str, Any]:
        """What the operation id of a job is made of: not where or how fast it runs."""
        return {
            "source": self.version.commit.id,
            "image": self.asked.image.image,
            "digest": self.asked.image.digest,
            "object_type": self.asked.image.object_type,
            "config": dict(self.asked.file.config),
        }


def add_job(parser: argparse.ArgumentParser) -> None:
    """The options of a job, in YMIR's words."""
    add = parser.add_argument
    add("--executor", required=True, metavar="IMAGE", help="Name, folder or image of the executor")
    add("--task-config-file", metavar="FILE", help="Settings: `mir executor templates` writes it")
    add("--model-location", metavar="DIR", help="Folder of model packages, named by their ids")
    add(
        "--asset-cache-dir",
        "--cache",
        dest="cache_dir",
        metavar="DIR",
        help="Keep copies of images here, for all jobs",
    )
    add(
        "--gpus", type=int, metavar="N", help="How many GPUs (default: `gpu_count` of the settings)"
    )
    add("--memory", type=float, metavar="GIB", default=8.0, help="Memory limit (default: 8)")
    add("--time-limit", type=float, metavar="HOURS", default=24.0, help="Default: 24 hours")
    add("--runner", choices=("process", "docker"), help=RUNNER_HELP)
    add("--run-as-root", action="store_true", help="For old images that need it")
    add("--executant-name", metavar="NAME", help="A label for the job's container")
    add("-w", dest="work_dir", metavar="DIR", help="Work here, and leave the job and its log here")
    add("--media-location", metavar="DIR", help=argparse.SUPPRESS)  # the store keeps the images


def add_sources_to_merge(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--src-revs", "--src-rev", dest="src_revs", metavar="REVS", help="Joined by `;`")
    add(
        "-s",
        "--strategy",
        choices=("stop", "host", "guest", "union"),
        default="stop",
        help="Where several revisions differ on an image: stop (default), or who wins",
    )


def read_call(arguments: argparse.Namespace, kind: Kind, output: Output) -> Call:
    """Find what a command line names: first what costs least."""
    repository = repository_of(arguments)
    destination = destination_of(arguments)
    name = arguments.model_hash
    model = find_model(arguments, repository, name) if name else None
    object_type = model.package.object_type if model and kind != "train" else None
    asked = read_asked(arguments, repository, kind, output, object_type=object_type)
    return Call(
        arguments=arguments,
        repository=repository,
        destination=destination,
        asked=asked,
        version=read_source(arguments, repository, destination),
        model=model,
    )


def read_asked(
    arguments: argparse.Namespace,
    repository: Repository,
    kind: Kind,
    output: Output,
    *,
    object_type: int | None = None,
) -> Asked:
    """Find the executor, and read its settings; `object_type` is the model's, if there is one."""
    from mir_ops.executor.images import find_digest
    from mir_ops.executor.task_files import TaskFile, read_task_file

    path = Path(arguments.task_config_file) if arguments.task_config_file else None
    file = read_task_file(path) if path else TaskFile(config={})
    if object_type and file.object_type not in (None, object_type):
        raise InvalidInputError(
            f"The settings ask for object type {file.object_type}, the model finds {object_type}",
            code="object-type",
            hint="Take `object_type` out of the settings, or choose another model",
        )
    image = find_executor(
        repository.workspace.catalog, arguments.executor, object_type or file.object_type
    )
    if arguments.run_as_root:
        image = replace(image, run_as_root=True)
    if path:
        file.check_template(image, kind, path)
    desk = _desk(arguments, repository.workspace, image, file, output)
    if desk.runner == "docker":  # it may have been built anew since it was registered
        image = replace(image, digest=find_digest(image.image))
    return Asked(image=image, file=file, desk=desk)


def _desk(
    arguments: argparse.Namespace,
    workspace: Workspace,
    image: ExecutorImage,
    file: TaskFile,
    output: Output,
) -> Desk:
    from mir_ops.executor.tasks import Desk

    default = "docker" if image.folder is None else "process"
    work_dir = Path(arguments.work_dir).absolute() if arguments.work_dir else None
    cache_dir = Path(arguments.cache_dir).absolute() if arguments.cache_dir else None
    return Desk(
        ws=workspace,
        runner=arguments.runner or default,
        jobs_dir=work_dir or workspace.jobs_dir,
        cache_dir=cache_dir or workspace.cache_dir,
        limits=_limits(arguments, file),
        on_progress=lambda said: output.progress(said.percent / 100, said.message),
        labels={"mir.executant": arguments.executant_name} if arguments.executant_name else {},
    )


def find_executor(catalog: Catalog, name: str, object_type: int | None = None) -> ExecutorImage:
    """A registered executor, or any other that can be opened."""
    from mir_ops.executor.images import open_executor
    from mir_ops.executor.registered import find_registered

    found = find_registered(catalog, name, object_type)
    return found or open_executor(name, object_type=object_type)


def find_model(arguments: argparse.Namespace, repository: Repository, text: str) -> ChosenModel:
    """The model of `--model-hash`, also from the folder `--model-location`."""
    from mir_ops.executor.models import choose_model

    location = Path(arguments.model_location) if arguments.model_location else None
    return choose_model(repository.workspace, text, location=location)


def read_source(
    arguments: argparse.Namespace, repository: Repository, destination: Destination
) -> Version:
    """The version to work on; several revisions, or one for a split, are merged first."""
    from mir_ops.dataset import merge

    store = repository.store
    sources = [
        Source(rev=repository.revision(source.rev), split=source.split)
        for source in parse_sources(arguments.src_revs or "HEAD")
    ]
    if len(sources) == 1 and sources[0].split is None:
        return store.read(sources[0].rev)
    inputs = {
        "sources": [[source.split, store.resolve(source.rev).id] for source in sources],
        "strategy": arguments.strategy,
    }
    merged = commit_once(
        repository,
        Destination(branch=destination.branch),
        "merge",
        inputs,
        lambda op_id: merge(
            store, sources, destination.branch, strategy=arguments.strategy, op_id=op_id
        ),
    )
    return store.read(merged.commit)


def tidy(arguments: argparse.Namespace, job: Job | None) -> None:
    """Remove a finished job, if one ran; a folder named by `-w` keeps what the executor wrote."""
    import shutil

    from mir_ops.executor import remove_job

    if job is None:
        return
    if not arguments.work_dir:
        remove_job(job)
        return
    for path in (job.inputs / "assets", job.inputs / "models", job.outputs / "models"):
        shutil.rmtree(path, ignore_errors=True)
    for name in ("package.tar.gz", "model.tar.gz", "tensorboard.tar.gz"):
        (job.folder / name).unlink(missing_ok=True)


def taxonomy_of(call: Call) -> Taxonomy:
    """The classes of the version, as the label file has them now."""
    declared = call.repository.declared_classes()
    return call.version.taxonomy if declared is None else declared.over(call.version.taxonomy)


def class_ids_of(call: Call) -> dict[str, int]:
    """The ids of the model's classes; what the dataset does not know is refused unless allowed."""
    from mir_ops.executor.classes import class_ids_in
    from mir_ops.label_files import LabelFiles

    repository, taxonomy = call.repository, taxonomy_of(call)
    names, strategy = call.predictor.package.classes, call.arguments.unknown_types_strategy
    found = class_ids_in(repository.store, taxonomy, names, strategy)
    unknown = [name for name in names if taxonomy.id_of(name) is None]
    if strategy == "add" and unknown:
        LabelFiles(yaml=repository.labels_path).declare(unknown)
    return found


def add_unknown_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unknown-types-strategy",
        choices=("stop", "ignore", "add"),
        default="stop",
        help="Classes of the model that `labels.yaml` lacks: stop (default), leave out, or add",
    )


def _limits(arguments: argparse.Namespace, file: TaskFile) -> Limits:
    from mir_ops.executor import Limits

    gpus = len(file.gpu_ids) or (arguments.gpus if arguments.gpus is not None else file.gpu_count)
    return Limits(
        time_seconds=arguments.time_limit * 3600,
        memory_bytes=int(arguments.memory * _GIB),
        gpus=gpus,
        gpu_ids=file.gpu_ids or _visible_gpus(gpus),
    )


def _visible_gpus(count: int) -> tuple[str, ...]:
    """The first of those that CUDA_VISIBLE_DEVICES leaves to programs; empty where it is unset."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None or not count:
        return ()
    visible = [name.strip() for name in told.split(",") if name.strip()]
    if len(visible) < count:
        raise InvalidInputError(
            f"{count} GPUs are asked for, and CUDA_VISIBLE_DEVICES is `{told}`",
            code="too-few-gpus",
            hint="Ask for fewer with `--gpus N`, or set it to more",
        )
    return tuple(visible[:count])
