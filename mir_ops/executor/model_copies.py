"""Copy the models of a dataset version into another deployment: packages, logs, catalog entries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mir_ops.errors import NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import Package
    from mir_ops.store import Commit, Store
    from mir_ops.workspace import Workspace

_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LAYERS: Final = ("predictions:", "embeddings:", "scores:")
_WITH_MODELS: Final = ("model", "models", "origin", "parameters")


def models_of(commit: Commit) -> list[str]:
    """The ids that may be models': of its layers, and of what its operation says of a model."""
    layers = [name for name in commit.stats.layers if name.startswith(_LAYERS)]
    said = {key: commit.operation.parameters.get(key) for key in _WITH_MODELS}
    texts = [*layers, json.dumps(said, default=str)]
    return sorted({found for text in texts for found in _ID.findall(text)})


def copy_models(source: Workspace, commit: Commit, target: Workspace) -> list[Package]:
    """Those models of a commit that `source` has; one that `target` has stays as it is there."""
    from mir_ops.catalog.pages import keep_registry

    named = models_of(commit)
    found = [package for name in named if (package := source.catalog.packages.find(name))]
    copied = [_copy(source.store, package, target) for package in found]
    if copied:
        keep_registry(target.catalog, target.store, target.deployment)
    return copied


def _copy(source: Store, package: Package, target: Workspace) -> Package:
    known = target.catalog.packages.find(package.model_id)
    if known is not None and known.state == "ready":
        return known
    _copy_blob(source, package.package, target)
    for digest in _ID.findall(json.dumps(dict(package.origin), default=str)):
        try:  # its log, its TensorBoard; or a digest of something else
            _copy_blob(source, digest, target)
        except NotFoundError:
            continue
    return target.catalog.packages.add(
        model_id=package.model_id,
        package=package.package,
        classes=package.classes,
        object_type=package.object_type,
        stages=package.stages,
        best_stage=package.best_stage,
        origin=package.origin,
        state=package.state,
    )


def _copy_blob(source: Store, digest: str, target: Workspace) -> None:
    if target.store.has_blobs([digest]):
        return
    target.work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.work_dir, prefix="copy-") as folder:
        source.fetch_blob(digest, Path(folder) / digest)
        target.store.put_blob(Path(folder) / digest)
