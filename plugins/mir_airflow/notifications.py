"""Who is told what of a round: a project names notifiers, the deployment says what they are.

`[mir] notifiers` in Airflow's settings (`AIRFLOW__MIR__NOTIFIERS`) is JSON: a name to a class of
Airflow's notifiers and its arguments. Their templates know `mir.event`, `mir.subject`, `mir.text`,
`mir.url`, `mir.project` and `mir.round`. A catalog can name a notifier, never bring one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf

from mir_airflow.hooks.mir import MirHook
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.catalog import Round
    from mir_ops.workspace import Workspace

Event = Literal["waiting-for-labels", "waiting-for-approval", "gate-failed", "round-closed"]

_SAID: Final[Mapping[Event, str]] = {
    "waiting-for-labels": "waits for labels",
    "waiting-for-approval": "waits for somebody to approve its model",
    "gate-failed": "was stopped by a gate",
    "round-closed": "closed",
}
_LONGEST: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What happened, as templates of notifiers see it."""

    event: Event
    project: str
    round: int
    text: str
    url: str

    @property
    def subject(self) -> str:
        return f"Round {self.round} of {self.project} {_SAID[self.event]}"


class RoundNotifier(BaseNotifier):
    """
    Tells those whom the round's project names; a callback of tasks, or a notifier of operators.

    Whatever goes wrong here is logged: a round does not fail because nobody could be told.

    :param event: What happened.
    :param mir_conn_id: Connection to the workspace.
    """

    def __init__(self, event: Event, *, mir_conn_id: str = MirHook.default_conn_name) -> None:
        super().__init__()
        self.event = event
        self.mir_conn_id = mir_conn_id

    def notify(self, context: Context) -> None:
        workspace = MirHook(self.mir_conn_id).workspace()
        ti = context["ti"]
        round_ = workspace.catalog.rounds.find_run(workspace.deployment, ti.run_id, ti.dag_id)
        if round_ is None or not round_.spec.notify:
            return
        text = _text(workspace, round_.id, self.event, context)
        if text is None:
            return
        news = News(
            event=self.event,
            project=round_.project,
            round=round_.number,
            text=text[:_LONGEST],
            url=_url(round_),
        )
        for name in round_.spec.notify:
            try:
                open_notifier(name)({**context, "mir": news})
            except Exception as error:  # noqa: BLE001  a template of theirs; others are still told
                self.log.error("Nobody was told through `%s`: %s", name, error)


def open_notifier(name: str) -> BaseNotifier:
    """The notifier that the deployment calls so."""
    known = _settings()
    if name not in known:
        raise InvalidInputError(
            f"No notifier is named `{name}` here",
            code="no-such-notifier",
            hint=f"Known are {', '.join(f'`{each}`' for each in sorted(known))}"
            if known
            else "Name some in `[mir] notifiers` of Airflow's settings",
        )
    said = known[name]
    try:
        module, _, attribute = said["notifier"].rpartition(".")
        made = getattr(import_module(module), attribute)(**said.get("arguments", {}))
    except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"Notifier `{name}` cannot be made: {error}",
            code="bad-notifier",
            hint="Give `notifier`, a class of an installed provider, and the `arguments` it takes",
        ) from None
    if not isinstance(made, BaseNotifier):
        raise InvalidInputError(
            f"Notifier `{name}`: `{said['notifier']}` is none of Airflow's notifiers",
            code="bad-notifier",
        )
    return made


def check_notifiers(names: Iterable[str]) -> None:
    """Refuse a name that the deployment does not know, before anybody waits to be told."""
    for name in names:
        open_notifier(name)


def _settings() -> dict[str, Any]:
    text = conf.get("mir", "notifiers", fallback="") or "{}"
    try:
        read = json.loads(text)
    except ValueError as error:
        raise _bad_settings(str(error)) from None
    if not isinstance(read, dict) or not all(isinstance(each, dict) for each in read.values()):
        raise _bad_settings("it is no object of objects")
    return read


def _bad_settings(reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`[mir] notifiers` of Airflow's settings cannot be read: {reason}",
        code="bad-notifiers",
        hint='Write `{"team": {"notifier": "package.Class", "arguments": {}}}`',
    )


def _text(workspace: Workspace, round_id: int, event: Event, context: Context) -> str | None:
    """What a person needs to know; None when nobody has anything to do."""
    from mir_ops.rounds.promoting import proposal

    steps = workspace.catalog.steps
    if event == "gate-failed":
        return str(context.get("exception") or "The gate did not pass")
    if event == "waiting-for-approval":
        return str(proposal(workspace, round_id))
    if event == "waiting-for-labels":
        asked = steps.result(round_id, "create_label_task")["requested"]
        return f"{asked} images are to be labelled" if asked else None
    closed = steps.result(round_id, "close_round")
    said = f"Its newest model has mAP@0.5 {closed['metrics']['map50']:.3f}"
    return f"{said}. {closed['stop']['reason']}" if closed["stop"]["stop"] else said


def _url(round_: Round) -> str:
    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    run = quote(round_.run_id, safe="")
    return f"{base}/dags/{quote(round_.dag_id, safe='')}/runs/{run}"
