"""Rounds from the console: the next one's parameters, start, stop, and a word on a model.

What Airflow does, it does with the caller's own rights; without Airflow the pages show the commands
to type instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from fastapi import HTTPException

from mir_ops.catalog import Catalog, Project
from mir_ops.catalog.projects import read_conf
from mir_ops.console.messages import _
from mir_ops.console.projects.form import Field
from mir_ops.console.rounds.views import RoundView
from mir_ops.console.runs import Approval, Runs
from mir_ops.console.sources import Sources
from mir_ops.dataset.sharing import shared_path
from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError
from mir_ops.rounds.sticky import next_round, own_values

_REQUEST: Final = re.compile(r"[0-9a-f]{8,64}")
STOPPED: Final = "Stopped in the console"


def start_page(sources: Sources, project: Project, *, as_project: bool = False) -> dict[str, Any]:
    """The form of the next round, filled in with what it would take if nothing is said.

    With `as_project`, if what earlier runs said does not count any more.
    """
    following = next_round(sources.workspace, project.key)
    kept = any(each["round"] is not None for each in following["parameters"].values())
    if as_project:
        own = own_values(project.spec)
        following["parameters"] = {n: {"value": own[n], "round": None} for n in own}
    rounds = sources.workspace.catalog.overviews.newest_of(project.id)
    return {
        "project": project,
        "following": following,
        "fields": _fields(following["parameters"]),
        "as_project": as_project,
        "kept": kept,
        "open_round": next((line.number for line in rounds if line.state == "open"), None),
        "request_id": token_hex(8),
        "commands": commands(project),
        "sharing_dir": sources.sharing_dir,
    }


def _fields(parameters: Mapping[str, Mapping[str, Any]]) -> list[Field]:
    from mir_ops.mining.registry import strategies

    def since(name: str) -> str:
        said = parameters[name]["round"]
        return "" if said is None else _("since round %(number)d", number=said)

    sticky = {name: each["value"] for name, each in parameters.items()}
    yes_no = ["", "true", "false"]
    after_merge = "" if sticky["train_after_merge"] is None else str(sticky["train_after_merge"])
    return [
        Field(key="budget", label=_("Budget"), kind="number", least=1, value=sticky["budget"],
              hint=since("budget")),
        Field(key="strategy", label=_("Mining strategy"), options=[*strategies()],
              value=sticky["strategy"], hint=since("strategy")),
        Field(key="control", label=_("Drawn at random"), kind="number", least=0, most=0.5,
              step="0.01", value=sticky["control"], hint=since("control")),
        Field(key="pretrained", label=_("Pretrained model"), value=sticky["pretrained"],
              hint=since("pretrained") or _("Every training starts from it: id, id@stage or name")),
        Field(key="seed", label=_("Seed"), kind="number", least=0, value=sticky["seed"],
              hint=since("seed")),
        Field(key="train_after_merge", label=_("Train on the round's own labels"), kind="select",
              options=yes_no[1:], value=after_merge.lower(), hint=since("train_after_merge")),
        Field(key="new_data", label=_("New data"),
              hint=_("Labelled images in the sharing folder, to add to the training data first")),
        Field(key="model", label=_("Model"),
              hint=_("This round takes it instead of training one: id, id@stage or name")),
        Field(key="prepare_pool", label=_("Prepare the pool"), kind="select", options=yes_no,
              value="", hint=_("No: this round looks at all of it")),
        Field(key="mine", label=_("Mine"), kind="select", options=yes_no, value="",
              hint=_("No: everything that was prepared is labelled")),
        Field(key="label", label=_("Ask people"), kind="select", options=yes_no, value="",
              hint=_("No: the round ends with its picks")),
    ]  # fmt: skip


def start(
    runs: Runs | None, sources: Sources, project: Project, sent: Mapping[str, Any]
) -> tuple[str, str]:
    """Start a round with this conf; its DAG and run. `request` in it makes that happen once."""
    said = {name: value for name, value in sent.items() if name != "request"}
    request_id = sent.get("request")
    if request_id is not None and not (
        isinstance(request_id, str) and _REQUEST.fullmatch(request_id)
    ):
        raise InvalidInputError("`request` is 8 to 64 hexadecimal digits", code="invalid-parameter")
    if "project" in said:
        raise InvalidInputError("The address names the project", code="invalid-parameter")
    conf = read_conf(_taken_back(sources, project, said))
    if conf.new_data is not None:
        shared_path(conf.new_data, sources.sharing_dir)
    run_id = f"console__{request_id}" if request_id else None
    rounds = sources.workspace.catalog.overviews.newest_of(project.id)
    held = next((line for line in rounds if line.state == "open"), None)
    if held is not None and held.run_id == run_id:
        return held.dag_id, held.run_id
    if held is not None:
        raise ConflictError(
            f"Round {held.number} of `{project.name}` is open",
            code="round-open",
            hint="Let it finish, or stop it",
        )
    airflow = _needed(runs, commands(project)["start"])
    try:
        started = airflow.start(project.dag_id, conf.model_dump(exclude_none=True), run_id=run_id)
    except ConflictError:
        assert run_id is not None
        started = run_id  # asked for before
    except NotFoundError as error:
        raise NotFoundError(
            str(error),
            code="no-such-dag",
            hint=f"Airflow reads `{project.dag_id}` within half a minute after the project is made",
        ) from None
    return project.dag_id, started


def _taken_back(sources: Sources, project: Project, said: Mapping[str, Any]) -> dict[str, Any]:
    """Null says what the project says: of these parameters no earlier run counts any more.

    What earlier runs said of the others goes on to hold, as this run says it again.
    """
    parameters = next_round(sources.workspace, project.key)["parameters"]
    before = {name: one["value"] for name, one in parameters.items() if one["round"] is not None}
    if said.get("as_project") or not any(said.get(name, "") is None for name in before):
        return dict(said)
    return {**before, **said, "as_project": True}


def stop(runs: Runs | None, catalog: Catalog, project: Project, number: int) -> str:
    """End the round's run and give the round up, so that the next may open; its state then.

    Done again it changes nothing; a closed round stays closed.
    """
    found = catalog.rounds.get_number(project.key, number)
    if found.state == "open":
        airflow = _needed(runs, commands(project, number)["stop"])
        with suppress(NotFoundError):  # somebody deleted the run
            airflow.cancel(found.dag_id, found.run_id)
        found = catalog.rounds.fail(found.id, reason=STOPPED)
        if found.state == "failed":
            catalog.steps.fail_running(found.id, STOPPED)
    return found.state


def answer(runs: Runs | None, catalog: Catalog, project: Project, number: int, word: str) -> None:
    """Say one of the options to what the round's run asks about its model."""
    found = catalog.rounds.get_number(project.key, number)
    airflow = _needed(runs, "Required actions")
    asked = airflow.approvals(found.dag_id, found.run_id)
    if not asked:
        raise NotFoundError(
            f"Round {number} of `{project.name}` asks nothing now",
            code="nothing-asked",
            hint="It may have been answered already: look at the run in Airflow",
        )
    if word not in asked[0].options:
        raise InvalidInputError(
            f"`{word}` is no answer",
            code="invalid-parameter",
            hint=f"Answer with {' or '.join(f'`{one}`' for one in asked[0].options)}",
        )
    airflow.answer(asked[0], word)


def approvals(runs: Runs | None, turn: RoundView | None) -> Sequence[Approval]:
    """What an open round asks now; nothing where Airflow is not here, or does not say."""
    if runs is None or turn is None or turn.waiting is None or turn.waiting.what != "approval":
        return ()
    try:
        return runs.approvals(turn.dag_id, turn.run_id)
    except (MirError, HTTPException):
        return ()


def commands(project: Project, number: int | None = None) -> dict[str, str]:
    """What to type where there is no Airflow to ask."""
    name = shlex.quote(project.name)
    typed = {"start": f"mir round start {name} --dag {shlex.quote(project.dag_id)}"}
    if number is not None:
        typed["stop"] = f"mir round fail {number} --project {name}"
    return typed


def _needed(runs: Runs | None, command: str) -> Runs:
    if runs is None:
        raise ConflictError(
            "There is no Airflow here that would do it",
            code="no-airflow",
            hint=f"Use `{command}` instead",
        )
    return runs
