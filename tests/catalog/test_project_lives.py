"""Projects are renamed, deleted and restored; what they did stays theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from mir_ops.catalog import Catalog, Project, ProjectSpec, Round
from mir_ops.catalog.connections import alembic_config, open_engine, writing
from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError


def open_round(catalog: Catalog, project: Project, run_id: str) -> Round:
    return catalog.rounds.open(
        project.key, deployment="here", dag_id="dag", run_id=run_id, spec=project.spec, conf={}
    )


def refusal(call: Callable[[], object]) -> tuple[str, str, str | None]:
    with pytest.raises(MirError) as caught:
        call()
    return caught.value.code, str(caught.value), caught.value.hint


def test_renamed_project_keeps_its_key_and_its_rounds(catalog: Catalog, spec: ProjectSpec) -> None:
    before = catalog.projects.create(spec)
    round_ = open_round(catalog, before, "run-1")

    after = catalog.projects.rename("digits", "numbers")

    assert (after.id, after.key, after.name, after.spec.name) == (
        before.id, "digits", "numbers", "numbers",
    )  # fmt: skip
    (now,) = catalog.rounds.list("numbers")
    assert (now.id, now.project, now.project_key) == (round_.id, "numbers", "digits")
    assert catalog.projects.get("digits") == after
    assert catalog.projects.rename("digits", "numbers") == after
    assert open_round(catalog, after, "run-1").id == round_.id


def test_models_are_found_by_either_name(catalog: Catalog, spec: ProjectSpec) -> None:
    round_ = open_round(catalog, catalog.projects.create(spec), "run")
    catalog.models.add(
        round_id=round_.id, op_id="op", model_id="m" * 64, stage="best", classes=("one",),
        package="p", log=None, training="c", image={}, config={}, seed=3, training_metrics={},
    )  # fmt: skip
    catalog.projects.rename("digits", "numbers")

    assert [one.project for one in catalog.models.list("numbers")] == ["numbers"]
    assert catalog.models.list("digits") == catalog.models.list("numbers")


def test_first_name_of_a_project_is_nobody_elses(catalog: Catalog, spec: ProjectSpec) -> None:
    other = spec.model_copy(update={"name": "letters"})
    catalog.projects.create(spec)
    catalog.projects.create(other)
    catalog.projects.rename("digits", "numbers")

    told = (
        "project-renamed",
        "Project `digits` is called `numbers` now",
        "Write `name: numbers`, or choose a name that was never a project's first",
    )
    assert refusal(lambda: catalog.projects.apply(spec)) == told
    assert refusal(lambda: catalog.projects.create(spec)) == told
    assert refusal(lambda: catalog.projects.rename("letters", "digits")) == told
    assert refusal(lambda: catalog.projects.rename("letters", "numbers"))[0] == "project-exists"
    assert catalog.projects.rename("numbers", "digits").name == "digits"


def test_a_name_between_first_and_last_is_free_again(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.create(spec)
    for name in ("numbers", "figures"):
        catalog.projects.rename("digits", name)

    assert catalog.projects.create(spec.model_copy(update={"name": "numbers"})).key == "numbers"


def test_bad_new_name_is_refused(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.create(spec)

    with pytest.raises(InvalidInputError, match="Invalid project: `name`"):
        catalog.projects.rename("digits", "../x")
    assert catalog.projects.get("digits").spec == spec


def test_deleted_project_is_out_of_sight_and_comes_back(
    catalog: Catalog, spec: ProjectSpec
) -> None:
    before = catalog.projects.create(spec)
    round_ = open_round(catalog, before, "run-1")
    catalog.rounds.close(round_.id, record="0" * 64)

    gone = catalog.projects.delete("digits")

    assert gone.deleted_at is not None
    assert (catalog.projects.list(), catalog.projects.find("digits")) == ([], None)
    assert catalog.projects.list(deleted=True) == [gone]
    assert catalog.projects.delete("digits") == gone
    assert catalog.rounds.list() == []
    assert [each.id for each in catalog.rounds.list("digits")] == [round_.id]

    assert catalog.projects.restore("digits") == before
    assert catalog.projects.restore("digits") == before
    assert catalog.projects.list() == [before]
    assert open_round(catalog, before, "run-2").number == 2


def test_deleted_project_does_nothing(catalog: Catalog, spec: ProjectSpec) -> None:
    project = catalog.projects.create(spec)
    catalog.projects.delete("digits")

    for call in (
        lambda: catalog.projects.get("digits"),
        lambda: catalog.projects.apply(spec),
        lambda: catalog.projects.rename("digits", "numbers"),
        lambda: catalog.projects.change("digits", lambda one: one),
        lambda: open_round(catalog, project, "run"),
    ):
        code, said, hint = refusal(call)
        assert code == "project-deleted"
        assert said.startswith("Project `digits` was deleted at 20")
        assert hint == "Bring it back with `mir project restore digits`"
    assert refusal(lambda: catalog.projects.create(spec)) == (
        "project-exists",
        "Project `digits` exists, deleted",
        "Bring it back with `mir project restore digits`, or choose another name",
    )


def test_project_with_an_open_round_is_not_deleted(catalog: Catalog, spec: ProjectSpec) -> None:
    project = catalog.projects.create(spec)
    round_ = open_round(catalog, project, "run-1")

    assert refusal(lambda: catalog.projects.delete("digits")) == (
        "round-open",
        "Round 1 of `digits` is open: run `run-1` of `dag`",
        "Let that run finish, or give the round up with `mir round fail 1 --project digits`",
    )
    assert catalog.projects.get("digits") == project

    catalog.rounds.fail(round_.id, reason="given up")
    catalog.projects.delete("digits")
    with pytest.raises(NotFoundError, match="was deleted"):
        open_round(catalog, project, "run-1")


def test_change_sees_what_others_wrote(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.create(spec)
    catalog.projects.change("digits", lambda one: one.model_copy(update={"seed": 9}))

    after = catalog.projects.change("digits", lambda one: one.model_copy(update={"seed": 10}))
    assert after.spec.seed == 10
    with pytest.raises(InvalidInputError) as caught:
        catalog.projects.change("digits", lambda one: one.model_copy(update={"name": "x"}))
    assert caught.value.hint == "Use `mir project rename digits x`"


def test_project_that_is_not_valid_any_more_costs_itself_is_named_and_mended(
    catalog: Catalog, spec: ProjectSpec
) -> None:
    catalog.projects.create(spec)
    other = catalog.projects.create(spec.model_copy(update={"name": "letters"}))
    broken = spec.model_dump_json().replace('"folder","classes"', '"gone","classes"')
    with writing(catalog.engine) as session:
        statement = text("UPDATE mir_projects SET spec = :spec WHERE name = 'digits'")
        session.execute(statement, {"spec": broken})

    code, said, hint = refusal(lambda: catalog.projects.get("digits"))
    assert code == "invalid-stored-project"
    assert said.startswith(
        "Project `digits` in the catalog: Invalid project: `labels.backend`: no label backend"
    )
    assert hint == "Apply a corrected file of `digits` with `mir project apply -f FILE`"
    assert catalog.projects.list() == [other]
    assert {key: str(each) for key, each in catalog.projects.invalid().items()} == {"digits": said}

    assert catalog.projects.apply(spec).spec == spec
    assert catalog.projects.invalid() == {}
    assert catalog.projects.get("digits").spec == spec


def _attempt(url: str, spec: ProjectSpec, what: str, number: int) -> str:
    catalog = Catalog.open(url)
    projects = catalog.projects
    acts: dict[str, Callable[[], Any]] = {
        "apply": lambda: projects.apply(spec.model_copy(update={"seed": number})),
        "change": lambda: projects.change(
            "digits",
            lambda one: one.model_copy(update={"description": f"{one.description}{number}"}),
        ),
        "rename": lambda: projects.rename("digits", f"name-{number % 2}"),
        "delete": lambda: projects.delete("digits"),
        "restore": lambda: projects.restore("digits"),
        "open": lambda: open_round(catalog, projects.get("digits"), f"run-{number}"),
    }
    try:
        acts[what]()
        return f"{what} done"
    except MirError as error:
        return error.code
    finally:
        catalog.close()


def at_once(url: str, spec: ProjectSpec, acts: list[str]) -> list[str]:
    # spawn: a forked child would inherit what pytest has open
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        calls = [(url, spec, what, number) for number, what in enumerate(acts)]
        return pool.starmap(_attempt, calls, chunksize=1)


def test_no_change_is_lost_among_many(catalog_url: str, spec: ProjectSpec) -> None:
    catalog = Catalog.open(catalog_url)
    catalog.projects.create(spec)

    assert at_once(catalog_url, spec, ["change"] * 10) == ["change done"] * 10
    assert sorted(catalog.projects.get("digits").spec.description) == sorted("0123456789")
    catalog.close()


def test_changes_at_once_leave_one_project_in_one_state(
    catalog_url: str, spec: ProjectSpec
) -> None:
    catalog = Catalog.open(catalog_url)
    first = catalog.projects.create(spec)

    found = at_once(
        catalog_url, spec, ["apply", "rename", "delete", "open", "rename", "restore"] * 4
    )

    assert set(found) <= {
        "apply done", "rename done", "delete done", "restore done", "open done",
        "project-deleted", "project-renamed", "round-open",
    }  # fmt: skip
    (now,) = catalog.projects.list() + catalog.projects.list(deleted=True)
    assert (now.id, now.key, now.spec.name) == (first.id, "digits", now.name)
    assert now.name in ("digits", "name-0", "name-1")
    opened = [each for each in catalog.rounds.list("digits") if each.state == "open"]
    assert len(opened) == found.count("open done") <= 1
    assert not (opened and now.deleted_at)
    catalog.close()


def _write_and_wait(url: str, ready: Any) -> None:
    """Stand in the middle of a change: everything is written, nothing committed."""
    with Catalog.open(url).projects._changing() as session:
        session.execute(text("UPDATE mir_projects SET name = 'x', spec = '{}', deleted_at = NULL"))
        ready.set()
        time.sleep(600)


def test_change_that_is_killed_in_the_middle_has_not_happened(
    catalog_url: str, spec: ProjectSpec
) -> None:
    catalog = Catalog.open(catalog_url)
    before = catalog.projects.create(spec)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_write_and_wait, args=(catalog_url, ready))
    process.start()
    assert ready.wait(60)

    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()

    assert catalog.projects.get("digits") == before
    assert catalog.projects.rename("digits", "numbers").name == "numbers"
    catalog.close()


def test_catalog_of_the_version_before_is_migrated(catalog_url: str, spec: ProjectSpec) -> None:
    engine = open_engine(catalog_url)
    with writing(engine) as session:
        command.upgrade(alembic_config(session.connection()), "0002")
    with writing(engine) as session:
        for number, name in enumerate(("digits", "letters"), start=1):
            session.execute(
                text(
                    "INSERT INTO mir_projects (id, name, spec, created_at, updated_at)"
                    " VALUES (:id, :name, :spec, :at, :at)"
                ),
                {"id": number, "name": name, "at": datetime(2026, 1, 2, tzinfo=UTC),
                 "spec": spec.model_copy(update={"name": name}).model_dump_json()},
            )  # fmt: skip
            session.execute(
                text(
                    "INSERT INTO mir_rounds (project_id, number, deployment, dag_id, run_id, state,"
                    " open_project, spec, conf, opened_at)"
                    " VALUES (:id, 1, 'd', 'dag', :run, 'open', :id, :spec, '{}', :at)"
                ),
                {"id": number, "run": f"run-{name}", "at": datetime(2026, 1, 3, tzinfo=UTC),
                 "spec": spec.model_dump_json()},
            )  # fmt: skip
            session.execute(
                text(
                    "INSERT INTO mir_label_tasks (round_id, op_id, backend, external_id, state,"
                    " requested, done, skipped, created_at)"
                    " VALUES (:id, :op, 'folder', 't', 'open', 5, 2, 1, :at)"
                ),
                {"id": number, "op": f"op-{name}", "at": datetime(2026, 1, 3, tzinfo=UTC)},
            )
    engine.dispose()

    catalog = Catalog.open(catalog_url)

    assert [(one.key, one.name, one.deleted_at) for one in catalog.projects.list()] == [
        ("digits", "digits", None),
        ("letters", "letters", None),
    ]
    assert [(one.project_key, one.state) for one in catalog.rounds.list()] == [
        ("digits", "open"),
        ("letters", "open"),
    ]
    (asked,) = catalog.label_tasks.list(1)
    assert (asked.op_id, asked.done, asked.skipped, asked.branch) == ("op-digits", 2, 1, None)
    with pytest.raises(ConflictError, match="is open"):
        catalog.projects.delete("letters")
    catalog.close()
