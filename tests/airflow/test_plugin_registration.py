"""The plugin registers once, whether it is installed, dropped into a folder, or both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

LOAD = """
import json, sys
from airflow import plugins_manager
from airflow.sdk import plugins_manager as task_plugins
plugins, errors = plugins_manager._get_plugins()
in_tasks, task_errors = task_plugins._get_plugins()
apps, _ = plugins_manager.get_fastapi_plugins()
views, _ = plugins_manager._get_ui_plugins()
print("\\n" + json.dumps({
    "plugins": [plugin.name for plugin in plugins],
    "in_tasks": [plugin.name for plugin in in_tasks],
    "sources": [type(plugin.source).__name__ for plugin in plugins],
    "errors": {**errors, **task_errors},
    "apps": [app["url_prefix"] for app in apps],
    "views": [view["url_route"] for view in views],
}))
"""

# As if the package were not installed: its entry points are not found.
HIDDEN = """
import importlib.metadata, importlib_metadata
for module in (importlib.metadata, importlib_metadata):
    def without(find=module.distributions, **kwargs):
        return (each for each in find(**kwargs) if each.metadata["Name"] != "mir-ops")
    module.distributions = without
"""

ONCE = {
    "plugins": ["mir"],
    "in_tasks": ["mir"],
    "errors": {},
    "apps": ["/mir"],
    "views": ["mir", "mir-round"],
}


def test_an_installed_package_is_one_plugin(in_airflow: Callable[..., str], tmp_path: Path) -> None:
    found = _load(in_airflow, LOAD, tmp_path)

    assert found == {**ONCE, "sources": ["EntryPointSource"]}


def test_a_mounted_folder_is_one_plugin(in_airflow: Callable[..., str]) -> None:
    found = _load(in_airflow, HIDDEN + LOAD, PLUGINS)

    assert found == {**ONCE, "sources": ["PluginsDirectorySource"]}


@pytest.mark.parametrize("ignore_file", [True, False], ids=["with-ignore-file", "without"])
def test_both_at_once_are_one_plugin(
    in_airflow: Callable[..., str], tmp_path: Path, ignore_file: bool
) -> None:
    # `cp plugins/* …` leaves the hidden `.airflowignore` behind: then every file is executed.
    for file in PLUGINS.rglob("*.py"):
        copy = tmp_path / file.relative_to(PLUGINS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    if ignore_file:
        (tmp_path / ".airflowignore").write_bytes((PLUGINS / ".airflowignore").read_bytes())

    found = _load(in_airflow, LOAD, tmp_path)

    assert found == {**ONCE, "sources": ["EntryPointSource"]}


def test_the_connection_types_have_a_form(in_airflow: Callable[..., str]) -> None:
    code = """
import json
from airflow.providers_manager import ProvidersManager
hooks = ProvidersManager().hooks
print("\\n" + json.dumps({name: hooks[name].hook_name for name in ("mir", "mir_labels")}))
"""

    named = json.loads(in_airflow(code).splitlines()[-1])

    assert named == {"mir": "MIR workspace", "mir_labels": "MIR labels"}


def _load(in_airflow: Callable[..., str], code: str, folder: Path) -> object:
    out = in_airflow(code, AIRFLOW__CORE__PLUGINS_FOLDER=str(folder))
    return json.loads(out.splitlines()[-1])
