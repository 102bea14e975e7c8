"""What pages show of many rounds: the parts of results that they need, in few questions."""

from __future__ import annotations

from sqlalchemy import event

from mir_ops.catalog import Catalog, Project, ProjectSpec, Round


def _project(catalog: Catalog, spec: ProjectSpec, name: str) -> Project:
    return catalog.projects.apply(spec.model_copy(update={"name": name}))


def _round(catalog: Catalog, project: Project, run: str) -> Round:
    return catalog.rounds.open(
        project.key, deployment="local", dag_id="d", run_id=run, spec=project.spec, conf={}
    )


def _leave(catalog: Catalog, round_: Round, **results: dict[str, object]) -> None:
    for step, result in results.items():
        catalog.steps.start(round_.id, step, f"{step}-{round_.id}")
        catalog.steps.finish(round_.id, step, f"{step}-{round_.id}", result)


def test_newest_and_newest_closed_round_of_each_project(
    catalog: Catalog, spec: ProjectSpec
) -> None:
    one, other, none = (_project(catalog, spec, name) for name in ("one", "other", "none"))
    for number in (1, 2):
        closed = _round(catalog, one, f"run-{number}")
        catalog.rounds.close(closed.id, record="0" * 64)
    _round(catalog, one, "run-3")
    failed = _round(catalog, other, "run-4")
    catalog.rounds.fail(failed.id, reason="no labels")

    found = catalog.overviews.newest()

    assert [(line.number, line.state) for line in found[one.id]] == [(2, "closed"), (3, "open")]
    assert [(line.state, line.reason) for line in found[other.id]] == [("failed", "no labels")]
    assert none.id not in found


def test_parts_of_results_come_without_the_rest(catalog: Catalog, spec: ProjectSpec) -> None:
    turn = _round(catalog, _project(catalog, spec, "one"), "run")
    labelled = {"images": 8, "boxes": 21}
    _leave(
        catalog,
        turn,
        evaluate={"commit": "c", "metrics": {"map50": 0.5, "map50_95": 0.25, "classes": {}}},
        check_targets={"stop": False, "reason": "more to come", "labelled": labelled, "value": 1},
        mine={"commit": "m", "picked": 0},
    )
    catalog.steps.start(turn.id, "mine", "again")
    catalog.label_tasks.add(
        round_id=turn.id, op_id="op", backend="folder", external_id="t", requested=5
    )
    catalog.label_tasks.update("op", done=2, by={"ann": 2}, page="http://labels/1")
    for op_id in ("first", "second"):
        catalog.gates.add(
            round_id=turn.id, stage="data", op_id=op_id, blocked=False, message="",
            json_blob="j", html_blob="h",
        )  # fmt: skip

    project = catalog.projects.get("one")
    (line,) = catalog.overviews.rounds(project.id)

    assert line.left("evaluate") == {"commit": "c", "map50": 0.5, "map50_95": 0.25}
    assert line.left("check_targets") == {
        "stop": False, "reason": "more to come", "labelled": labelled,
    }  # fmt: skip
    assert (line.steps["mine"].state, line.left("mine")) == ("running", {})
    assert [(task.done, task.by, task.page) for task in line.tasks] == [
        (2, {"ann": 2}, "http://labels/1")
    ]
    assert (line.gates, line.strategy) == (("data",), "hybrid")


def test_many_rounds_are_as_few_questions_as_one(catalog: Catalog, spec: ProjectSpec) -> None:
    asked: list[str] = []
    event.listen(
        catalog.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_rest: asked.append(statement),
    )

    def questions() -> int:
        asked.clear()
        catalog.overviews.newest()
        return len(asked)

    _round(catalog, _project(catalog, spec, "first"), "run")
    before = questions()
    for number in range(5):
        _round(catalog, _project(catalog, spec, f"p{number}"), f"run-{number}")

    assert questions() == before
