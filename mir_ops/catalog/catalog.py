"""The catalog: one database of projects, rounds, models and label tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from mir_ops.catalog.connections import migrate, open_engine
from mir_ops.catalog.images import Executors
from mir_ops.catalog.packages import Packages
from mir_ops.catalog.projects import read_project
from mir_ops.catalog.repositories import Projects, Rounds
from mir_ops.catalog.steps import Gates, LabelTasks, Models, Steps
from mir_ops.catalog.values import Project


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every method is one transaction; what it returns is a frozen copy."""

    engine: Engine

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Connect, and bring the schema up to date; safe when many processes start at once."""
        engine = open_engine(url)
        migrate(engine)
        return cls(engine)

    def close(self) -> None:
        """Give its connections back."""
        self.engine.dispose()

    @property
    def projects(self) -> Projects:
        return Projects(self.engine)

    @property
    def rounds(self) -> Rounds:
        return Rounds(self.engine)

    @property
    def steps(self) -> Steps:
        return Steps(self.engine)

    @property
    def models(self) -> Models:
        return Models(self.engine)

    @property
    def packages(self) -> Packages:
        return Packages(self.engine)

    @property
    def executors(self) -> Executors:
        return Executors(self.engine)

    @property
    def label_tasks(self) -> LabelTasks:
        return LabelTasks(self.engine)

    @property
    def gates(self) -> Gates:
        return Gates(self.engine)


def apply_project(
    catalog: Catalog, mapping: Mapping[str, Any], *, folder: Path | None = None
) -> Project:
    """Make a project be as its file says; relative paths are taken from `folder`."""
    from mir_ops.mining import strategies

    spec = read_project(mapping, folder=folder)
    require_strategy(spec.mining.strategy, strategies())
    return catalog.projects.apply(spec)


def require_strategy(name: str, known: Mapping[str, str]) -> None:
    """Refuse a mining strategy that nobody registered."""
    import difflib

    from mir_ops.errors import InvalidInputError

    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    raise InvalidInputError(
        f"No mining strategy named `{name}`",
        code="unknown-strategy",
        hint=f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(sorted(known))}",
    )
