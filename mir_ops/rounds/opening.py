"""The first and the last resort of a round: opening it, and giving it up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mir_ops.catalog import ProjectSpec, Round, RoundConf
from mir_ops.catalog.changes import check_project
from mir_ops.catalog.pages import keep_registry, keep_round
from mir_ops.catalog.projects import ExecutorSpec, MiningSpec, PoolSpec, read_conf
from mir_ops.errors import InvalidInputError, MirError
from mir_ops.evaluation.frozen import find_frozen, frozen_sets
from mir_ops.executor.jobs import bundled_folder
from mir_ops.rounds.beginning import begin_training, find_training
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.rounds.sticky import conf_of, said_before, said_now, with_said
from mir_ops.workspace import Workspace


def open_round(
    ws: Workspace, place: Place, *, project: str, conf: Mapping[str, Any]
) -> dict[str, Any]:
    """Open this run's round and pin what it starts from.

    The same run gets the same round, opened again if it had failed. Another run is refused while
    a round of the project is open.
    """
    asked = read_conf(conf)
    _check_named(ws, project, asked.project)
    project = _now_called(ws, place, project)
    owner = ws.catalog.projects.get(project)
    before = said_before(ws, owner, run_id=place.run_id)
    spec = _spec(ws, owner.spec, with_said(asked, before))
    round_ = ws.catalog.rounds.open(
        project,
        deployment=place.deployment,
        dag_id=place.dag_id,
        run_id=place.run_id,
        spec=spec,
        conf=asked.model_dump(exclude_none=True),
        first=0 if _starts_empty(spec, asked) else 1,
    )
    keep_registry(ws.catalog, ws.store, ws.deployment)

    def work(entry: Entry) -> dict[str, Any]:
        said = said_now(conf_of(round_), before, owner.spec, round_.number)
        return {**_pin(entry), "said": said}

    return once(new_entry(ws, place, round_.id, "open_round", {"round": round_.id}), work)


def fail_round(ws: Workspace, run_id: str, reason: str) -> dict[str, Any]:
    """Give up the round of a run, so that the next may open. Without a round there is nothing."""
    found = ws.catalog.rounds.find_run(ws.deployment, run_id)
    if found is None:
        return {"round_id": None, "state": None, "given_up": False}
    now = ws.catalog.rounds.fail(found.id, reason=reason)
    if now.state == "failed":
        ws.catalog.steps.fail_running(found.id, reason)
    with suppress(MirError):  # without its store, too, a round can be given up
        keep_round(ws.catalog, ws.store, found.id)
    return {
        "round_id": now.id,
        "number": now.number,
        "project": now.project,
        "state": now.state,
        "given_up": (found.state, now.state) == ("open", "failed"),
    }


def opened(ws: Workspace, round_id: int) -> Mapping[str, Any]:
    """What `open_round` pinned: the commits that this round starts from."""
    return ws.catalog.steps.result(round_id, "open_round")


def frozen_at_opening(ws: Workspace, round_id: int) -> Mapping[str, str]:
    """Commits by the names of the frozen test sets that there were when the round opened."""
    found: Mapping[str, str] = opened(ws, round_id).get("frozen", {})
    return found


def _check_named(ws: Workspace, project: str, asked: str | None) -> None:
    """Refuse a run that names another project than its task: a renamed one has two names."""
    if asked in (None, project):
        return
    keys = [found and found.key for found in map(ws.catalog.projects.find, (project, asked))]
    if None in keys or keys[0] != keys[1]:
        raise InvalidInputError(
            f"The run names project `{asked}`, the task `{project}`", code="invalid-parameter"
        )


def _now_called(ws: Workspace, place: Place, project: str) -> str:
    """The project's key; it may have got another name since this run opened its round."""
    if (named := ws.catalog.projects.find(project)) is not None:
        return named.key
    found = ws.catalog.rounds.find_run(place.deployment, place.run_id, place.dag_id)
    return found.project_key if found else project


def _spec(ws: Workspace, spec: ProjectSpec, asked: RoundConf) -> ProjectSpec:
    """The project as this round takes it: later changes of the file, of the executor's
    registration and of what a model's name means are the next round's."""
    from mir_ops.executor.models import choose_model

    pretrained = asked.pretrained or spec.pretrained
    made = spec.model_copy(
        update={
            "executor": _executor(ws, spec.executor),
            "pretrained": choose_model(ws, pretrained).name if pretrained else None,
            "model": _given_model(ws, spec, asked),
            "pool": PoolSpec() if asked.prepare_pool is False else spec.pool,
            "mining": _mining(spec.mining, asked),
            "seed": spec.seed if asked.seed is None else asked.seed,
            "train_after_merge": spec.train_after_merge
            if asked.train_after_merge is None
            else asked.train_after_merge,
        }
    )
    check_project(made)
    if made.test_sets:
        find_frozen(ws.store, made.test_sets)
    return made


def _starts_empty(spec: ProjectSpec, asked: RoundConf) -> bool:
    """Whether a first round finds neither labels nor a model: then it is round 0."""
    return spec.sources.training is None and asked.new_data is None and spec.model is None


def _given_model(ws: Workspace, spec: ProjectSpec, asked: RoundConf) -> str | None:
    """The model that this round takes instead of training one: the run's, or the project's."""
    from mir_ops.executor.models import choose_model

    given = asked.model or (spec.model if spec.model and _begins(ws, spec.name) else None)
    return choose_model(ws, given).name if given else None


def _begins(ws: Workspace, project: str) -> bool:
    """Whether no round has closed yet, or none got labels: the project's own model stands in."""
    from mir_ops.rounds.targets import Labelled

    if all(each.state != "closed" for each in ws.catalog.rounds.list(project)):
        return True
    tip = find_training(ws.store, ws.catalog.projects.get(project).key)
    return tip is None or Labelled.of(ws.store.read(tip)).images == 0


def _mining(mining: MiningSpec, asked: RoundConf) -> MiningSpec:
    """Parameters are those of the project's strategy: another one takes its defaults."""
    given: dict[str, Any] = {}
    if asked.budget is not None:
        given["budget"] = asked.budget
    if asked.control is not None:
        given["control"] = asked.control
    if asked.strategy not in (None, mining.strategy):
        given |= {"strategy": asked.strategy, "parameters": {}}
    return mining.model_copy(update=given)


def _executor(ws: Workspace, chosen: ExecutorSpec) -> ExecutorSpec:
    """A registered executor with all that is known of it."""
    if chosen.image is not None or chosen.folder is not None:
        return chosen
    found = ws.catalog.executors.find(chosen.name)
    if found is None:
        bundled_folder(chosen.name)  # or nobody knows it
        return chosen
    return chosen.model_copy(
        update={
            "image": found.image,
            "folder": found.folder,
            "network": chosen.network or found.network,
            "run_as_root": chosen.run_as_root or found.run_as_root,
            "protocol": chosen.protocol or found.protocol,
        }
    )


def _pin(entry: Entry) -> dict[str, Any]:
    # Later steps move these branches. A step that runs again must see what it saw first.
    begin_training(entry.ws.store, entry.round.project_key)  # where it was deleted meanwhile
    training = find_training(entry.ws.store, entry.round.project_key)
    return {
        "round_id": entry.round.id,
        "number": entry.round.number,
        "project": entry.round.project,
        "training": training.id if training else None,
        "labels": _accepted_labels(entry),
        "frozen": frozen_sets(entry.ws.store),
    }


def _accepted_labels(entry: Entry) -> str | None:
    """The newest labels that passed their gate. What did not is asked for again."""
    steps = entry.ws.catalog.steps
    for earlier in reversed(earlier_rounds(entry.ws, entry.round)):
        gate, labels = (
            steps.find(earlier.id, "gate_labels"),
            steps.find(earlier.id, "import_labels"),
        )
        passed = gate is not None and gate.state == "done"
        if passed and labels is not None and labels.result and labels.result["commit"]:
            return str(labels.result["commit"])
    return None


def earlier_rounds(ws: Workspace, round_: Round) -> list[Round]:
    """The project's rounds before this one, failed ones included."""
    rounds = ws.catalog.rounds.list(round_.project_key)
    return [each for each in rounds if each.number < round_.number]
