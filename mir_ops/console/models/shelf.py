"""The models of a project: those that its rounds trained, others of its data, and imported ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mir_ops.console.models.measured import (
    Measured,
    measured_in_rounds,
    measured_on_branches,
)
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.errors import NotFoundError
from mir_ops.executor.stages import main_metric
from mir_ops.taxonomy import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mir_ops.catalog import Catalog, Model, Package, Promotion

_SHORTEST = 8  # digits of an id in an address


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """One model on the shelf of a project. `trained` are the rounds that trained or took it."""

    package: Package
    trained: tuple[Model, ...] = ()
    names: tuple[Promotion, ...] = ()

    @property
    def id(self) -> str:
        return self.package.model_id

    @property
    def created_at(self) -> datetime:
        return self.package.created_at

    @property
    def rounds(self) -> list[int]:
        return sorted({model.round_number for model in self.trained})

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Of the newest evaluation in a round; nothing where there was none."""
        return next((model.metrics for model in reversed(self.trained) if model.metrics), {})

    @property
    def claimed(self) -> tuple[str, float | None]:
        """The metric of its best stage, by the word of whoever trained it."""
        name = main_metric(self.package.object_type)
        return name, self.package.stages[self.package.best_stage].get(name)


def models_of(sources: Sources, project: str, *, deleted: bool = False) -> list[ModelLine]:
    """Newest first. Under `-` all that `mir view` may show."""
    catalog = sources.catalog
    if catalog is None:
        return []
    trained = _by_id(catalog.models.list(None if project == NO_PROJECT else project))
    names: dict[str, list[Promotion]] = {}
    for promotion in catalog.packages.promotions():
        names.setdefault(promotion.model_id, []).append(promotion)
    return [
        ModelLine(
            package=package,
            trained=tuple(trained.get(package.model_id, ())),
            names=tuple(names.get(package.model_id, ())),
        )
        for package in reversed(catalog.packages.list(deleted=deleted))
        if package.model_id in trained or _belongs(sources, package, project)
    ]


def find_model(sources: Sources, project: str, name: str) -> ModelLine:
    """The model with this id, or the start of it; that another project has it stays unsaid."""
    found = sources.catalog.packages.find(name) if sources.catalog else None
    if sources.catalog is not None and found is not None and len(name) >= _SHORTEST:
        listed = None if project == NO_PROJECT else project
        trained = sources.catalog.models.of_id(found.model_id, project=listed)
        if trained or _belongs(sources, found, project):
            names = [
                each
                for each in sources.catalog.packages.promotions()
                if each.model_id == found.model_id
            ]
            return ModelLine(package=found, trained=tuple(trained), names=tuple(names))
    raise NotFoundError(
        f"No model `{name[:64]}` in project `{project}`",
        code="no-such-model",
        hint="The project's page of models lists them",
    )


def measured_of(sources: Sources, project: str, line: ModelLine) -> list[Measured]:
    """What the model was measured on: in rounds, then on branches; newest first."""
    listed = None if project == NO_PROJECT else project
    rounds = measured_in_rounds(list(line.trained))
    known = {each.marks for each in rounds}
    branches = measured_on_branches(sources, listed, line.id)
    return [*rounds, *(each for each in branches if each.marks not in known)]


def _by_id(models: list[Model]) -> dict[str, list[Model]]:
    found: dict[str, list[Model]] = {}
    for model in models:
        found.setdefault(model.model_id, []).append(model)
    return found


def _belongs(sources: Sources, package: Package, project: str) -> bool:
    """Whether it was trained on the project's data, or imported and finds a class of it."""
    if project == NO_PROJECT:
        return sources.every_version
    commit = package.origin.get("training")
    if isinstance(commit, str):
        try:
            return sources.store.commit(commit).project == project
        except NotFoundError:
            return False
    assert sources.catalog is not None
    return not _was_trained(sources.catalog, package) and _is_of_use(
        sources.catalog, package, project
    )


def _was_trained(catalog: Catalog, package: Package) -> bool:
    """Whether a round has it: then it is that round's project's alone."""
    return bool(catalog.models.of_id(package.model_id))


def _is_of_use(catalog: Catalog, package: Package, project: str) -> bool:
    """Whether it finds a class of the project."""
    known = catalog.projects.find(project)
    return known is None or not {*map(normalise, package.classes)}.isdisjoint(known.spec.classes)
