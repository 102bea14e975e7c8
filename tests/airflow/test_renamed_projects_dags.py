"""The DAG of a project goes by its key; it shows the name, and is gone while it is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mir_ops.catalog import Catalog, create_project
from mir_ops.catalog.kept import list_projects

SHOW = """
import json
from mir_airflow.project_rounds import project_dag
dag = project_dag("KEY", json.loads('''FILE'''), "mir_default")
print("\\n" + json.dumps([dag.dag_id, dag.dag_display_name, dag.get_task("open_round").project]))
"""


def test_dag_of_a_renamed_project_stays_and_shows_the_name(
    tmp_path: Path, in_airflow: Callable[..., str]
) -> None:
    url, kept = f"sqlite:///{tmp_path / 'catalog.db'}", tmp_path / "kept.json"
    projects = Catalog.open(url).projects
    made = create_project(
        Catalog.open(url),
        {
            "name": "digits",
            "classes": ["one"],
            "sources": {"training": "/t.zip", "validation": "/v.zip", "pool": "/p.zip"},
            "executor": {"name": "sample"},
        },
    )
    projects.rename("digits", "numbers")

    ((key, file),) = list_projects(url, kept).files.items()
    said = in_airflow(SHOW.replace("KEY", key).replace("FILE", json.dumps(file)))
    assert json.loads(said.splitlines()[-1]) == [made.dag_id, "round__numbers", "digits"]
    assert made.dag_id == "round__digits"

    projects.delete("numbers")
    assert list_projects(url, kept).files == {}
    projects.restore("numbers")
    assert list(list_projects(url, kept).files) == ["digits"]
