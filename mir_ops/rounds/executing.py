"""What the three executor steps share: prepare a job, let the caller run it, collect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mir_ops.catalog import Model, ProjectSpec
from mir_ops.errors import NotFoundError
from mir_ops.rounds.ledger import Entry
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mir_ops.executor import AssetCache, ExecutorImage, Job, Limits, ModelFiles


class Operated(Protocol):
    """What a step does, whose job has this id."""

    @property
    def op_id(self) -> str: ...


class Step(Protocol):
    """A step whose work an executor does. Whoever holds it runs the job in between:

    `step.finished or step.collect(run(step.prepare()))`; an error on the way goes to `fail`.
    """

    @property
    def entry(self) -> Operated: ...

    @property
    def finished(self) -> dict[str, Any] | None:
        """The result, if this operation was done before: then nothing is run."""

    def prepare(self) -> Job: ...

    def progress(self, percent: float, message: str) -> None: ...

    def fail(self, message: str) -> None: ...

    def collect(self, job: Job) -> dict[str, Any]: ...


def image_of(spec: ProjectSpec) -> ExecutorImage:
    """The round's executor; a bare name is one of those that come with this project."""
    from mir_ops.executor import ExecutorImage, bundled_image
    from mir_ops.executor.jobs import PROTOCOL_VERSION

    chosen = spec.executor
    if chosen.image is None and chosen.folder is None:
        return bundled_image(chosen.name)
    return ExecutorImage(
        name=chosen.name,
        image=chosen.image or chosen.name,
        folder=Path(chosen.folder) if chosen.folder else None,
        network=chosen.network,
        run_as_root=chosen.run_as_root,
        protocol=chosen.protocol or PROTOCOL_VERSION,
    )


def image_record(spec: ProjectSpec) -> dict[str, Any]:
    """What the round's record says of the image: the name, not our path."""
    image = image_of(spec)
    return {"name": image.name, "image": image.image}


def image_inputs(ws: Workspace, spec: ProjectSpec) -> dict[str, Any]:
    """What an operation id says of the image: also which build, or which code, it would run."""
    from mir_ops.executor.images import code_digest, find_digest

    record, folder = image_record(spec), image_of(spec).folder
    if ws.runner == "docker":
        if digest := find_digest(record["image"], ws.engine):
            record["digest"] = digest
    elif ws.runner == "process" and folder is not None:
        record["digest"] = code_digest(folder)
    return record


def described_image(ws: Workspace, spec: ProjectSpec) -> ExecutorImage:
    """The image with its templates: the engine reads them, a cluster needs them registered."""
    from mir_ops.executor.images import described
    from mir_ops.executor.registered import with_registered

    image = image_of(spec)
    if ws.runner == "kubernetes":
        return with_registered(ws.catalog, image)
    return described(image, ws.engine)


def limits_of(spec: ProjectSpec) -> Limits:
    from mir_ops.executor import Limits

    return Limits(**spec.executor.limits.model_dump(exclude_none=True))


def config_of(spec: ProjectSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """The project's values; the round's seed unless they name their own."""
    return {"seed": spec.seed, **values}


def cache_of(entry: Entry) -> AssetCache:
    from mir_ops.executor import AssetCache

    return AssetCache(entry.ws.cache_dir)


def job_labels(entry: Entry) -> dict[str, str]:
    return {**entry.place.labels(), "mir.project": entry.round.project, "mir.op": entry.op_id}


def model_files(model: Model) -> ModelFiles:
    from mir_ops.executor import ModelFiles

    return ModelFiles(
        model_id=model.model_id,
        package=model.package,
        class_names=model.classes,
        stage=model.stage,
    )


def prepare_predictions(
    entry: Entry,
    commit: str,
    asset_ids: pa.Array,
    model: Model,
    *,
    mine: bool = False,
    also: Sequence[str] = (),
) -> Job:
    """The job that predicts on these images of a version, for evaluation and for mining.

    With `mine` the image ranks them too; what the version lacks is taken from the commits `also`.
    """
    from mir_ops.executor import prepare_inference

    spec = entry.round.spec
    entry.start()
    with entry.failing():
        return prepare_inference(
            entry.ws.store,
            entry.ws.store.read(commit),
            op_id=entry.op_id,
            image=described_image(entry.ws, spec),
            asset_ids=asset_ids,
            model=model_files(model),
            config=config_of(spec, spec.executor.config.infer),
            jobs_dir=entry.ws.jobs_dir,
            cache=cache_of(entry),
            limits=limits_of(spec),
            labels=job_labels(entry),
            mine=mine,
            also=[entry.ws.store.read(commit) for commit in also],
        )


def class_ids(entry: Entry) -> dict[str, int]:
    """The ids of the project's classes, in the project's order."""
    registry = entry.ws.store.classes()
    missing = [name for name in entry.round.spec.classes if name not in registry]
    if missing:
        raise NotFoundError(
            f"Classes that the store does not know: {', '.join(missing)}",
            code="no-such-class",
            hint="Run `import_data` first",
        )
    return {name: registry[name] for name in entry.round.spec.classes}
