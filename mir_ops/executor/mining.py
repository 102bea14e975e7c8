"""Mining for a person: the images of a version that are worth labelling most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.executor.inference import (
    InferenceReport,
    InferenceResult,
    collect_inference,
    collect_mining,
)
from mir_ops.executor.tasks import (
    Desk,
    Order,
    commit_job,
    layer_of,
    prediction_record,
    prepare_looking,
)
from mir_ops.store.rows import sorted_unique, without

if TYPE_CHECKING:
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.models import ChosenModel
    from mir_ops.mining import Labelled
    from mir_ops.store import Commit, Version
    from mir_ops.store.changesets import ChangeSet

RANKED: Final = "executor"  # the strategy by which the image itself ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """The `top` images that are worth labelling most, in two halves.

    By the strategy `executor` the image ranks them itself; any other one picks on the host, by
    what the model finds. Images of `known` versions are no candidates; where they are labelled a
    strategy may compare with them.
    """

    desk: Desk
    order: Order
    version: Version
    model: ChosenModel
    class_ids: Mapping[str, int]
    top: int
    predict: bool  # keep the predictions of those that are kept
    strategy: str = RANKED
    parameters: Mapping[str, Any] = field(default_factory=dict)
    known: Sequence[Version] = ()

    def prepare(self) -> Job:
        check_top(self.top)
        ranks = RANKED in (self.strategy, *self.parameters.values())
        looks = self.predict or self.strategy != RANKED
        return prepare_looking(
            self.desk, self.order, self.version, self._looked_at(), self.model,
            mining=ranks, predict=looks, also=self.known,
        )  # fmt: skip

    def collect(self, job: Job) -> tuple[Commit, InferenceReport | None]:
        """The version with those images alone; their scores, and why, are a layer."""
        from mir_ops.dataset.filtering import keep

        result = collect_inference(job, self.class_ids) if job.predicts else None
        best, notes = self._picked(job, result)
        kept = best["asset_id"].combine_chunks()
        kept = kept.take(pc.sort_indices(kept))
        changes = keep(self.version, kept)
        changes.put_layer(f"scores:{self._scored_by}", best.sort_by("asset_id"), kept)
        if result is not None and self.predict:
            _put_found(changes, self.model, result, kept)
        report = result.report.to_dict() if result else {}
        predicted = prediction_record(self.order, self.model, {"topk": self.top, **report})
        if self.strategy != RANKED:
            predicted |= {"strategy": self.strategy, "notes": list(notes)}
        with commit_job(self.desk, self.order, self.version, "mine", predicted) as edit:
            edit.take(changes)
        return edit.commit, result.report if result else None

    @property
    def _scored_by(self) -> str:
        return self.order.image.name if self.strategy == RANKED else self.strategy

    def _candidates(self) -> pa.Array:
        return without(
            self.version.asset_ids(), sorted_unique([each.asset_ids() for each in self.known])
        )

    def _labelled(self) -> list[pa.Array]:
        """Of each known version the images that have a ground truth."""
        return [each.layer_assets("ground_truth") for each in self.known]

    def _looked_at(self) -> pa.Array:
        from mir_ops.mining import find_strategy

        candidates = self._candidates()
        if not len(candidates):
            raise InvalidInputError(
                "No image is left to pick from",
                code="no-candidates",
                hint="Name a dataset with images that the excluded ones do not have",
            )
        if "labelled vectors" not in find_strategy(self.strategy).needs:
            return candidates
        ids = pa.concat_arrays([candidates, *self._labelled()]).unique()
        return ids.take(pc.sort_indices(ids))

    def _picked(self, job: Job, result: InferenceResult | None) -> tuple[pa.Table, tuple[str, ...]]:
        """The rows of the images to keep, best first, and what the strategy did without."""
        if self.strategy == RANKED:
            scores = result.mining if result else collect_mining(job)
            assert scores is not None
            best = scores.slice(0, min(self.top, scores.num_rows))
            place = best.schema.get_field_index("rank")
            ranks = pa.array(range(len(best)), pa.int64())
            return best.set_column(place, best.schema.field("rank"), ranks), ()
        from mir_ops.mining import select

        assert result is not None
        selection = select(
            self.strategy,
            assets=self.version.assets(columns=["asset_id"], ids=self._candidates()),
            predictions=result.predictions,
            classes={id_: name for name, id_ in self.class_ids.items()},
            budget=self.top,
            seed=self.order.seed or 0,
            parameters=self.parameters,
            embeddings=result.embeddings,
            labelled=self._known_labels(result.embeddings),
            ranking=result.mining,
        )
        scores = selection.scores
        return scores.filter(pc.is_valid(scores["rank"])).sort_by("rank"), selection.notes

    def _known_labels(self, embeddings: pa.Table | None) -> Labelled | None:
        from mir_ops.mining import read_labelled

        if not self.known:
            return None
        classes = pa.array(list(self.class_ids.values()), pa.int32())
        tables = [
            each.layer("ground_truth", columns=["asset_id", "class_id"]) for each in self.known
        ]
        truth = pa.concat_tables(tables)
        truth = truth.filter(pc.is_in(truth["class_id"], value_set=classes))
        if embeddings is not None:
            ids = pa.concat_arrays(self._labelled())
            embeddings = embeddings.filter(pc.is_in(embeddings["asset_id"], value_set=ids))
        return read_labelled(truth, embeddings)


def mine(
    desk: Desk,
    order: Order,
    version: Version,
    model: ChosenModel,
    class_ids: Mapping[str, int],
    *,
    top: int,
    predict: bool,
) -> tuple[Commit, InferenceReport | None, Job]:
    """Keep the `top` images that the executor scores highest, with their scores as a layer."""
    mining = Mining(
        desk=desk, order=order, version=version, model=model, class_ids=class_ids,
        top=top, predict=predict,
    )  # fmt: skip
    job = mining.prepare()
    desk.run(job)
    commit, report = mining.collect(job)
    return commit, report, job


def check_top(top: int) -> None:
    """Refuse to keep nothing."""
    if top < 1:
        raise InvalidInputError(
            f"`--topk` is {top}", code="bad-topk", hint="Keep at least one image"
        )


def _put_found(
    changes: ChangeSet, model: ChosenModel, result: InferenceResult, kept: pa.Array
) -> None:
    """What the model found on the images that are kept."""
    wanted = pc.is_in(result.predictions["asset_id"], value_set=kept)
    looked_at = result.assets.filter(pc.is_in(result.assets, value_set=kept))
    changes.put_layer(layer_of(model), result.predictions.filter(wanted), looked_at)
    if (vectors := result.embeddings) is not None:
        known = vectors.filter(pc.is_in(vectors["asset_id"], value_set=kept))
        changes.put_layer(f"embeddings:{model.package.model_id}", known, None)
