"""Training: the newest training version becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mir_ops.catalog import Model
from mir_ops.errors import MirError
from mir_ops.rounds.executing import (
    cache_of,
    config_of,
    image_inputs,
    image_of,
    job_labels,
    limits_of,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.place import Place
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """Trains once for the same version, image, config and seed, whatever is cleared or killed."""

    entry: Entry
    version: str
    image: Mapping[str, Any]  # with the build that a container would run

    @property
    def finished(self) -> dict[str, Any] | None:
        if (taken := self.entry.taken()) is not None:
            return taken
        model = self.entry.ws.catalog.models.find(self.entry.op_id)
        if model is None:
            return None
        self.entry.start()  # the model was kept, and the worker died before it said so
        return self.entry.finish(_result(model))

    def prepare(self) -> Job:
        self.entry.start()
        with self.entry.failing():
            return self._job()

    def progress(self, percent: float, message: str) -> None:
        self.entry.progress(percent, message)

    def fail(self, message: str) -> None:
        """Say why; what the training wrote before stays as a failed model."""
        from mir_ops.executor.jobs import job_folder
        from mir_ops.executor.models import keep_training
        from mir_ops.executor.training import find_stages

        entry = self.entry
        entry.fail(message)
        if not job_folder(entry.ws.jobs_dir, entry.op_id).is_dir():
            return
        with suppress(MirError):  # the first error is the one to tell
            if (left := find_stages(self._job())) is not None:
                origin = {**self._origin(), "error": message[:2000]}
                keep_training(entry.ws, left, origin, state="failed")

    def collect(self, job: Job) -> dict[str, Any]:
        """Keep the model's files in the store and the model in the catalog."""
        from mir_ops.executor import collect_training, remove_job
        from mir_ops.executor.models import keep_training
        from mir_ops.executor.usage import read_usage

        entry, spec = self.entry, self.entry.round.spec
        with entry.failing():
            trained = collect_training(job)
            package = keep_training(entry.ws, trained, self._origin())
            model = entry.ws.catalog.models.add(
                round_id=entry.round.id,
                op_id=entry.op_id,
                model_id=trained.model_id,
                stage=trained.best_stage,
                classes=trained.class_names,
                package=package.package,
                log=entry.ws.store.put_blob(trained.log) if trained.log.is_file() else None,
                training=self.version,
                image=self.image,
                config=config_of(spec, spec.executor.config.train),
                seed=spec.seed,
                training_metrics=trained.metrics,
            )
            result = entry.finish({**_result(model), "usage": read_usage(job)})
        remove_job(job)
        return result

    def _job(self) -> Job:
        from mir_ops.executor import prepare_training
        from mir_ops.executor.images import described
        from mir_ops.executor.lineage import refuse_frozen_start
        from mir_ops.executor.models import choose_model

        entry, spec = self.entry, self.entry.round.spec
        start = choose_model(entry.ws, spec.pretrained) if spec.pretrained else None
        if start:
            refuse_frozen_start(entry.ws, start)
        return prepare_training(
            entry.ws.store,
            entry.ws.store.read(self.version),
            op_id=entry.op_id,
            image=replace(
                described(image_of(spec), entry.ws.engine), digest=self.image.get("digest")
            ),
            class_names=spec.classes,
            config=config_of(spec, spec.executor.config.train),
            jobs_dir=entry.ws.jobs_dir,
            cache=cache_of(entry),
            limits=limits_of(spec),
            labels=job_labels(entry),
            model=start.files() if start else None,
        )

    def _origin(self) -> dict[str, Any]:
        spec = self.entry.round.spec
        return {
            "image": image_of(spec).image,
            "config": config_of(spec, spec.executor.config.train),
            "training": self.version,
            "started_from": spec.pretrained,
            "project": self.entry.round.project,
            "round": self.entry.round.number,
        }


def training_step(
    ws: Workspace, place: Place, round_id: int, *, last: bool = False
) -> TrainingStep:
    """The training of this round; the `last` one is on the version with the round's labels."""
    spec = ws.catalog.rounds.get(round_id).spec
    merged = "merge_labels" if last else "merge_training"
    version = ws.catalog.steps.result(round_id, merged)["commit"]
    image = image_inputs(ws, spec)
    inputs = {
        "version": version,
        "image": image,
        "config": config_of(spec, spec.executor.config.train),
        "classes": list(spec.classes),
    }
    if spec.pretrained:
        inputs["pretrained"] = spec.pretrained
    step = "train_last" if last else "train"
    entry = new_entry(ws, place, round_id, step, inputs)
    return TrainingStep(entry=entry, version=version, image=image)


def _result(model: Model) -> dict[str, Any]:
    return {
        "op_id": model.op_id,
        "model_id": model.model_id,
        "stage": model.stage,
        "package": model.package,
        "log": model.log,
        "metrics": dict(model.training_metrics),
    }
