"""`round__<project>`: what a project's DAG says, and what one that cannot be made costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from round_worlds import make_world

DAGS = Path(__file__).resolve().parents[2] / "dags"

# One process of Airflow sees the catalog in all its states.
SEEN = """
import json, os, sqlite3
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from mir_ops.catalog import kept

asked, select = [], kept._files
kept._files = lambda engine: asked.append(1) or select(engine)
catalog = Path("CATALOG")

def described(dag):
    table = dag.timetable
    assets = getattr(table, "asset_condition", None)
    params = {name: dag.params.get_param(name) for name in dag.params}
    workers = ("train", "train_last", "evaluate", "mine_shard", "mine", "merge_labels")
    tasks = {name: dag.get_task(name) for name in workers}
    return {
        "workers": {
            name: [task.queue or "default", task.pool or "default_pool", task.pool_slots or 1]
            for name, task in tasks.items()
        },
        "tags": sorted(dag.tags),
        "owner": dag.owner,
        "cron": getattr(getattr(table, "timetable", table), "expression", None),
        "events": sorted(asset.uri for asset in assets.objects) if assets else [],
        "params": {name: param.value for name, param in params.items()},
        "described": all(param.description and param.schema["title"] for param in params.values()),
        "project": dag.get_task("open_round").project,
        "known": sorted(asset.uri for asset in dag.get_task("open_round").inlets),
    }

def parse():
    asked.clear()
    rounds = DagBag("DAGS/project_rounds.py")
    missing = DagBag("DAGS/project_rounds_missing.py")
    return {
        "selects": len(asked),
        "dags": {name: described(dag) for name, dag in rounds.dags.items()},
        "errors": list(rounds.import_errors.values()),
        "missing": [text.rstrip().splitlines()[-1] for text in missing.import_errors.values()],
        "others": sorted(missing.dags),
    }

def set_budget(value):
    with sqlite3.connect(catalog) as database:
        database.execute(
            "UPDATE mir_projects SET spec = json_set(spec, '$.mining.budget', ?) WHERE name = ?",
            (value, "plain"),
        )

seen = {"well": parse()}
os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "round__plain"
seen["task"] = parse()
del os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"]
set_budget(0)
seen["broken"] = parse()
set_budget(5)
seen["mended"] = parse()
catalog.rename("aside")
seen["gone"] = parse() | {"made": catalog.exists()}
catalog.write_bytes(b"no database" * 100)
seen["garbage"] = parse()
Path("aside").replace(catalog)
connection = os.environ.pop("AIRFLOW_CONN_MIR_DEFAULT")
seen["disconnected"] = parse()
os.environ["AIRFLOW_CONN_MIR_DEFAULT"] = connection
seen["again"] = parse()
print("\\n" + json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory, in_airflow: Callable[..., str]
) -> dict[str, dict[str, Any]]:
    world = make_world(tmp_path_factory.mktemp("projects"))
    world.apply("plain")
    world.apply(
        "busy",
        schedule={"cron": "0 3 * * 1", "new_data": True, "new_labels": 5, "continuous": True},
        tags=["night shift"],
        owners=["vision", "ops"],
        mining={"strategy": "margin", "budget": 7, "control": 0.2},
        pretrained="production",
        train_after_merge=True,
        executor={
            "name": "sample",
            "limits": {"gpus": 2},
            "workers": {
                "train": {"queue": "a100", "pool": "gpu-a100"},
                "infer": {"queue": "t4", "pool": "gpu-t4"},
            },
        },
    )
    world.apply("gone")
    world.workspace.catalog.projects.delete("gone")
    code = SEEN.replace("DAGS", str(DAGS)).replace("CATALOG", str(world.root / "catalog.db"))
    connection = json.dumps(world.connections()["mir_default"])
    home = str(tmp_path_factory.mktemp("home"))  # answers of the catalog are kept there
    out = in_airflow(code, AIRFLOW_CONN_MIR_DEFAULT=connection, AIRFLOW_HOME=home)
    found: dict[str, dict[str, Any]] = json.loads(out.splitlines()[-1])
    return found


def test_a_projects_dag_has_its_schedule_its_owners_and_its_defaults(seen: dict[str, Any]) -> None:
    well = seen["well"]
    assert (well["selects"], well["errors"], well["missing"], well["others"]) == (1, [], [], [])
    assert sorted(well["dags"]) == ["round__busy", "round__plain"]
    assert well["dags"]["round__busy"] == {
        "workers": {
            "train": ["a100", "gpu-a100", 2],
            "train_last": ["a100", "gpu-a100", 2],
            "evaluate": ["t4", "gpu-t4", 2],
            "mine_shard": ["t4", "gpu-t4", 2],
            "mine": ["t4", "gpu-t4", 2],
            "merge_labels": ["default", "default_pool", 1],
        },
        "tags": ["mir", "night shift", "round"],
        "owner": "vision, ops",
        "cron": "0 3 * * 1",
        "events": ["mir://busy/data", "mir://busy/next"],
        "params": {
            "new_data": None,
            "budget": 7,
            "strategy": "margin",
            "control": 0.2,
            "prepare_pool": True,
            "pretrained": "production",
            "model": None,
            "mine": True,
            "label": True,
            "train_after_merge": True,
            "seed": 3,
            "as_project": None,
        },
        "described": True,
        "project": "busy",
        "known": ["mir://busy/closed", "mir://busy/data", "mir://busy/next"],
    }
    plain = well["dags"]["round__plain"]
    assert (plain["cron"], plain["events"], plain["owner"]) == (None, [], "airflow")
    assert set(map(tuple, plain["workers"].values())) == {("default", "default_pool", 1)}


def test_a_task_makes_the_dag_of_its_project_alone(seen: dict[str, Any]) -> None:
    assert list(seen["task"]["dags"]) == ["round__plain"]
    assert seen["task"]["selects"] == 1


def test_a_project_that_cannot_be_built_costs_its_own_dag_and_is_named(
    seen: dict[str, Any],
) -> None:
    broken = seen["broken"]

    assert list(broken["dags"]) == ["round__busy"]
    assert broken["errors"] == []
    assert broken["missing"] == [
        "mir_airflow.project_rounds.MissingRoundsError: `round__plain`: InvalidInputError: "
        "Invalid project: `mining.budget`: Input should be greater than or equal to 1"
    ]
    assert seen["mended"] == seen["well"]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("gone", "The catalog's file is not there"),
        ("garbage", "file is not a database"),
        ("disconnected", "`mir_default` isn't defined"),
    ],
)
def test_a_catalog_that_is_away_costs_no_dag_and_is_named(
    seen: dict[str, Any], how: str, why: str
) -> None:
    away = seen[how]

    assert away["dags"] == seen["well"]["dags"]
    (said,) = away["missing"]
    assert "the projects are those of an earlier time: " in said
    assert why in said
    assert not away.get("made", False)
    assert seen["again"] == seen["well"]
