"""What people do to projects: apply a file, create, edit; and what is checked whenever they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.projects import ProjectSpec, read_project
from mir_ops.catalog.values import Project
from mir_ops.errors import InvalidInputError

Vet = Callable[[ProjectSpec | None, ProjectSpec], None]


def check_project(spec: ProjectSpec) -> None:
    """Refuse what a round would refuse. The shape is `read_project`'s, the rest is said here."""
    _check_mining(spec)


def apply_project(
    catalog: Catalog, mapping: Mapping[str, Any], *, folder: Path | None = None
) -> Project:
    """Make a project be as its file says; relative paths are taken from `folder`."""
    return catalog.projects.apply(_checked(mapping, folder))


def create_project(
    catalog: Catalog,
    mapping: Mapping[str, Any],
    *,
    folder: Path | None = None,
    vet: Vet | None = None,
) -> Project:
    """A project that does not exist yet. `vet` refuses what this caller may not ask for."""
    spec = _checked(mapping, folder)
    if vet is not None:
        vet(None, spec)
    return catalog.projects.create(spec)


def edit_project(
    catalog: Catalog,
    name: str,
    changes: Mapping[str, Any],
    *,
    folder: Path | None = None,
    vet: Vet | None = None,
) -> Project:
    """Change some keys of a project, others stay; a key that is null takes its default (RFC 7396).

    `vet` is given the project as it was and as it would be.
    """

    def change(before: ProjectSpec) -> ProjectSpec:
        spec = _checked(patched(before.to_mapping(), changes), folder)
        if vet is not None:
            vet(before, spec)
        return spec

    return catalog.projects.change(name, change)


def patched(old: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with what the patch says; what is null there is taken out."""
    new = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = patched(new.get(key), value) if isinstance(value, Mapping) else value
    return new


def _checked(mapping: Mapping[str, Any], folder: Path | None) -> ProjectSpec:
    spec = read_project(mapping, folder=folder)
    check_project(spec)
    return spec


def _check_mining(spec: ProjectSpec) -> None:
    from mir_ops.mining import Limits, check_parameters

    mining, classes = spec.mining, spec.classes
    check_parameters(mining.strategy, mining.parameters)
    unknown = [name for name in mining.quotas if name not in classes]
    if unknown:
        raise InvalidInputError(
            f"A quota is for `{unknown[0]}`, which is no class of the project",
            code="bad-quota",
            hint=f"The project has {', '.join(f'`{name}`' for name in classes)}",
        )
    quotas = {classes.index(name): count for name, count in mining.quotas.items()}
    Limits(unit=mining.unit, quotas=quotas).check(mining.budget)
