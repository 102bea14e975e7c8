"""The assets of projects: what happens to them, for DAGs to start by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.sdk import Context

# data: images or labels came in · next: a continuous project wants its next round · closed: a
# round closed, for DAGs of the user's own.
Happening = Literal["data", "next", "closed"]

# Which project a task speaks of shows when it runs.
PROJECTS: Final = AssetAlias("mir projects")


def project_asset(key: str, happening: Happening) -> Asset:
    """The asset of one kind of event of a project, which goes by its key."""
    return Asset(name=f"mir {key} {happening}", uri=f"mir://{key}/{happening}", group="mir")


def project_assets(key: str) -> list[Asset]:
    """All of a project's.

    As inlets of a task they are known before anything happens to them: Airflow would else make
    them when a task tells, and of two tasks that tell at once one would fail.
    """
    return [project_asset(key, each) for each in get_args(Happening)]


def tell(context: Context, key: str, happening: Happening, extra: dict[str, Any]) -> None:
    """Let the event be known when the task, which has `PROJECTS` as an outlet, succeeds."""
    context["outlet_events"][PROJECTS].add(project_asset(key, happening), extra=extra)


def happenings(context: Context) -> set[str]:
    """The kinds of events that started this run; none when no asset did."""
    events = context.get("triggering_asset_events") or {}
    return {each.uri.rpartition("/")[2] for each in events if isinstance(each, Asset)}
