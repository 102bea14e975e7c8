"""A catalog that was lost is made again from the store, and rounds go on with it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from round_data import BEFORE_LABELS, House, Run
from sqlalchemy import select

from mir_ops.catalog import Catalog, apply_project
from mir_ops.catalog.pages import keep_all, keep_registry
from mir_ops.catalog.rebuilding import SUPERSEDED, CatalogDiffersError, rebuild
from mir_ops.catalog.tables import Table
from mir_ops.cli.main import main
from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor.models import choose_model, promote_model
from mir_ops.store import Store, keys

Rows = dict[str, list[dict[str, Any]]]

pytestmark = pytest.mark.timeout(900)  # rounds are played before the first test


def rows_of(catalog: Catalog) -> Rows:
    """Every column of every row of every table."""
    with catalog.engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(table).order_by("id")).mappings()]
            for name, table in Table.metadata.tables.items()
        }


@dataclass
class Lost:
    house: House
    before: Rows
    after: Catalog


def empty_catalog(house: House, name: str = "again") -> Catalog:
    return Catalog.open(f"sqlite:///{house.root / name}.db")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two rounds, a promoted model, an executor, and a third round that waits for labels."""
    house = House(tmp_path_factory.mktemp("house"), pool=16)
    for run in ("run-1", "run-2"):
        Run(house, run).all()
    ws = house.ws
    model = ws.catalog.models.list("digits")[0]
    promote_model(ws, choose_model(ws, model.model_id), "production")
    ws.catalog.executors.add(
        name="mine", image="mine:1", folder=None, digest=None, network=False, run_as_root=False,
        protocol="1.1.0", templates={2: {"train": {"epochs": 3}}},
    )  # fmt: skip
    ws.catalog.label_tasks.add_outside(
        project="digits", branch="digits/labels", dag_id="dataset_label", run_id="run-x",
        op_id="f" * 64, backend="folder", external_id="folder-1", requested=3,
    )  # fmt: skip
    keep_registry(ws.catalog, ws.store, ws.deployment)
    Run(house, "run-3").all((*BEFORE_LABELS, "create_label_task"))
    return house


@pytest.fixture
def lost(played: House, tmp_path: Path) -> Lost:
    """A copy of it all, whose catalog is gone."""
    shutil.copytree(played.root, tmp_path / "house")
    house = object.__new__(House)
    house.root, house.settings, house.pool = tmp_path / "house", {}, played.pool
    house.ws = house.workspace()
    before = rows_of(house.ws.catalog)
    house.ws.catalog.close()
    for path in house.root.glob("catalog.db*"):
        path.unlink()
    house.ws = house.workspace()
    return Lost(house, before, house.ws.catalog)


def test_every_row_of_every_table_comes_back(lost: Lost) -> None:
    found = rebuild(lost.after, lost.house.ws.store)

    assert found.written
    assert rows_of(lost.after) == lost.before
    assert {table for table, rows in lost.before.items() if not rows} == set()
    assert found.rows == {name: len(rows) for name, rows in lost.before.items()}
    assert found.left_out == ()
    assert found.open_rounds == ("round 3: run `run-3` of `dag`",)


def test_open_round_goes_on_where_it_was_and_the_next_one_follows(lost: Lost) -> None:
    rebuild(lost.after, lost.house.ws.store)

    third, fourth = Run(lost.house, "run-3"), Run(lost.house, "run-4")
    done, following = third.all(), fourth.all()

    assert third.jobs == []  # training, evaluation and mining were done before
    assert fourth.jobs == ["train", "evaluate", "mine"]
    assert following["open_round"]["training"] == done["close_round"]["training"]
    states = [each.state for each in lost.after.rounds.list("digits")]
    assert states == ["closed"] * 4
    assert lost.house.ws.store.tags().keys() >= {f"digits/training@r{n}" for n in (1, 2, 3, 4)}


def test_rebuilding_again_changes_nothing(lost: Lost) -> None:
    rebuild(lost.after, lost.house.ws.store)
    first = rows_of(lost.after)

    assert not rebuild(lost.after, lost.house.ws.store).written
    assert rows_of(lost.after) == first


def test_a_dry_run_says_the_same_and_writes_nothing(lost: Lost) -> None:
    said = rebuild(lost.after, lost.house.ws.store, dry_run=True)

    assert not said.written
    assert set(map(len, rows_of(lost.after).values())) == {0}
    assert rebuild(lost.after, lost.house.ws.store).rows == said.rows


def test_a_catalog_that_differs_is_left_as_it_is(lost: Lost) -> None:
    rebuild(lost.after, lost.house.ws.store)
    lost.after.rounds.fail(3, reason="given up")
    apply_project(lost.after, {**lost.house.project(), "name": "letters"})
    before = rows_of(lost.after)

    with pytest.raises(CatalogDiffersError) as caught:
        rebuild(lost.after, lost.house.ws.store)

    assert caught.value.differences == (
        "mir_projects letters: only in the catalog",
        "mir_rounds local dag run-3: state, open_project, reason",
    )
    assert rows_of(lost.after) == before


def test_steps_that_ended_since_are_all_that_a_kept_page_lacks(lost: Lost) -> None:
    rebuild(lost.after, lost.house.ws.store)
    run = Run(lost.house, "run-3")
    run.all((*BEFORE_LABELS, "create_label_task"))
    run.task("wait_for_labels")  # follows people, and no step of it ends through the round's book

    again = empty_catalog(lost.house)
    rebuild(again, lost.house.ws.store)

    different = {
        table: sorted(
            {name for mine, kept in zip(rows, now[table], strict=False) for name in mine
             if mine[name] != kept[name]}
        )
        for now in [rows_of(again)]
        for table, rows in rows_of(lost.after).items()
        if rows != now[table]
    }  # fmt: skip
    assert different.keys() <= {"mir_label_tasks", "mir_round_steps"}


def test_what_was_there_before_pages_were_kept_is_named(lost: Lost) -> None:
    store = lost.house.ws.store
    (second,) = [key for key in store.objects.list(keys.PAGES) if "/000002-" in key]
    store.objects.delete(second)

    found = rebuild(lost.after, store)

    assert found.left_out == ("round 2 of `digits`: the store has its commits, and no page of it",)
    assert [each.number for each in lost.after.rounds.list("digits")] == [1, 3]


def test_pages_that_were_never_written_are_made_up_for(lost: Lost) -> None:
    store = lost.house.ws.store
    rebuild(lost.after, store)
    for key in list(store.objects.list(keys.PAGES)):
        store.objects.delete(key)

    assert keep_all(lost.after, store, "local") == 4
    assert keep_all(lost.after, store, "local") == 0
    again = empty_catalog(lost.house)
    rebuild(again, store)
    assert rows_of(again) == lost.before


def test_blobs_that_are_gone_are_named(lost: Lost) -> None:
    model = lost.before["mir_packages"][0]
    lost.house.ws.store.objects.delete(keys.blob(model["package"]))

    (said,) = rebuild(lost.after, lost.house.ws.store).left_out

    assert said.startswith(f"blob {model['package'][:12]} of mir_")
    assert said.endswith("it is not in the store")


def test_of_two_catalogs_the_round_that_was_opened_last_counts(lost: Lost) -> None:
    """Somebody began anew with an empty catalog, and lost that one, too."""
    house = lost.house
    apply_project(lost.after, house.project())
    Run(house, "run-new").task("open_round")
    again = empty_catalog(house)

    found = rebuild(again, house.ws.store)

    rounds = again.rounds.list("digits")
    assert [(each.number, each.run_id, each.state) for each in rounds] == [
        (1, "run-new", "failed"),
        (2, "run-2", "closed"),
        (3, "run-3", "open"),
    ]
    assert rounds[0].reason == SUPERSEDED
    (said,) = found.left_out
    assert said.startswith("round 1 of `digits` in run `run-1`: another catalog opened a round")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: b"{", "it is not JSON"),
        (lambda _: b"[]", "it does not say which revision"),
        (lambda page: _changed(page, ("round", "number"), "one"), '`mir_rounds.number` is "one"'),
        (lambda page: _changed(page, ("round", "number"), True), "`mir_rounds.number` is true"),
        (lambda page: _changed(page, ("round", "spec"), None), "`mir_rounds.spec` is null"),
        (lambda page: _changed(page, ("round", "opened_at"), "now"), "is no time: now"),
        (lambda page: _changed(page, ("steps",), {}), "it has no list of `mir_round_steps`"),
    ],
)
def test_a_damaged_page_is_named_and_nothing_is_written(
    lost: Lost, change: Any, reason: str
) -> None:
    store = lost.house.ws.store
    key = next(key for key in store.objects.list(keys.PAGES) if "/000001-" in key)
    page = json.loads(store.objects.find(key) or b"")
    seen = store.objects.find_versioned(key)
    store.objects.swap(key, change(page), seen)

    with pytest.raises(InvalidInputError, match=f"Page `{key}`") as caught:
        rebuild(lost.after, store)

    assert reason in str(caught.value)
    assert set(map(len, rows_of(lost.after).values())) == {0}


def test_a_page_of_a_later_version_is_refused(lost: Lost) -> None:
    store = lost.house.ws.store
    key = next(iter(store.objects.list(keys.PAGES)))
    page = json.loads(store.objects.find(key) or b"")
    store.objects.swap(
        key, json.dumps(page | {"revision": "9999"}).encode(), store.objects.find_versioned(key)
    )

    with pytest.raises(StoreError) as caught:
        rebuild(lost.after, store)
    assert caught.value.code == "catalog-too-new"


def test_a_killed_rebuild_leaves_an_empty_catalog(lost: Lost) -> None:
    """It dies with all rows but the last table's written."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        from sqlalchemy import event
        from mir_ops.catalog import Catalog
        from mir_ops.catalog.rebuilding import rebuild
        from mir_ops.store import Store

        catalog = Catalog.open(sys.argv[2])

        @event.listens_for(catalog.engine, "before_cursor_execute")
        def die(connection, cursor, statement, *rest):
            if statement.startswith("INSERT INTO mir_promotions"):
                os.kill(os.getpid(), signal.SIGKILL)

        rebuild(catalog, Store.open(sys.argv[1]))
        """
    )
    ws = lost.house.ws
    command = [sys.executable, "-c", script, ws.store_url, ws.catalog_url]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL

    assert set(map(len, rows_of(lost.after).values())) == {0}
    rebuild(lost.after, ws.store)
    assert rows_of(lost.after) == lost.before


def test_the_command_shows_what_it_did(
    lost: Lost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = lost.house.ws
    monkeypatch.setenv("MIR_STORE", ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", ws.catalog_url)
    monkeypatch.chdir(lost.house.root)

    assert main(["catalog", "rebuild", "--dry-run"]) == 0
    assert "Would write: rounds 3" in capsys.readouterr().out
    assert main(["catalog", "rebuild"]) == 0
    out = capsys.readouterr().out
    assert "Wrote: rounds 3" in out
    assert "open: round 3: run `run-3` of `dag`; clear its task to go on" in out
    assert main(["catalog", "keep"]) == 0
    assert capsys.readouterr().out == "0 pages written\n"
    ws.catalog.rounds.fail(3, reason="given up")
    assert main(["--json", "catalog", "rebuild"]) == 1
    said = capsys.readouterr()
    assert '{"differs": "mir_rounds local dag run-3: state, open_project, reason"}' in said.out
    assert "error: The catalog is not empty, and differs from the store in 1 rows" in said.err


def test_a_replayed_round_does_not_touch_what_the_store_keeps(lost: Lost, tmp_path: Path) -> None:
    store = lost.house.ws.store
    before = {key: store.objects.find(key) for key in store.objects.list(keys.PAGES)}
    rebuild(lost.after, store)

    scratch = store.scratch(tmp_path / "scratch")
    keep_all(lost.after, scratch, "elsewhere")

    assert {key: store.objects.find(key) for key in store.objects.list(keys.PAGES)} == before
    assert list(scratch.objects.list(keys.PAGES)) != []


def _changed(page: dict[str, Any], path: tuple[str, ...], value: object) -> bytes:
    where = page
    for name in path[:-1]:
        where = where[name]
    where[path[-1]] = value
    return json.dumps(page).encode()


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=15)
@given(
    rounds=st.lists(
        st.tuples(
            st.sampled_from(["open", "closed", "failed"]),
            st.dictionaries(words, plain, max_size=3),
            words,
        ),
        max_size=4,
    ),
    deployment=words.filter(bool),
)
def test_whatever_rounds_left_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    migrated: Path,
    rounds: list[tuple[str, dict[str, Any], str]],
    deployment: str,
) -> None:
    catalog, again = (copy_of(migrated, tmp_path_factory.mktemp("any")) for _ in range(2))
    store = Store.open("memory:")
    project = apply_project(
        catalog,
        {
            "name": "digits",
            "classes": ["one"],
            "sources": {"training": "/t.zip", "validation": "/v.zip", "pool": "/p.zip"},
            "executor": {"name": "sample"},
        },
    )
    for number, (state, result, word) in enumerate(rounds):
        opened = catalog.rounds.open(
            "digits", deployment=deployment, dag_id="dag", run_id=f"{word}{number}",
            spec=project.spec, conf=result,
        )  # fmt: skip
        catalog.steps.start(opened.id, "train", word)
        catalog.steps.finish(opened.id, "train", word, result)
        if state == "closed":
            catalog.rounds.close(opened.id, record="")
        elif state == "failed" or number < len(rounds) - 1:
            catalog.rounds.fail(opened.id, reason=word)

    keep_all(catalog, store, deployment)
    rebuild(again, store)

    assert rows_of(again) == rows_of(catalog)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog: its migrations take longer than an example."""
    path = tmp_path_factory.mktemp("empty") / "catalog.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


def copy_of(path: Path, folder: Path) -> Catalog:
    shutil.copy(path, folder)
    return Catalog.open(f"sqlite:///{folder / path.name}")
