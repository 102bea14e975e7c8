"""Where models are tried out: trained on some labelled images of a version, measured on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.store import operation_id

if TYPE_CHECKING:
    from mir_ops.executor import InferenceResult
    from mir_ops.executor.jobs import ExecutorImage, Job, ModelFiles
    from mir_ops.executor.tasks import Desk
    from mir_ops.store import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Trains anew each time, and commits nothing. `name` goes into the ids of the jobs."""

    name: str
    desk: Desk
    version: Version
    image: ExecutorImage
    classes: Mapping[str, int]  # name to id, in the order of the training
    validation: pa.Array  # what the training may look at
    train: Mapping[str, Any]
    infer: Mapping[str, Any]
    start: ModelFiles | None = None  # what every training begins with

    def trial(
        self,
        key: str,
        seed: int,
        labelled: pa.Array,
        test: pa.Array,
        *,
        pool: pa.Array | None = None,
        mine: bool = False,
    ) -> tuple[InferenceResult, dict[str, Any]]:
        """Train on the labelled images; what the model finds on the others, and its metrics.

        It looks at those to measure on, and at `pool` if it is given; with `mine` the image also
        ranks them.
        """
        from mir_ops.evaluation import evaluate
        from mir_ops.executor import collect_inference, collect_training, remove_job

        training = self._training(key, seed, labelled)
        self.desk.run(training)
        model = collect_training(training).model_files()
        seen = test if pool is None else pa.concat_arrays([test, pool])
        look = self._looking(key, seed, seen, model, mine=mine)
        self.desk.run(look)
        found = collect_inference(look, self.classes)
        metrics = evaluate(
            ground_truth=self.version.layer("ground_truth", ids=test),
            predictions=on(found.predictions, test),
            assets=self.version.assets(columns=["asset_id"], ids=test),
            classes={class_id: name for name, class_id in self.classes.items()},
        ).to_dict()
        remove_job(look)
        remove_job(training)
        return found, metrics

    def truth(self, ids: pa.Array) -> pa.Table:
        """`asset_id` and `class_id` of the boxes on these images."""
        truth = self.version.layer("ground_truth", columns=["asset_id", "class_id"], ids=ids)
        wanted = pa.array(list(self.classes.values()), pa.int32())
        return truth.filter(pc.is_in(truth["class_id"], value_set=wanted))

    def _training(self, key: str, seed: int, labelled: pa.Array) -> Job:
        from mir_ops.executor import AssetCache, prepare_training

        return prepare_training(
            self.desk.ws.store,
            _as_training(self.version, labelled, self.validation),
            op_id=operation_id(self.name, {"train": key}),
            image=self.image,
            class_names=tuple(self.classes),
            config={**self.train, "seed": seed},
            jobs_dir=self.desk.jobs_dir,
            cache=AssetCache(self.desk.cache_dir),
            limits=self.desk.limits,
            labels=self.desk.labels,
            model=self.start,
        )

    def _looking(self, key: str, seed: int, ids: pa.Array, model: ModelFiles, *, mine: bool) -> Job:
        from mir_ops.executor import AssetCache, prepare_inference

        return prepare_inference(
            self.desk.ws.store,
            self.version,
            op_id=operation_id(self.name, {"look": key}),
            image=self.image,
            asset_ids=ids,
            model=model,
            config={**self.infer, "seed": seed},
            jobs_dir=self.desk.jobs_dir,
            cache=AssetCache(self.desk.cache_dir),
            limits=self.desk.limits,
            labels=self.desk.labels,
            mine=mine,
        )


def class_ids_of(version: Version, names: tuple[str, ...]) -> dict[str, int]:
    """The ids of these classes in the version; one that it lacks is refused."""
    found = {name: version.taxonomy.id_of(name) for name in names}
    unknown = [name for name, class_id in found.items() if class_id is None]
    if unknown or not found:
        raise InvalidInputError(
            f"Classes unknown to the dataset: {', '.join(f'`{name}`' for name in unknown)}"
            if unknown
            else "The version has no classes",
            code="unknown-class",
            hint=f"It knows: {', '.join(version.taxonomy.names) or 'none'}",
        )
    return {name: class_id for name, class_id in found.items() if class_id is not None}


def on(table: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these assets."""
    return table.filter(pc.is_in(table["asset_id"], value_set=ids))


def _as_training(version: Version, labelled: pa.Array, validation: pa.Array) -> Version:
    """The version with these images only, for training and for validation; nothing is committed."""
    from mir_ops.dataset.filtering import keep
    from mir_ops.dataset.previews import preview
    from mir_ops.store.changesets import ChangeSet

    ids = pa.concat_arrays([labelled, validation])
    kept = preview(version, keep(version, ids.take(pc.sort_indices(ids))))
    assets = kept.assets()
    for_training = pc.is_in(assets["asset_id"], value_set=labelled)
    place = assets.schema.get_field_index("split")
    splits = pc.if_else(for_training, "train", "val")
    changes = ChangeSet()
    changes.put_assets(assets.set_column(place, assets.schema.field(place), splits))
    return preview(kept, changes)
