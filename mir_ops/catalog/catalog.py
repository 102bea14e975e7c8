"""The catalog: one database of projects, rounds, models and label tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, text

from mir_ops.catalog.connections import VERSION_TABLE, check_room, migrate, open_engine
from mir_ops.catalog.images import Executors
from mir_ops.catalog.overviews import Overviews
from mir_ops.catalog.packages import Packages
from mir_ops.catalog.project_rows import Projects
from mir_ops.catalog.round_rows import Rounds
from mir_ops.catalog.steps import Gates, LabelTasks, Models, Steps


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

    def check_room(self) -> None:
        """Write something and take it back: a StoreError where the database has no room for it."""
        check_room(self.engine)

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

    @property
    def overviews(self) -> Overviews:
        return Overviews(self.engine)
