"""The models of a workspace: find one by what people call it, import, export, promote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor.importing import check_classes, read_model
from mir_ops.executor.jobs import ModelFiles

if TYPE_CHECKING:
    from mir_ops.catalog import Package, Promotion
    from mir_ops.executor.stages import StageResult
    from mir_ops.executor.training import TrainingResult
    from mir_ops.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """One stage of a model."""

    package: Package
    stage: str

    @property
    def name(self) -> str:
        return f"{self.package.model_id}@{self.stage}"

    def files(self) -> ModelFiles:
        """What a job needs of it."""
        return ModelFiles(
            model_id=self.package.model_id,
            package=self.package.package,
            class_names=self.package.classes,
            stage=self.stage,
        )


def choose_model(ws: Workspace, text: str, *, location: Path | None = None) -> ChosenModel:
    """The model of `id[@stage]`, where the id may be cut short, or of a promoted name.

    An id of YMIR's is found too; what only the folder `location` has is imported from there.
    """
    from mir_ops.catalog.packages import deleted_model

    name, at, stage = text.partition("@")
    package = _find(ws, name, location)
    if package is None:
        promotion = ws.catalog.packages.promotion(name)
        package = ws.catalog.packages.find(promotion.model_id)
        stage = stage or promotion.stage
    assert package is not None
    if package.deleted_at is not None:
        raise deleted_model(package.model_id)
    if at and not stage:
        raise InvalidInputError(
            f"`{text}` names no stage", code="no-such-stage", hint=_stages_hint(package)
        )
    chosen = stage or package.best_stage
    if chosen not in package.stages:
        raise NotFoundError(
            f"Model `{package.model_id[:12]}` has no stage `{chosen}`",
            code="no-such-stage",
            hint=_stages_hint(package),
        )
    return ChosenModel(package=package, stage=chosen)


def import_model(
    ws: Workspace, path: Path, *, project_classes: Sequence[str] | None = None
) -> Package:
    """Take a package of ours or of YMIR's; classes that the project lacks refuse it."""
    if not path.is_file():
        raise NotFoundError(
            f"No model package `{path}`", code="no-such-file", hint="Name a file that exists"
        )
    ws.work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=ws.work_dir, prefix="model-") as folder:
        model = read_model(path, Path(folder))
        if project_classes is not None:
            check_classes(model.class_names, project_classes)
        imported = ws.catalog.packages.add(
            model_id=model.model_id,
            package=ws.store.put_blob(model.package),
            classes=model.class_names,
            object_type=model.object_type,
            stages=_metrics(model.stages),
            best_stage=model.best_stage,
            origin={
                "producer": model.producer,
                "image": model.image,
                "config": _plain(model.config),
                "ymir_hash": model.sha1,
                **({"curves": ws.store.put_blob(model.curves)} if model.curves else {}),
            },
        )
    _keep(ws)
    return imported


def keep_training(
    ws: Workspace, trained: TrainingResult, origin: Mapping[str, Any], *, state: str = "ready"
) -> Package:
    """Store a trained model's package, log, curves and TensorBoard folder, and register it."""
    blobs = {"log": trained.log, "tensorboard": trained.tensorboard, "curves": trained.curves}
    kept = {
        name: ws.store.put_blob(path)
        for name, path in blobs.items()
        if path is not None and path.is_file() and not path.is_symlink()
    }
    package = ws.catalog.packages.add(
        model_id=trained.model_id,
        package=ws.store.put_blob(trained.package),
        classes=trained.class_names,
        object_type=trained.object_type,
        stages=_metrics(trained.stages),
        best_stage=trained.best_stage,
        origin={"producer": "mir-ops", **origin, **kept},
        state=state,
    )
    _keep(ws)
    return package


def export_model(ws: Workspace, package: Package, target: Path) -> Path:
    """Write the package to a file, or into a folder under its id, as `--model-location` has it."""
    path = target / package.model_id if target.is_dir() else target
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    ws.store.fetch_blob(package.package, partial)
    os.replace(partial, path)
    return path


def promote_model(ws: Workspace, chosen: ChosenModel, name: str) -> Promotion:
    """Let a name such as `production` mean this stage from now on."""
    if chosen.package.state != "ready":
        raise InvalidInputError(
            f"Model `{chosen.package.model_id[:12]}` is what a failed training left",
            code="failed-model",
            hint="Train it again, and promote what comes out",
        )
    promotion = ws.catalog.packages.promote(name, chosen.package.model_id, chosen.stage)
    _keep(ws)
    return promotion


def copy_tensorboard(package_folder: Path, target: Path) -> None:
    """Put a job's TensorBoard files where a person looks for them; links are left out."""
    for directory, _, names in os.walk(package_folder):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                copy = target / path.relative_to(package_folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def _keep(ws: Workspace) -> None:
    """Let the store know, too: a model that no round trained is in no round's page."""
    from mir_ops.catalog.pages import keep_registry

    keep_registry(ws.catalog, ws.store, ws.deployment)


def _find(ws: Workspace, name: str, location: Path | None) -> Package | None:
    packages = ws.catalog.packages
    if found := packages.find(name):
        return found
    if len(name) >= 8:
        for package in packages.list():
            if str(package.origin.get("ymir_hash", "")).startswith(name):
                return package
    if location is not None and name and "/" not in name and (location / name).is_file():
        return import_model(ws, location / name)
    return None


def _metrics(stages: Sequence[StageResult]) -> dict[str, dict[str, float]]:
    return {stage.name: dict(stage.metrics) for stage in stages}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of strangers as JSON has them."""
    return {
        str(key): value if isinstance(value, str | int | float | bool | list) else str(value)
        for key, value in config.items()
    }


def _stages_hint(package: Package) -> str:
    return f"Its stages: {', '.join(package.stages)}"
