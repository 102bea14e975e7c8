"""Preparing a job: a dataset version becomes the `/in` folder of the executor contract."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation.frozen import refuse_frozen
from mir_ops.executor.annotations import check_export_format, write_annotations
from mir_ops.executor.cache import AssetCache
from mir_ops.executor.jobs import (
    ExecutorImage,
    Job,
    Limits,
    ModelFiles,
    is_prepared,
    job_folder,
    save_job,
)
from mir_ops.executor.media import check_space, place_assets, write_candidates
from mir_ops.executor.outputs import clear_outputs
from mir_ops.executor.packages import unpack_stage
from mir_ops.executor.settings import write_settings
from mir_ops.store.schema import layer_kind

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

_COLUMNS: Final = [
    "asset_id", "media_type", "width", "height", "channels", "byte_size", "orientation",
    "ymir_sha1", "split",
]  # fmt: skip
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LOG = logging.getLogger(__name__)


def prepare_training(
    store: Store,
    version: Version,
    *,
    op_id: str,
    image: ExecutorImage,
    class_names: Sequence[str],
    config: Mapping[str, Any],
    jobs_dir: Path,
    cache: AssetCache,
    limits: Limits,
    labels: Mapping[str, str],
    model: ModelFiles | None = None,
) -> Job:
    """A job that trains on the version's train split and measures itself on its val split.

    The test split and the predictions, where the version has some, are there to be looked at.
    An image of a frozen test set in any split is an `InvalidInputError`.
    Asked again with the same arguments it returns the folder as it is, so a retry can find a
    container that is still running on it.
    """
    refuse_frozen(store, version)
    settings = {**image.template("train"), **config}
    classes = _class_ids(version, class_names)
    job = _new_job(
        op_id=op_id,
        kind="train",
        image=image,
        class_names=tuple(classes.values()),
        jobs_dir=jobs_dir,
        limits=_limits_for(limits, settings),
        labels=labels,
        candidates=None,
        asked=[version.commit.id, settings, model.model_id if model else None],
    )
    if not is_prepared(job):
        _fill_training(store, version, job, settings, classes, cache, model)
    return job


def _fill_training(
    store: Store,
    version: Version,
    job: Job,
    settings: Mapping[str, Any],
    classes: Mapping[int, str],
    cache: AssetCache,
    model: ModelFiles | None,
) -> None:
    export_format = check_export_format(settings, job.image)
    parts = _training_parts(version)
    _start_folder(job)
    assets = pa.concat_tables(parts.values())
    check_space(job, assets)
    paths = place_assets(store, job, assets, cache=cache)
    annotations = write_annotations(version, job, assets, classes, export_format=export_format)
    _write_indexes(job, parts, paths, annotations, "", "idx-gt.tsv")
    _write_lines(job.inputs / "idx-assets.tsv", paths)
    _add_predictions(version, job, parts, paths, classes, export_format)
    model_paths = unpack_stage(store, model, job) if model is not None else None
    write_settings(job, settings, model_paths=model_paths)
    save_job(job)


def prepare_inference(
    store: Store,
    version: Version,
    *,
    op_id: str,
    image: ExecutorImage,
    asset_ids: pa.Array,
    model: ModelFiles,
    config: Mapping[str, Any],
    jobs_dir: Path,
    cache: AssetCache,
    limits: Limits,
    labels: Mapping[str, str],
    mine: bool = False,
    predict: bool = True,
    also: Sequence[Version] = (),
) -> Job:
    """A job that predicts on some of the version's assets, and also scores them when `mine`.

    Assets that the version lacks are taken from `also`.
    """
    settings = {
        **(image.template("infer") if predict or not mine else {}),
        **(image.template("mine") if mine else {}),
        **config,
    }
    candidates = tuple(sorted(set(asset_ids.to_pylist())))
    job = _new_job(
        op_id=op_id,
        kind="mine" if mine else "infer",
        image=image,
        class_names=model.class_names,
        jobs_dir=jobs_dir,
        limits=_limits_for(limits, settings),
        labels=labels,
        candidates=candidates,
        predicts=predict or not mine,
        asked=[version.commit.id, settings, model.model_id, model.stage, _digest(candidates)],
    )
    if not is_prepared(job):
        assets = _candidate_assets(version, candidates, also)
        _fill_inference(store, job, settings, assets, cache, model)
    return job


def _fill_inference(
    store: Store,
    job: Job,
    settings: Mapping[str, Any],
    assets: pa.Table,
    cache: AssetCache,
    model: ModelFiles,
) -> None:
    _start_folder(job)
    check_space(job, assets)
    paths = place_assets(store, job, assets, cache=cache)
    _write_lines(job.inputs / "candidate-index.tsv", paths)
    write_candidates(job, assets)
    model_paths = unpack_stage(store, model, job)
    write_settings(job, settings, model_paths=model_paths)
    save_job(job)


def _new_job(*, jobs_dir: Path, asked: list[Any], **fields: Any) -> Job:
    image: ExecutorImage = fields["image"]
    request = json.dumps(
        [
            *(fields["kind"], image.name, image.image, fields["class_names"]),
            *(image.object_type, image.protocol, fields.get("predicts", True)),
            *asked,
        ],
        sort_keys=True,
        default=str,
    )
    return Job(
        **fields,
        folder=job_folder(jobs_dir.resolve(), fields["op_id"]),
        request=hashlib.sha256(request.encode()).hexdigest(),
    )


def _start_folder(job: Job) -> None:
    shutil.rmtree(job.folder, ignore_errors=True)
    for name in ("assets", "annotations", "models"):
        (job.inputs / name).mkdir(parents=True)
    clear_outputs(job)


def _training_parts(version: Version) -> dict[str, pa.Table]:
    """The labelled assets of both splits, each sorted by id."""
    assets = version.assets(columns=_COLUMNS)
    labelled = pc.is_in(assets["asset_id"], value_set=version.layer_assets("ground_truth"))
    parts = {}
    for split, code in (("train", "empty-training-set"), ("val", "empty-validation-set")):
        wanted = pc.equal(assets["split"], split)
        part = assets.filter(pc.and_(wanted, labelled)).sort_by("asset_id")
        skipped = int(pc.sum(pc.and_not(wanted, labelled)).as_py() or 0)
        if not part.num_rows:
            raise InvalidInputError(
                f"Version `{version.commit.id[:12]}` has no labelled asset in split `{split}`"
                + (f", but {skipped} without labels" if skipped else ""),
                code=code,
                hint="Merge a labelled dataset into that split: `tr:` for train, `va:` for val",
            )
        if skipped:
            _LOG.warning("Left %d assets of split %s out: they have no labels", skipped, split)
        parts[split] = part
    tested = pc.and_(pc.equal(assets["split"], "test"), labelled)
    parts["test"] = assets.filter(tested).sort_by("asset_id")
    return parts


def _write_indexes(
    job: Job,
    parts: Mapping[str, pa.Table],
    paths: Sequence[str],
    annotations: Sequence[str | None],
    prefix: str,
    all_of_them: str,
) -> None:
    """An index of each split and one of all: image and annotation, without what has none."""
    lines: list[str] = []
    start = 0
    for split, part in parts.items():
        end = start + part.num_rows
        pairs = zip(paths[start:end], annotations[start:end], strict=True)
        found = [f"{path}\t{annotation}" for path, annotation in pairs if annotation]
        _write_lines(job.inputs / f"{prefix}{split}-index.tsv", found)
        lines += found
        start = end
    _write_lines(job.inputs / all_of_them, lines)


def _add_predictions(
    version: Version,
    job: Job,
    parts: Mapping[str, pa.Table],
    paths: Sequence[str],
    classes: Mapping[int, str],
    export_format: str,
) -> None:
    """The version's predictions beside its labels, if it has those of one model."""
    layers = [name for name in version.layers() if layer_kind(name) == "predictions"]
    written: dict[bytes, str] = {}
    assets = pa.concat_tables(parts.values())
    if len(layers) == 1:
        covered = pc.is_in(assets["asset_id"], value_set=version.layer_assets(layers[0]))
        looked_at = assets.filter(covered)
        files = write_annotations(
            version, job, looked_at, classes, export_format=export_format, layer=layers[0]
        )
        written = dict(zip(looked_at["asset_id"].to_pylist(), files, strict=True))
    annotations = [written.get(asset_id) for asset_id in assets["asset_id"].to_pylist()]
    _write_indexes(job, parts, paths, annotations, "pred-", "idx-pred.tsv")


def _candidate_assets(
    version: Version, candidates: tuple[bytes, ...], also: Sequence[Version]
) -> pa.Table:
    if not candidates:
        raise InvalidInputError(
            "No assets to predict on",
            code="empty-candidates",
            hint="Import more images, or check the filter that chose them",
        )
    wanted = pa.array(candidates, pa.binary(32))
    assets = version.assets(columns=_COLUMNS, ids=wanted)
    for other in also:
        missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=assets["asset_id"])))
        assets = pa.concat_tables([assets, other.assets(columns=_COLUMNS, ids=missing)])
    assets = assets.sort_by("asset_id")
    if assets.num_rows != len(candidates):
        missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=assets["asset_id"])))
        raise NotFoundError(
            f"{len(missing)} of {len(candidates)} assets are not in version "
            f"`{version.commit.id[:12]}`, first `{missing[0].as_py().hex()[:12]}`",
            code="no-such-asset",
        )
    return assets


def _class_ids(version: Version, class_names: Sequence[str]) -> dict[int, str]:
    """Class id to main name, in the order asked for; the executor counts in that order."""
    taxonomy = version.taxonomy
    found = [(name, taxonomy.id_of(name)) for name in class_names]
    unknown = ", ".join(f"`{name}`" for name, class_id in found if class_id is None)
    if unknown or not found:
        raise InvalidInputError(
            f"Classes unknown to the dataset: {unknown}" if unknown else "No classes to train",
            code="unknown-class",
            hint=f"The dataset knows: {', '.join(taxonomy.names)}"
            if taxonomy.names
            else "The dataset knows none: import images with their annotations first",
        )
    classes = {id_: taxonomy.name_of(id_) for _, id_ in found if id_ is not None}
    if len(classes) != len(found):
        raise InvalidInputError(
            "A class is named twice, perhaps once by an alias",
            code="duplicate-class",
            hint="Name each class once",
        )
    return classes


def _limits_for(limits: Limits, settings: Mapping[str, Any]) -> Limits:
    """The image's own `shm_size` wins, as in `128G`; it is a bound and reserves nothing."""
    asked = settings.get("shm_size")
    if not asked:
        return limits
    match = re.fullmatch(r"(\d{1,12})\s*([KMG]?)B?", str(asked).strip().upper())
    if match is None:
        raise InvalidInputError(
            f"Setting `shm_size` is `{asked}`", code="bad-setting", hint="Write it as `16G`"
        )
    return replace(limits, shm_bytes=int(match[1]) * _SIZES[match[2]])


def _digest(candidates: tuple[bytes, ...]) -> str:
    return hashlib.sha256(b"".join(candidates)).hexdigest()


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
