"""A DAG for each project of the catalog: `round__<project>`, with the project's own defaults.

The parse of one file makes all of them, the parse for a task only the task's. What cannot be made
is kept beside the catalog's last answer, for `dags/project_rounds_missing.py` to say: Airflow takes
all DAGs of a file away that has an error, so the error has a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.configuration import AIRFLOW_HOME
from airflow.sdk import (
    DAG,
    AssetAny,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    get_parsing_context,
)

from mir_airflow.assets import Happening, project_asset, project_assets
from mir_airflow.hooks.mir import MirHook
from mir_airflow.round_dag import round_dag
from mir_airflow.round_params import PARAMS

if TYPE_CHECKING:
    from airflow.sdk.bases.timetable import BaseTimetable
    from airflow.sdk.definitions.asset import BaseAsset

    from mir_ops.catalog import ProjectSpec
    from mir_ops.catalog.projects import ScheduleSpec

PREFIX: Final = "round__"


class MissingRoundsError(Exception):
    """Some projects have no DAG, or one of an earlier time."""


def project_dags(mir_conn_id: str = MirHook.default_conn_name) -> dict[str, DAG]:
    """The DAGs of all projects by their ids; for a task, that of its own alone."""
    from mir_ops.catalog.kept import keep

    files, problem = _files(mir_conn_id)
    wanted = get_parsing_context().dag_id
    dags: dict[str, DAG] = {}
    missing = {} if problem is None else {"": problem}
    for key, file in files.items():
        if wanted not in (None, PREFIX + key):
            continue
        try:
            dags[PREFIX + key] = project_dag(key, file, mir_conn_id)
        except Exception as error:  # noqa: BLE001  one project costs its own DAG alone
            missing[key] = f"{type(error).__name__}: {error}"
    if wanted is None:
        keep(_kept(mir_conn_id, "missing"), missing)
    return dags


def check_project_dags(mir_conn_id: str = MirHook.default_conn_name) -> None:
    """Raise what the last parse of the projects could not make, in words."""
    from mir_ops.catalog.kept import read_kept

    missing = read_kept(_kept(mir_conn_id, "missing"))
    if not missing:
        return
    said = [f"`{PREFIX}{key}`: {reason}" for key, reason in sorted(missing.items()) if key]
    if "" in missing:
        said.insert(0, f"the projects are those of an earlier time: {missing['']}")
    raise MissingRoundsError("; ".join(said))


def project_dag(key: str, file: Mapping[str, Any], mir_conn_id: str) -> DAG:
    """The DAG of one project, as its file says it."""
    from mir_ops.catalog.projects import read_project

    spec = read_project(file)
    return round_dag(
        PREFIX + key,
        project=key,
        params=_params(spec),
        display_name=PREFIX + spec.name,  # of a renamed project another than its id
        description=spec.description or f"Rounds of project `{spec.name}`",
        schedule=_schedule(key, spec.schedule),
        inlets=project_assets(key),
        tags=spec.tags,
        mir_conn_id=mir_conn_id,
        default_args={"owner": ", ".join(spec.owners)} if spec.owners else {},
        executor=spec.executor,
    )


def _files(mir_conn_id: str) -> tuple[Mapping[str, Any], str | None]:
    """The projects' files by key; what is wrong with them, if anything is."""
    from mir_ops.catalog.kept import list_projects, read_kept

    kept = _kept(mir_conn_id, "projects")
    try:
        catalog_url = MirHook(mir_conn_id).workspace().catalog_url
    except Exception as error:  # noqa: BLE001  whatever keeps the connections may be away too
        return read_kept(kept), f"{type(error).__name__}: {error}"
    listing = list_projects(catalog_url, kept)
    return listing.files, listing.problem


def _params(spec: ProjectSpec) -> dict[str, Param]:
    """The form's fields, filled in with what the project says."""
    defaults = {
        "budget": spec.mining.budget,
        "strategy": spec.mining.strategy,
        "control": spec.mining.control,
        "prepare_pool": True,
        "mine": True,
        "label": True,
        "pretrained": spec.pretrained,
        "train_after_merge": spec.train_after_merge,
        "seed": spec.seed,
    }
    return {
        name: Param(
            defaults.get(name), description=param.description, **_without_description(param)
        )
        for name, param in PARAMS.items()
        if name != "project"
    }


def _without_description(param: Param) -> dict[str, Any]:
    return {name: value for name, value in param.schema.items() if name != "description"}


def _schedule(key: str, said: ScheduleSpec) -> BaseTimetable | BaseAsset | None:
    """A cron expression, events, either, or neither."""
    wanted: list[Happening] = []
    if said.new_data or said.new_labels is not None:
        wanted.append("data")
    if said.continuous:
        wanted.append("next")
    events = AssetAny(*(project_asset(key, each) for each in wanted))
    if said.cron is None:
        return events if wanted else None
    ticks = CronTriggerTimetable(said.cron, timezone="UTC")
    return AssetOrTimeSchedule(timetable=ticks, assets=events) if wanted else ticks


def _kept(mir_conn_id: str, what: str) -> Path:
    return Path(AIRFLOW_HOME) / "mir" / f"{mir_conn_id}-{what}.json"
