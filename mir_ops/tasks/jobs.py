"""Train, infer and mine as a run asks for it; whoever holds the step runs the job in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError
from mir_ops.executor.tasks import Order
from mir_ops.tasks.asking import JobAsked, Task, naming, read_model, read_version

if TYPE_CHECKING:
    from mir_ops.dataset.merging import Strategy
    from mir_ops.executor.classes import Unknown
    from mir_ops.executor.jobs import ExecutorImage, Job
    from mir_ops.executor.mining import Mining
    from mir_ops.executor.models import ChosenModel
    from mir_ops.executor.tasks import Inference, Training
    from mir_ops.store import Commit, Version


_UNKNOWN_HINT: Final = (
    "Choose another model, or set `unknown_classes` to `ignore`, which leaves out what is found of "
    "them, or to `add`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The job of a step: another one when what it depends on is another."""

    op_id: str


@dataclass(frozen=True, kw_only=True)
class JobStep:
    """A step whose work an executor does, and whose result is a commit."""

    task: Task
    build: Callable[[], Training | Inference | Mining] = field(repr=False)

    @cached_property
    def work(self) -> Training | Inference | Mining:
        return self.build()

    @property
    def entry(self) -> Entry:
        assert self.work.order.job_id is not None
        return Entry(op_id=self.work.order.job_id)

    @property
    def finished(self) -> dict[str, Any] | None:
        """The result of this run, whatever has become since of what it was made from."""
        done = self.task.ws.store.find_operation(self.task.branch, self.task.op_id)
        return told(self.task, done) if done else None

    def prepare(self) -> Job:
        return self.work.prepare()

    def progress(self, percent: float, message: str) -> None:
        """It is in the task's log alone: no round shows it."""

    def fail(self, message: str) -> None:
        """What a training wrote before it failed stays as a failed model."""
        from mir_ops.executor.jobs import job_folder
        from mir_ops.executor.tasks import Training

        work = self.work
        folder = job_folder(work.desk.jobs_dir, self.entry.op_id)
        if isinstance(work, Training) and folder.is_dir():
            work.keep_failed(work.prepare(), message)

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import remove_job

        commit, _ = self.work.collect(job)
        remove_job(job)
        return told(self.task, commit)


def told(task: Task, commit: Commit) -> dict[str, Any]:
    """What a step leaves to others: the commit, and what its operation says."""
    layers = {name: layer.rows for name, layer in commit.stats.layers.items()}
    return {
        "branch": task.branch,
        "commit": commit.id,
        "images": commit.stats.assets,
        "layers": layers,
        **commit.operation.parameters,
    }


def training_step(
    task: Task,
    asked: JobAsked,
    *,
    training: Sequence[str],
    validation: Sequence[str] = (),
    strategy: Strategy = "stop",
    classes: Sequence[str] = (),
    pretrained: str | None = None,
) -> JobStep:
    """Train on the images of `training`, measured on those of `validation`.

    Without `validation` the images keep the splits that they have. Several datasets are merged
    first, on the branch; `classes` are those to train, all that the version knows by default.
    """

    def build() -> Training:
        from mir_ops.executor.tasks import Training

        start = read_model(task.ws, pretrained, param="pretrained") if pretrained else None
        image = asked.image(task.ws)
        version = _merged(task, training, validation, strategy)
        names = _trained(version, classes)
        return Training(
            desk=asked.desk(task),
            order=_order(task, asked, image, version, [names, start.name if start else None]),
            version=version,
            class_names=names,
            start=start,
        )

    return JobStep(task=task, build=build)


def inference_step(
    task: Task, asked: JobAsked, *, dataset: str, model: str, unknown: Unknown = "stop"
) -> JobStep:
    """Predict on every image of a dataset; the predictions become a layer of a new version."""

    def build() -> Inference:
        from mir_ops.executor.tasks import Inference

        chosen, version, ids = _looked(task, dataset, model, unknown)
        image = asked.image(task.ws, chosen.package.object_type)
        return Inference(
            desk=asked.desk(task),
            order=_order(task, asked, image, version, [chosen.name, ids]),
            version=version,
            model=chosen,
            class_ids=ids,
        )

    return JobStep(task=task, build=build)


def mining_step(
    task: Task,
    asked: JobAsked,
    *,
    dataset: str,
    model: str,
    top: int,
    strategy: str,
    parameters: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
    predict: bool = False,
    unknown: Unknown = "stop",
) -> JobStep:
    """Keep the `top` images of a dataset that are worth labelling most, none of `exclude`."""

    def build() -> Mining:
        from mir_ops.executor.mining import Mining
        from mir_ops.mining import check_parameters

        with naming("strategy"):
            known = check_parameters(strategy, parameters or {})
        chosen, version, ids = _looked(task, dataset, model, unknown)
        image = asked.image(task.ws, chosen.package.object_type)
        others = [read_version(task.ws, rev, param="exclude") for rev in exclude]
        depends = [chosen.name, ids, strategy, known, top, [each.id for each in others]]
        return Mining(
            desk=asked.desk(task),
            order=_order(task, asked, image, version, depends),
            version=version,
            model=chosen,
            class_ids=ids,
            top=top,
            predict=predict,
            strategy=strategy,
            parameters=dict(parameters or {}),
            known=others,
        )

    return JobStep(task=task, build=build)


def _order(
    task: Task, asked: JobAsked, image: ExecutorImage, version: Version, depends: list[Any]
) -> Order:
    found = {"version": version.id, "image": [image.image, image.digest], "depends": depends}
    return Order(
        op_id=task.op_id,
        job_id=task.part("job", found),
        branch=task.branch,
        image=image,
        config=asked.config,
        message=f"{task.place.dag_id}: {image.name} on {version.stats.assets} images",
        **task.provenance,
    )


def _looked(
    task: Task, dataset: str, model: str, unknown: Unknown
) -> tuple[ChosenModel, Version, dict[str, int]]:
    """The model, what it looks at, and the ids of its classes there."""
    from mir_ops.executor.classes import class_ids_in

    chosen, version = read_model(task.ws, model), read_version(task.ws, dataset)
    with naming("model", hint=_UNKNOWN_HINT):
        ids = class_ids_in(task.ws.store, version.taxonomy, chosen.package.classes, unknown)
    return chosen, version, ids


def _merged(
    task: Task, training: Sequence[str], validation: Sequence[str], strategy: Strategy
) -> Version:
    """What is trained on. Merged once: a retry finds the merge, whatever moved since."""
    from mir_ops.dataset import merge
    from mir_ops.dataset.revisions import Source

    store = task.ws.store
    for_splits = "train" if validation else None
    sources = [
        *(Source(rev=rev, split=for_splits) for rev in training),
        *(Source(rev=rev, split="val") for rev in validation),
    ]
    for param, revs in (("training", training), ("validation", validation)):
        with naming(param):
            for rev in revs:
                store.resolve(rev)
    if len(sources) == 1:
        return read_version(task.ws, sources[0].rev, param="training")
    with naming(
        "merge_strategy",
        hint="Choose `host` or `guest`, by which the first or the last dataset wins, or `union`",
    ):
        merged = merge(
            store,
            sources,
            task.branch,
            strategy=strategy,
            op_id=task.part("merge"),
            **task.provenance,
        )
    return store.read(merged)


def _trained(version: Version, classes: Sequence[str]) -> list[str]:
    """The classes to train, by the names that the dataset has for them."""
    taxonomy = version.taxonomy
    if unknown := [name for name in classes if taxonomy.id_of(name) is None]:
        raise InvalidInputError(
            f"`classes`: the dataset knows no class {', '.join(f'`{name}`' for name in unknown)}",
            code="unknown-class",
            hint=f"It knows {', '.join(taxonomy.names) or 'none'}",
        )
    return list(classes) or list(taxonomy.names)
