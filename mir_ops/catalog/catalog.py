"""The catalog: one database of projects, rounds, models and label tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from mir_ops.catalog.connections import VERSION_TABLE, migrate, open_engine
from mir_ops.catalog.images import Executors
from mir_ops.catalog.packages import Packages
from mir_ops.catalog.project_rows import Projects
from mir_ops.catalog.projects import ProjectSpec, read_project
from mir_ops.catalog.round_rows import Rounds
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

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Let many short transactions follow each other quickly.

        When nobody else has a SQLite file open, the end of each transaction would copy the log
        into it and wait for the disk. One connection without a transaction is enough against that.
        """
        if self.engine.url.get_backend_name() != "sqlite":
            yield  # it has a pool
            return
        with self.engine.connect() as connection:
            connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))
            connection.rollback()
            yield

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
    spec = read_project(mapping, folder=folder)
    check_mining(spec)
    return catalog.projects.apply(spec)


def check_mining(spec: ProjectSpec) -> None:
    """Refuse a strategy, parameters or limits that mining would refuse."""
    from mir_ops.errors import InvalidInputError
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
