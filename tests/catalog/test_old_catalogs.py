"""Catalogs that earlier versions left, with rows of then, are brought to what this one knows."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, text

from mir_ops.catalog import Catalog
from mir_ops.catalog.connections import (
    HEAD,
    MIGRATIONS,
    VERSION_TABLE,
    alembic_config,
    open_engine,
    writing,
)
from mir_ops.catalog.pages import keep_all
from mir_ops.catalog.rebuilding import count_on, differences, rebuild, rows_of
from mir_ops.cli.main import main
from mir_ops.errors import MirError, StoreError
from mir_ops.store import Store
from mir_ops.upkeep.dumps import dump_catalog, read_dump, replace_rows

DATA = Path(__file__).parents[1] / "data" / "catalogs"
REVISIONS = sorted(path.stem.removeprefix("revision_") for path in DATA.glob("*.sql"))


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write_catalog(url: str, last: str) -> None:
    """As deployments grew: each revision in its turn, with what people did under it."""
    engine = open_engine(url)
    for revision in REVISIONS[: REVISIONS.index(last) + 1]:
        with writing(engine) as session:
            command.upgrade(alembic_config(session.connection()), revision)
        with writing(engine) as session:
            lines = (DATA / f"revision_{revision}.sql").read_text().splitlines()
            sql = "\n".join(line for line in lines if not line.startswith("--"))
            for statement in filter(str.strip, sql.split(";\n")):
                session.execute(text(statement.replace(":", r"\:")))
            for table in inspect(session.connection()).get_table_names():
                if table.startswith("mir_") and table != VERSION_TABLE:
                    count_on(session, table)
    engine.dispose()


@pytest.fixture(params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def old(catalog_url: str, revision: str) -> Iterator[Catalog]:
    write_catalog(catalog_url, revision)
    catalog = Catalog.open(catalog_url)
    yield catalog
    catalog.close()


def test_every_revision_has_rows_of_its_time() -> None:
    known = sorted(path.stem for path in (MIGRATIONS / "versions").glob("revision_*.py"))
    assert [f"revision_{revision}" for revision in REVISIONS] == known
    assert REVISIONS[-1] == HEAD


def test_rounds_of_an_old_catalog_are_read_and_go_on(old: Catalog) -> None:
    first, second = old.rounds.list("digits")
    assert (first.state, first.record, first.conf) == ("closed", digest("record"), {"budget": 4})
    assert first.opened_at == datetime(2026, 3, 1, 12, 0, 10, 250000, tzinfo=UTC)
    assert (second.state, second.project_key, second.run_id) == ("open", "digits", "manual__2")
    assert [step.step for step in old.steps.list(2)] == [
        "open_round", "train", "create_label_task", "wait_for_labels",
    ]  # fmt: skip
    assert old.steps.result(1, "train")["model_id"] == digest("model-1")
    models = old.models.list("digits")
    assert [model.metrics for model in models] == [{"map50": 0.25}, None]
    assert [task.done for each in (1, 2) for task in old.label_tasks.list(each)] == [4, 1]
    assert [report.blocked for report in old.gates.list(1)] == [False]

    old.rounds.close(second.id, record=digest("second"))
    third = old.rounds.open(
        "digits", deployment="local", dag_id="round__digits", run_id="manual__3",
        spec=old.projects.get("digits").spec, conf={},
    )  # fmt: skip
    assert third.number == 3
    old.steps.start(third.id, "train", "op")
    old.label_tasks.add(
        round_id=third.id, op_id="op", backend="oracle", external_id="x", requested=1
    )


def test_what_people_did_under_a_revision_is_there_in_the_newest(
    old: Catalog, revision: str
) -> None:
    def since(first: str, now: object, before: object) -> object:
        return now if revision >= first else before

    assert [package.model_id for package in old.packages.list()] == since(
        "0005", [digest("model-1")], since("0002", [digest("model-1"), digest("model-2")], [])
    )
    if revision >= "0002":
        assert old.packages.promotion("production").model_id == digest("model-1")
        executor = old.executors.find("mine")
        assert executor is not None
        assert executor.templates == {2: {"train": {"epochs": 3}}}
        clauses = executor.checked and executor.checked.clauses
        assert clauses == since("0006", {"starts": ("passed", "")}, None)
        assert old.packages.list()[0].title == since("0005", "Night", "")
    names = {project.key: project.name for project in old.projects.list()}
    assert names == {"digits": "digits"} | since("0003", {"street": "roads"}, {})  # type: ignore[operator]
    assert len(old.projects.list(deleted=True)) == since("0003", 1, 0)
    (task,) = old.label_tasks.list(2)
    assert (task.by, task.page) == since("0004", ({"anna": 1}, "http://labels/2"), (None, None))
    assert (task.enough_at is not None) == since("0007", True, False)
    assert len(old.label_tasks.list_outside(1)) == since("0008", 1, 0)


def test_an_old_catalog_is_kept_in_the_store_and_comes_back_from_there(
    old: Catalog, tmp_path: Path
) -> None:
    store = Store.open("memory:")
    keep_all(old, store, "local")
    again = Catalog.open(f"sqlite:///{tmp_path / 'again.db'}")

    rebuild(again, store)

    assert list(differences(rows_of(old), rows_of(again))) == []


def test_rows_of_an_old_backup_go_through_the_migrations_since(
    catalog: Catalog, revision: str, tmp_path: Path
) -> None:
    """Written by this version under that revision's name, less what it did not know."""
    url = f"sqlite:///{tmp_path / 'then.db'}"
    write_catalog(url, revision)
    path = tmp_path / "catalog.jsonl"
    write_old_dump(url, revision, path)

    replace_rows(catalog, read_dump(path))

    now = Catalog.open(url)
    assert list(differences(rows_of(now), rows_of(catalog))) == []


def write_old_dump(url: str, revision: str, path: Path) -> None:
    import json

    from sqlalchemy import MetaData, select

    engine = open_engine(url)
    metadata = MetaData()
    metadata.reflect(engine)
    lines = [json.dumps({"revision": revision})]
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            if name.startswith("mir_") and name != VERSION_TABLE:
                for row in connection.execute(select(table)).mappings():
                    plain = {
                        key: value.replace(tzinfo=UTC).isoformat()
                        if isinstance(value, datetime)
                        else value
                        for key, value in row.items()
                    }
                    lines.append(json.dumps({"table": name, "row": plain}))
    path.write_text("\n".join(lines) + "\n")


def test_a_dump_is_read_back_into_either_database(
    catalog: Catalog, catalog_url: str, tmp_path: Path
) -> None:
    catalog.close()
    write_catalog_at_head(catalog_url)
    full = Catalog.open(catalog_url)
    dump_catalog(full, tmp_path / "dump.jsonl")
    rows = rows_of(full)
    other = Catalog.open(f"sqlite:///{tmp_path / 'other.db'}")

    for target in (other, full):
        replace_rows(target, read_dump(tmp_path / "dump.jsonl"))
        assert list(differences(rows, rows_of(target))) == []
    added = full.rounds.close(2, record=digest("x"))
    assert added.state == "closed"
    assert full.rounds.open(
        "digits", deployment="local", dag_id="d", run_id="r",
        spec=full.projects.get("digits").spec, conf={},
    ).id > 2  # fmt: skip
    full.close()


def write_catalog_at_head(url: str) -> None:
    """The tables are there already: only the rows, in the order of the files."""
    engine = open_engine(url)
    with writing(engine) as session:
        for revision in REVISIONS:
            lines = (DATA / f"revision_{revision}.sql").read_text().splitlines()
            sql = "\n".join(line for line in lines if not line.startswith("--"))
            for statement in filter(str.strip, sql.split(";\n")):
                session.execute(text(_with_key(statement).replace(":", r"\:")))
    engine.dispose()


def _with_key(statement: str) -> str:
    """The first project is older than keys."""
    if "INSERT INTO mir_projects (id, name" not in statement:
        return statement
    return statement.replace("(id, name", "(key, id, name").replace(
        "VALUES (1,", "VALUES ('digits', 1,"
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "line 1: it does not say its revision"),
        ("{", "line 1: it is not JSON"),
        ('{"revision": "0000"}', "no revision is called `0000`"),
        (f'{{"revision": "{HEAD}"}}\n[]', "line 2: it is no mapping"),
        (f'{{"revision": "{HEAD}"}}\n{{"table": "x"}}', "line 2: it is no row of a table"),
        (f'{{"revision": "{HEAD}"}}\n{{"table": "x", "row": {{}}}}', "no table is called `x`"),
    ],
)
def test_a_changed_dump_is_named(tmp_path: Path, lines: str, said: str) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_text(lines)
    with pytest.raises(MirError) as caught:
        read_dump(path)
    assert said in str(caught.value)


def test_a_dump_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_text('{"revision": "9999"}')
    with pytest.raises(StoreError) as caught:
        read_dump(path)
    assert caught.value.code == "catalog-too-new"


def test_a_folder_of_the_first_version_opens_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its store is of the first format, its catalog of the first revision."""
    folder = tmp_path / ".mir"
    shutil.copytree(DATA.parent / "format-1" / "store", folder / "store")
    write_catalog(f"sqlite:///{folder / 'catalog.db'}", REVISIONS[0])
    (folder / "config.yaml").write_text(
        f"store: {(folder / 'store').as_uri()}\ncatalog: sqlite:///{folder / 'catalog.db'}\n"
    )
    monkeypatch.chdir(tmp_path)

    for words in (
        ["log", "p/training"],
        ["round", "list"],
        ["copy", "--src-root", ".", "--src-revs", "p/merged", "--to", "again"],
        ["catalog", "keep"],
        ["backup", "backup"],
        ["store", "fsck", "meta"],
    ):
        assert main(words) == 0, words
    assert "manual__2" in capsys.readouterr().out
