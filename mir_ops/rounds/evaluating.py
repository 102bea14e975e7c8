"""Evaluation: the new model against the validation split, and whether the project has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mir_ops.catalog import Model
from mir_ops.errors import InvalidInputError
from mir_ops.rounds.executing import (
    class_ids,
    config_of,
    image_inputs,
    image_of,
    prepare_predictions,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.measured import Measured
from mir_ops.rounds.opening import earlier_rounds, frozen_at_opening
from mir_ops.rounds.place import Place
from mir_ops.store import Branch, Commit, Operation, Version
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.evaluation import Material
    from mir_ops.evaluation.marks import Marks
    from mir_ops.executor import InferenceResult, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationStep:
    """Predicts on the validation images and frozen test sets, commits that, computes metrics."""

    entry: Entry
    measured: Measured
    model: Model

    @property
    def finished(self) -> dict[str, Any] | None:
        if (taken := self.entry.taken()) is not None:
            return taken
        store, branch = self.entry.ws.store, self.entry.branches.evaluation
        commit = store.find_operation(branch, self.entry.op_id)
        if commit is None:
            return None
        self.entry.start()
        with self.entry.failing():
            return self._measure(commit)

    def prepare(self) -> Job:
        measured = self.measured
        return prepare_predictions(
            self.entry,
            measured.version.id,
            measured.ids,
            self.model,
            also=[*measured.tests.values()],
        )

    def progress(self, percent: float, message: str) -> None:
        self.entry.progress(percent, message)

    def fail(self, message: str) -> None:
        self.entry.fail(message)

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import collect_inference, remove_job
        from mir_ops.executor.usage import read_usage

        with self.entry.failing():
            commit = self._commit(collect_inference(job, class_ids(self.entry)))
            result = self._measure(commit, usage=read_usage(job))
        remove_job(job)
        return result

    def _commit(self, inferred: InferenceResult) -> Commit:
        from mir_ops.evaluation.versions import put_marked

        entry, store, measured = self.entry, self.entry.ws.store, self.measured
        ids, assets, truth = measured.ids, measured.assets, measured.truth
        marks = self._marks(assets, truth, inferred.predictions)
        with store.edit(
            entry.branches.evaluation,
            op_id=entry.op_id,
            operation=Operation(
                kind="evaluate",
                parameters={
                    "model": self.model.model_id,
                    "stage": self.model.stage,
                    "iou": marks.at_iou,
                    "confidence": marks.at_confidence,
                    "marks": marks.counts(),
                },
                inputs=(measured.version.id, *measured.tests.values()),
                executor=image_of(entry.round.spec).image,
                seed=entry.round.spec.seed,
            ),
            message=f"Round {entry.round.number}: predict on {measured.said}",
            **entry.provenance,
        ) as edit:
            edit.put_taxonomy(measured.taxonomy)
            if not _holds(store.branch(entry.branches.evaluation), measured):
                edit.put_assets(assets)
                edit.put_layer("ground_truth", truth, assets=ids)
            put_marked(edit, self._layer, ids, marks, truth, inferred.predictions)
        return edit.commit

    def _marks(self, assets: pa.Table, truth: pa.Table, predictions: pa.Table) -> Marks:
        """What became of each box, at the confidence of the best F1."""
        from mir_ops.evaluation.sides import read_sides
        from mir_ops.evaluation.versions import mark_best

        sides = read_sides(
            ground_truth=truth, predictions=predictions, assets=assets, classes=self._classes
        )
        return mark_best(sides, truth, predictions)

    def _measure(self, commit: Commit, *, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
        entry, measured = self.entry, self.measured
        version = entry.ws.store.read(commit)
        metrics = self._metrics(version, version, measured.validation)
        if measured.tests:
            metrics["tests"] = {
                name: {"commit": each, **self._metrics(entry.ws.store.read(each), version)}
                for name, each in measured.tests.items()
            }
        entry.ws.catalog.models.set_evaluation(
            self.model.op_id, metrics=metrics, predictions=commit.id
        )
        return entry.finish(
            {
                "op_id": entry.op_id,
                "commit": commit.id,
                "model_id": self.model.model_id,
                "metrics": metrics,
                "usage": usage,
            }
        )

    def _metrics(
        self, truth: Version, version: Version, images: pa.Array | None = None
    ) -> dict[str, Any]:
        """Of the predictions in `version`, on these images of `truth` or on all of them."""
        from mir_ops.evaluation import Settings, evaluate_material, read_material
        from mir_ops.evaluation.versions import keep_report

        material = read_material(
            truth, version, layer=self._layer, classes=self._classes, images=images
        )
        # That of the marks which were kept, so that each number leads to its images.
        confidence = float(version.commit.operation.parameters["confidence"])
        found = evaluate_material(material, Settings(confidence=confidence, counts=True))
        return {
            **found.metrics.to_dict(),
            "confidence": found.report["confidence"],
            "marks": found.report["marks"],
            "mistakes": found.report["mistakes"],
            "report": keep_report(self.entry.ws.store, found.report),
            "gain": self._gain(truth, version, material),
        }

    def _gain(self, truth: Version, version: Version, material: Material) -> dict[str, Any] | None:
        """How much better the model is than that of the round before, on the same images.

        None where there was none, or where its predictions have no such image.
        """
        from mir_ops.evaluation import compare, on_the_same_images, read_material

        before = self._layer_before(version)
        if before is None:
            return None
        ids = material.sides.asset_ids
        with suppress(InvalidInputError):
            earlier = read_material(truth, version, layer=before, classes=self._classes, images=ids)
            a, b = on_the_same_images(earlier, material)
            return {"before": earlier.origin.model, **compare(a.sides, b.sides).to_dict()}
        return None

    def _layer_before(self, version: Version) -> str | None:
        """The predictions of the model before, which may be the same one.

        The last model of a round is compared with its first, a round's first with the newest that
        earlier rounds have evaluated.
        """
        entry, steps = self.entry, self.entry.ws.catalog.steps
        own = [entry.round] if entry.step == "evaluate_last" else []
        for earlier in [*own, *reversed(earlier_rounds(entry.ws, entry.round))]:
            last = None if earlier in own else steps.find(earlier.id, "evaluate_last")
            step = last or steps.find(earlier.id, "evaluate")
            if step is not None and step.result is not None:
                layer = f"predictions:{step.result['model_id']}"
                return layer if layer in version.layers() else None
        return None

    @property
    def _classes(self) -> dict[int, str]:
        return {id_: name for name, id_ in class_ids(self.entry).items()}

    @property
    def _layer(self) -> str:
        return f"predictions:{self.model.model_id}"


def evaluation_step(
    ws: Workspace, place: Place, round_id: int, *, last: bool = False
) -> EvaluationStep:
    """The evaluation of this round's model, or of its `last` one."""
    spec, steps = ws.catalog.rounds.get(round_id).spec, ws.catalog.steps
    version = steps.result(round_id, "merge_labels" if last else "merge_training")["commit"]
    model = ws.catalog.models.get(
        steps.result(round_id, "train_last" if last else "train")["op_id"]
    )
    frozen = frozen_at_opening(ws, round_id)
    tests = {name: frozen[name] for name in spec.test_sets}
    inputs: dict[str, Any] = {
        "version": version,
        "model": model.model_id,
        "stage": model.stage,
        "image": image_inputs(ws, spec),
        "config": config_of(spec, spec.executor.config.infer),
    }
    if tests:
        inputs["tests"] = tests
    entry = new_entry(ws, place, round_id, "evaluate_last" if last else "evaluate", inputs)
    measured = Measured(store=ws.store, version=ws.store.read(version), tests=tests)
    return EvaluationStep(entry=entry, measured=measured, model=model)


def _holds(branch: Branch, measured: Measured) -> bool:
    """Whether the branch has these images as they are: then only predictions are new."""
    if branch.find_tip() is None:
        return False
    kept = branch.read()
    return bool(
        kept.asset_ids().equals(measured.ids)
        and kept.assets().equals(measured.assets)
        and kept.layer("ground_truth").equals(measured.truth)
    )
