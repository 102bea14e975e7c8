"""The catalog keeps projects, rounds and steps, whoever else writes at the same time."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from mir_ops.catalog import Catalog, ProjectSpec, Round
from mir_ops.catalog.connections import (
    HEAD,
    VERSION_TABLE,
    alembic_config,
    open_engine,
    writing,
)
from mir_ops.catalog.tables import ProjectRow, Table, utc_now
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError, StoreError


def open_round(catalog: Catalog, spec: ProjectSpec, run_id: str) -> Round:
    return catalog.rounds.open(
        spec.name, deployment="here", dag_id="dag", run_id=run_id, spec=spec, conf={}
    )


def test_migrations_build_the_tables_that_the_code_describes(catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Table.metadata) == []
        assert context.get_current_revision() == HEAD
        scripts = ScriptDirectory.from_config(alembic_config(connection))
        assert scripts.get_current_head() == HEAD


def test_sqlite_waits_for_other_writers(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")

    with catalog.engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "busy_timeout": 60_000, "foreign_keys": 1}


def test_a_catalog_that_is_kept_open_does_not_settle_its_log_after_every_transaction(
    tmp_path: Path, spec: ProjectSpec
) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    other = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    log = tmp_path / "catalog.db-wal"

    with catalog.kept_open():
        catalog.projects.apply(spec)
        assert log.stat().st_size > 0
        assert [one.name for one in other.projects.list()] == [spec.name]
        assert open_round(other, spec, "run").number == 1  # it holds nothing that others wait for

    assert not log.exists()


def _open_and_work(url: str, spec: ProjectSpec, number: int) -> str:
    catalog = Catalog.open(url)
    catalog.projects.apply(spec)
    try:
        return f"{open_round(catalog, spec, f'run-{number}').number}"
    except ConflictError as error:
        return error.code
    finally:
        catalog.close()


def test_many_processes_may_open_a_new_catalog_at_once(catalog_url: str, spec: ProjectSpec) -> None:
    # spawn: a forked child would inherit what pytest has open
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(_open_and_work, [(catalog_url, spec, n) for n in range(12)])

    assert sorted(found) == sorted(["1"] + ["round-open"] * 11)


def test_two_may_create_a_project_at_once(catalog: Catalog, spec: ProjectSpec) -> None:
    row = {"key": spec.name, "name": spec.name, "spec": spec.to_mapping(), "created_at": utc_now()}
    with ThreadPoolExecutor(1) as pool, writing(catalog.engine) as session:
        session.add(ProjectRow(**row, updated_at=utc_now()))
        session.flush()
        applied = pool.submit(catalog.projects.apply, spec)
        time.sleep(0.3)  # by now it waits for us: on PostgreSQL after it looked, on SQLite before

    assert applied.result() == catalog.projects.get(spec.name)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    engine = Catalog.open(url).engine
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    with pytest.raises(StoreError) as caught:
        Catalog.open(url)
    assert (
        str(caught.value) == "The catalog is at revision `9999`, which this version does not know"
    )


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d", "nonsense"])
def test_address_that_cannot_hold_a_catalog_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_engine(url)
    assert caught.value.code == "invalid-catalog-url"


def test_unreachable_server_does_not_show_its_password() -> None:
    pytest.importorskip("psycopg2")
    with pytest.raises(StoreError) as caught:
        Catalog.open("postgresql+psycopg2://user:hunter2@127.0.0.1:1/none")
    assert caught.value.code == "catalog-unavailable"
    assert "hunter2" not in str(caught.value)


def test_applying_a_project_again_changes_nothing(catalog: Catalog, spec: ProjectSpec) -> None:
    first = catalog.projects.apply(spec)

    assert catalog.projects.apply(spec) == first
    assert catalog.projects.list() == [first]
    assert first.created_at.tzinfo is UTC


def test_changed_project_keeps_its_rounds(catalog: Catalog, spec: ProjectSpec) -> None:
    before = catalog.projects.apply(spec)
    round_ = open_round(catalog, spec, "run")

    after = catalog.projects.apply(spec.model_copy(update={"description": "new"}))

    assert (after.id, after.spec.description) == (before.id, "new")
    assert catalog.rounds.list("digits") == [round_]
    assert round_.spec.description == ""


def test_unknown_project_is_named_with_the_closest(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)

    with pytest.raises(NotFoundError) as caught:
        catalog.projects.get("digit")
    assert str(caught.value) == "No project named `digit`"
    assert caught.value.hint == "Did you mean `digits`?"


def test_second_open_round_is_refused(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    first = open_round(catalog, spec, "run-1")

    with pytest.raises(ConflictError) as caught:
        open_round(catalog, spec, "run-2")
    assert str(caught.value) == "Round 1 of `digits` is open: run `run-1` of `dag`"
    assert caught.value.code == "round-open"
    assert caught.value.hint == (
        "Let that run finish, or give the round up with `mir round fail 1 --project digits`"
    )
    assert pickle.loads(pickle.dumps(caught.value)).hint == caught.value.hint
    assert open_round(catalog, spec, "run-1") == first


def test_failed_round_opens_again_for_its_run(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    first = open_round(catalog, spec, "run-1")
    catalog.rounds.fail(first.id, reason="no disk")

    assert catalog.rounds.get(first.id).reason == "no disk"
    again = open_round(catalog, spec, "run-1")

    assert (again.id, again.state, again.reason) == (first.id, "open", None)


def test_failed_round_does_not_go_on_behind_a_newer_one(
    catalog: Catalog, spec: ProjectSpec
) -> None:
    catalog.projects.apply(spec)
    catalog.rounds.fail(open_round(catalog, spec, "run-1").id, reason="no disk")
    second = open_round(catalog, spec, "run-2")
    catalog.rounds.close(second.id, record="0" * 64)

    with pytest.raises(ConflictError) as caught:
        open_round(catalog, spec, "run-1")
    assert caught.value.code == "round-superseded"


def test_closed_round_cannot_fail(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    round_ = open_round(catalog, spec, "run-1")
    catalog.rounds.close(round_.id, record="0" * 64)

    assert catalog.rounds.fail(round_.id, reason="late").state == "closed"
    assert open_round(catalog, spec, "run-2").number == 2


def test_finished_operation_becomes_current_again(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    round_id = open_round(catalog, spec, "run").id
    steps = catalog.steps
    for op_id, commit in (("a", "first"), ("b", "second")):
        steps.start(round_id, "merge", op_id)
        steps.finish(round_id, "merge", op_id, {"commit": commit})

    assert steps.result(round_id, "merge") == {"commit": "second"}
    assert steps.take_done(round_id, "merge", "a") == {"commit": "first"}
    assert steps.result(round_id, "merge") == {"commit": "first"}
    assert [step.op_id for step in steps.list(round_id)] == ["a"]


def test_unfinished_step_has_no_result(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    round_id = open_round(catalog, spec, "run").id
    catalog.steps.start(round_id, "train", "a")
    catalog.steps.progress(round_id, "train", "a", percent=40.0, message="step 4 of 10")

    found = catalog.steps.find(round_id, "train")
    assert found is not None
    assert (found.state, found.percent, found.message) == ("running", 40.0, "step 4 of 10")
    assert catalog.steps.take_done(round_id, "train", "a") is None
    with pytest.raises(NotFoundError, match="Step `train` of this round is not done"):
        catalog.steps.result(round_id, "train")

    catalog.steps.fail_running(round_id, "worker lost")
    assert [step.message for step in catalog.steps.list(round_id)] == ["worker lost"]


def test_model_of_an_operation_is_added_once(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    round_id = open_round(catalog, spec, "run").id
    for package in ("first", "second"):
        catalog.models.add(
            round_id=round_id, op_id="op", model_id="m" * 64, stage="best", classes=("one",),
            package=package, log=None, training="c", image={"name": "sample"}, config={},
            seed=3, training_metrics={"map50": 0.5},
        )  # fmt: skip
    catalog.models.set_evaluation("op", metrics={"map50": 0.4}, predictions="p")

    (model,) = catalog.models.list("digits")
    assert (model.package, model.round_number, model.metrics) == ("first", 1, {"map50": 0.4})


def test_label_tasks_and_gate_reports_are_kept(catalog: Catalog, spec: ProjectSpec) -> None:
    catalog.projects.apply(spec)
    round_id = open_round(catalog, spec, "run").id
    for _ in range(2):
        catalog.label_tasks.add(
            round_id=round_id, op_id="op", backend="folder", external_id="t", requested=5
        )
        catalog.gates.add(
            round_id=round_id, stage="data", op_id="op", blocked=True, message="too few",
            json_blob="j", html_blob="h",
        )  # fmt: skip
    catalog.label_tasks.update("op", done=5, state="done")

    (task,) = catalog.label_tasks.list(round_id)
    (gate,) = catalog.gates.list(round_id)
    assert (task.done, task.state, task.requested) == (5, "done", 5)
    assert (gate.blocked, gate.message) == (True, "too few")


def test_label_tasks_of_no_round_are_of_their_branchs_project(
    catalog: Catalog, spec: ProjectSpec
) -> None:
    project = catalog.projects.apply(spec)
    for project_key, op_id in (("digits", "ours"), ("digits", "ours"), (None, "nobodys")):
        catalog.label_tasks.add_outside(
            project=project_key, branch="digits/seen", dag_id="dataset_label", run_id="run",
            op_id=op_id, backend="folder", external_id="t", requested=5,
        )  # fmt: skip
    catalog.label_tasks.update("ours", done=2)

    (task,) = catalog.label_tasks.list_outside(project.id)
    assert (task.round_id, task.branch, task.dag_id, task.done) == (
        None, "digits/seen", "dataset_label", 2,
    )  # fmt: skip
    assert catalog.label_tasks.find("ours") == task
    assert catalog.label_tasks.find("nobodys") is not None
    assert catalog.label_tasks.find("nothing") is None


def test_catalog_may_share_a_database_with_airflow(catalog_url: str) -> None:
    engine = create_engine(catalog_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('abc')"))

    Catalog.open(catalog_url).close()

    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "abc"
    engine.dispose()


def test_broken_database_is_explained_without_statements(tmp_path: Path, spec: ProjectSpec) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    with catalog.engine.begin() as connection:
        connection.execute(text("DROP TABLE mir_projects"))

    with pytest.raises(StoreError) as caught:
        catalog.projects.apply(spec)
    assert caught.value.code == "catalog-unavailable"
    assert "no such table: mir_projects" in str(caught.value)
    assert "SELECT" not in str(caught.value)
