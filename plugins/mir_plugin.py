"""Registers the plugin where this folder is `$AIRFLOW_HOME/plugins`.

An installed package registers itself; both at once must be one plugin.
"""

from __future__ import annotations

from importlib.metadata import entry_points

if not any(each.name == "mir" for each in entry_points(group="airflow.plugins")):
    from mir_airflow.plugin import MirPlugin  # noqa: F401
