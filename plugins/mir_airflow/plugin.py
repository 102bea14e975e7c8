"""The Airflow plugin: mounts the console behind Airflow's login."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class MirPlugin(AirflowPlugin):
    """Every Airflow process loads this class; only the API server asks for the console."""

    name = "mir"

    @cached_property
    def listeners(self) -> list[ModuleType]:  # type: ignore[override]
        from mir_airflow import preloading

        return [preloading]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from mir_airflow import console

        return console.fastapi_apps()

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from mir_airflow import console

        return console.external_views()


# The loader of a plugins folder runs every file in it once more, named by its stem, and registers
# each plugin class it finds there. `mir_plugin.py` is the one that registers.
if __name__ != "mir_airflow.plugin":
    del MirPlugin
