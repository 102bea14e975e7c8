"""What of a deployment works, as this server sees it: its machine, its store, its catalog."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fastapi import Request

from mir_ops.doctor import Finding, examine
from mir_ops.errors import MirError
from mir_ops.store.features import read_features

if TYPE_CHECKING:
    from mir_ops.workspace import Workspace

_WORST_FIRST: Final = ("failed", "warning", "ok", "absent")


def examined(request: Request) -> list[Finding]:
    """What whoever mounts the console lets it look at, now."""
    examine_now: Callable[[], list[Finding]] = request.app.state.examine
    return examine_now()


def examine_workspace(
    open_workspace: Callable[[], Workspace], *, label_tool: str | None
) -> list[Finding]:
    """One finding for each part, the worst first. Whatever is dead, the rest is looked at."""
    findings = list(_findings(open_workspace, label_tool))
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.health))


def _findings(open_workspace: Callable[[], Workspace], label_tool: str | None) -> Iterator[Finding]:
    try:
        workspace = open_workspace()
    except MirError as error:
        found, advice = str(error), error.hint or ""
        yield Finding(part="workspace", health="failed", found=found, advice=advice)
        return
    machine = examine(
        work_dir=workspace.work_dir,
        images=_images(workspace),
        ports=(),
        label_tool=label_tool,
        open_store=lambda: workspace.store,
        open_catalog=lambda: workspace.catalog,
    )
    for finding in machine:
        if label_tool or finding.part != "label tool":  # a deployment may do without one
            yield finding
    yield from _tried_out(workspace)


def _images(workspace: Workspace) -> list[str]:
    """The images that projects may use; none where nobody can say it."""
    try:
        return [each.image for each in workspace.catalog.executors.list() if each.folder is None]
    except MirError:
        return []


def _tried_out(workspace: Workspace) -> Iterator[Finding]:
    """What the last probe of the place said, by which it is known to lose no update."""
    part = "store's promises"
    try:
        said = read_features(workspace.store.objects).probe
    except MirError:
        return  # found already
    outcomes = json.loads(said)["findings"] if said else {}
    broken = [name for name, outcome in outcomes.items() if outcome == "broken"]
    if not outcomes:
        yield Finding(
            part=part,
            health="absent",
            found="nobody tried them out",
            advice="Try `mir store doctor URL`",
        )
    elif broken:
        found = f"broken: {', '.join(f'`{name}`' for name in broken)}"
        advice = "`mir store doctor URL` says how"
        yield Finding(part=part, health="failed", found=found, advice=advice)
    else:
        yield Finding(part=part, health="ok", found=f"{len(outcomes)} properties were tried out")
