"""Training: the newest training version becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mir_ops.catalog import Model
from mir_ops.errors import InvalidInputError, MirError
from mir_ops.rounds.executing import (
    cache_of,
    config_of,
    described_image,
    image_inputs,
    image_of,
    job_labels,
    limits_of,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.opening import earlier_rounds
from mir_ops.rounds.place import Place
from mir_ops.store import operation_id
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """Trains once for the same version, image, config and seed, whatever is cleared or killed.

    What an earlier round trained so is taken again, as its last model is by the round after it.
    """

    entry: Entry
    version: str
    image: Mapping[str, Any]  # with the build that a container would run
    recipe: str  # digest of all that a training takes
    given: str | None  # the model to take instead

    @property
    def finished(self) -> dict[str, Any] | None:
        if (taken := self.entry.taken()) is not None:
            return taken
        model = self.entry.ws.catalog.models.find(self.entry.op_id)
        if model is not None:
            self.entry.start()  # the model was kept, and the worker died before it said so
            return self._finish(model)
        if self.given is not None:
            self.entry.start()
            with self.entry.failing():
                return self._finish(self._take_given(self.given), source="given")
        if (found := self._trained_before()) is None:
            return None
        self.entry.start()
        with self.entry.failing():
            return self._finish(self._again(found), source=f"round {found.round_number}")

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

        entry = self.entry
        with entry.failing():
            trained = collect_training(job)
            package = keep_training(entry.ws, trained, self._origin())
            model = self._add(
                model_id=trained.model_id,
                stage=trained.best_stage,
                classes=trained.class_names,
                package=package.package,
                log=entry.ws.store.put_blob(trained.log) if trained.log.is_file() else None,
                training_metrics=trained.metrics,
            )
            result = self._finish(model, usage=read_usage(job))
        remove_job(job)
        return result

    def _finish(
        self, model: Model, *, source: str | None = None, usage: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """`from` says where a model comes from that was not trained now."""
        result = {**_result(model), "recipe": self.recipe, "from": source, "usage": usage}
        return self.entry.finish(result)

    def _add(self, **values: Any) -> Model:
        entry, spec = self.entry, self.entry.round.spec
        return entry.ws.catalog.models.add(
            round_id=entry.round.id,
            op_id=entry.op_id,
            training=self.version,
            image=self.image,
            config=config_of(spec, spec.executor.config.train),
            seed=spec.seed,
            **values,
        )

    def _trained_before(self) -> Model | None:
        """What an earlier round trained by the same recipe: its last model saw the same labels."""
        ws = self.entry.ws
        for earlier in reversed(earlier_rounds(ws, self.entry.round)):
            for step in ("train_last", "train"):
                found = ws.catalog.steps.find(earlier.id, step)
                result = found.result if found and found.state == "done" else None
                if result and result.get("recipe") == self.recipe and result["from"] != "given":
                    return ws.catalog.models.find(result["op_id"])
        return None

    def _again(self, found: Model) -> Model:
        """That model once more, unless it has learnt from what was frozen since."""
        from mir_ops.executor.lineage import refuse_frozen_start
        from mir_ops.executor.models import choose_model

        ws = self.entry.ws
        refuse_frozen_start(ws, choose_model(ws, f"{found.model_id}@{found.stage}"))
        return self._add(
            model_id=found.model_id,
            stage=found.stage,
            classes=found.classes,
            package=found.package,
            log=found.log,
            training_metrics=found.training_metrics,
        )

    def _take_given(self, name: str) -> Model:
        """The model that the run or the project names, if it may be measured here."""
        from mir_ops.executor.lineage import refuse_frozen_start
        from mir_ops.executor.models import choose_model

        chosen = choose_model(self.entry.ws, name)
        wanted = self.entry.round.spec.classes
        if not {each.strip().lower() for each in chosen.package.classes}.intersection(wanted):
            raise InvalidInputError(
                f"Model `{chosen.name[:12]}` finds none of the project's classes",
                code="other-classes",
                hint=f"Give one that finds {', '.join(f'`{each}`' for each in wanted)}",
            )
        refuse_frozen_start(self.entry.ws, chosen)
        return self._add(
            model_id=chosen.package.model_id,
            stage=chosen.stage,
            classes=chosen.package.classes,
            package=chosen.package.package,
            log=None,
            training_metrics=dict(chosen.package.stages[chosen.stage]),
        )

    def _job(self) -> Job:
        from mir_ops.executor import prepare_training
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
            image=replace(described_image(entry.ws, spec), digest=self.image.get("digest")),
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
    step, recipe = "train_last" if last else "train", operation_id("training", inputs)
    given = None if last else spec.model
    if given:
        inputs["model"] = given
    entry = new_entry(ws, place, round_id, step, inputs)
    return TrainingStep(entry=entry, version=version, image=image, recipe=recipe, given=given)


def _result(model: Model) -> dict[str, Any]:
    return {
        "op_id": model.op_id,
        "model_id": model.model_id,
        "stage": model.stage,
        "package": model.package,
        "log": model.log,
        "metrics": dict(model.training_metrics),
    }
