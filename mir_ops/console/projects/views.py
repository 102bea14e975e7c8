"""What the templates of projects are given."""

from __future__ import annotations

from typing import Any

from mir_ops.console.rounds.views import ProjectView, progress_chart, verdict
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.errors import NotFoundError


def projects_page(sources: Sources, projects: list[ProjectView]) -> dict[str, Any]:
    tips = sources.tips() if sources.every_version else []
    return {"projects": projects, "tips": tips, "no_project": NO_PROJECT}


def rounds_page(sources: Sources, name: str) -> dict[str, Any]:
    project = sources.find_project(name)
    tips = sources.tips(project.key if project else name)
    if project is None and not tips:
        raise NotFoundError(f"No project named `{name}`", code="no-such-project")
    rounds = project.rounds if project else ()
    return {
        "name": project.name if project else name,
        "key": project.key if project else name,
        "project": project,
        "rounds": list(reversed(rounds)),
        "tips": tips,
        "chart": progress_chart(rounds),
        "verdict": verdict(rounds),
    }
