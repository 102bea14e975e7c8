"""A listener that loads our library once, in the process whose forks are tasks.

A task that imported it for itself would do that longer than an empty executor runs. A scheduler
with a LocalExecutor forks workers when it starts, and these fork a process for each task: what
was loaded before, all of them have.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from airflow.listeners import hookimpl
from airflow.sdk.configuration import conf

# What DAG files and steps import when they come to it; these bring the rest with them.
ROOMS: Final = ("mir_ops.executor", "mir_ops.labeling", "mir_ops.mining.scoring", "mir_ops.rounds")
MODULES: Final = (
    "mir_airflow.project_rounds",
    "mir_ops.catalog.kept",
    "mir_ops.dataset.image_workers",
    "mir_ops.formats.tarballs",
    "mir_ops.mining.control",
    "mir_ops.quality.gate",
    "mir_ops.store.merges",
    "mir_ops.store.s3",
    "numpy.ma",
    "pyarrow.acero",
    "pyarrow.pandas_compat",
    "pyarrow.vendored.version",
)


@hookimpl
def on_starting(component: object) -> None:  # noqa: ARG001 - a job that has no type yet
    """Every component calls this, a scheduler before it starts its executors."""
    if forks_tasks(sys.argv, conf.get("core", "executor")):
        preload()


def forks_tasks(command: list[str], executor: str) -> bool:
    """Whether tasks are grandchildren of this process, by forks alone."""
    is_scheduler = command[1:2] == ["scheduler"]
    return is_scheduler and "LocalExecutor" in executor and sys.platform == "linux"


@cache  # a task, whose command is still its scheduler's, calls the listener too
def preload() -> None:
    """Load what tasks need. No threads are left that a fork would lose.

    OpenBLAS ends its own before a fork, and Arrow's allocator looks after its one.
    """
    from mir_ops.arrow import spare_pandas

    spare_pandas()
    for room in ROOMS:
        for module in iter_modules(import_module(room).__path__):
            import_module(f"{room}.{module.name}")
    for name in MODULES:
        import_module(name)
    _prepare_tables()
    _load_rules()


def _prepare_tables() -> None:
    """What SQLAlchemy would else do in each task when it first asks the catalog."""
    from mir_ops.catalog.tables import Table

    Table.registry.configure()


def _load_rules() -> None:
    """What judges the rules of gates, where it is installed: each would load it for seconds."""
    from mir_ops.errors import InvalidInputError
    from mir_ops.quality.engine import import_library

    with suppress(InvalidInputError):
        import_library()
