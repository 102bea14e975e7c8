"""What was backed up while a round ran comes back, and rounds go on from there."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from round_data import BEFORE_LABELS, House, Run
from sqlalchemy import select

from mir_ops.catalog import Catalog
from mir_ops.catalog.tables import Table
from mir_ops.cli.main import main
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError
from mir_ops.store import Store, keys
from mir_ops.store.audits import audit
from mir_ops.store.garbage import find_garbage
from mir_ops.store.objects import MemoryObjects
from mir_ops.store.reachability import starts_of_refs
from mir_ops.store.refs import read_ref
from mir_ops.store.urls import open_objects
from mir_ops.upkeep.backups import Backup, back_up, open_backup
from mir_ops.upkeep.copies import copy_objects
from mir_ops.upkeep.restoring import restore, restore_store
from mir_ops.workspace import Workspace

pytestmark = pytest.mark.timeout(900)  # rounds are played before the first test


def rows_of(catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    with catalog.engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(table).order_by("id")).mappings()]
            for name, table in Table.metadata.tables.items()
        }


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> House:
    """One round is closed and the second one mined when the backup is taken; then it closes."""
    house = House(tmp_path_factory.mktemp("house"), pool=16)
    Run(house, "run-1").all()
    second = Run(house, "run-2")
    second.all(BEFORE_LABELS)
    back_up_of(house)
    second.all()
    return house


def back_up_of(house: House, name: str = "backup") -> Backup:
    ws = house.ws
    copy = (house.root / "copy").as_uri()
    return back_up(ws.catalog, ws.store, house.root / name, deployment="local", objects=copy)[0]


@pytest.fixture
def house(backed_up: House, tmp_path: Path) -> House:
    shutil.copytree(backed_up.root, tmp_path / "house")
    house = object.__new__(House)
    house.root, house.settings, house.pool = tmp_path / "house", {}, backed_up.pool
    house.ws = house.workspace()
    return house


def lose_catalog(house: House) -> None:
    house.ws.catalog.close()
    for path in house.root.glob("catalog.db*"):
        path.unlink()
    house.ws = house.workspace()


def bring_back(house: House, **how: Any) -> Any:
    backup = open_backup(house.root / "backup")
    return restore(backup, house.ws.store, house.ws.catalog, **how)


def lose_store(house: House) -> None:
    shutil.rmtree(house.root / "store")
    house.ws = house.workspace()


def from_copy(house: House) -> Workspace:
    objects = open_objects(house.ws.store_url, create=True, access_key=None, secret_key=None)
    copy = open_objects(str(house.root / "copy"), create=False, access_key=None, secret_key=None)
    restore_store(open_backup(house.root / "backup"), objects, copy=copy, dry_run=False)
    return house.ws


def test_a_lost_catalog_comes_back_with_what_rounds_did_since(house: House) -> None:
    before = rows_of(house.ws.catalog)
    lose_catalog(house)

    done = bring_back(house)

    assert rows_of(house.ws.catalog) == before
    assert (done.refs, done.newer_rounds, done.open_rounds, done.missing) == ([], [], [], [])
    assert done.kept  # branches of the second round moved on after the backup
    third = Run(house, "run-3")
    third.all()
    assert third.jobs == ["train", "evaluate", "mine"]


def test_all_lost_comes_back_as_it_was_backed_up_and_the_round_goes_on(house: House) -> None:
    lose_store(house)
    lose_catalog(house)
    ws = from_copy(house)
    done = bring_back(house)

    assert done.open_rounds == ["round 2 of `digits`: run `run-2` of `dag`"]
    assert audit(ws.store, "deep").clean
    second, third = Run(house, "run-2"), Run(house, "run-3")
    ended, following = second.all(), third.all()
    assert second.jobs == []  # all of them were done before the backup
    assert third.jobs == ["train", "evaluate", "mine"]
    assert following["open_round"]["training"] == ended["close_round"]["training"]
    assert [each.state for each in ws.catalog.rounds.list("digits")] == ["closed"] * 3


def test_restoring_again_changes_nothing(house: House) -> None:
    lose_store(house)
    lose_catalog(house)
    for _ in range(2):
        ws = from_copy(house)
        bring_back(house)
    heads = {name: ref.seen for name, ref in ws.store.heads().items()}
    rows = rows_of(ws.catalog)
    bring_back(house, overwrite=True)
    assert {name: ref.seen for name, ref in ws.store.heads().items()} == heads
    assert rows_of(ws.catalog) == rows


def test_what_lives_is_not_overwritten_unasked(house: House) -> None:
    before, heads = rows_of(house.ws.catalog), house.ws.store.heads()
    house.ws.catalog.rounds.open(
        "digits", deployment="local", dag_id="dag", run_id="run-9",
        spec=house.ws.catalog.projects.get("digits").spec, conf={},
    )  # fmt: skip

    with pytest.raises(ConflictError, match="is not empty, and its rows would be replaced"):
        bring_back(house)

    assert len(rows_of(house.ws.catalog)["mir_rounds"]) == len(before["mir_rounds"]) + 1
    assert house.ws.store.heads() == heads


def test_branches_go_back_as_one_more_version_and_nothing_of_them_is_lost(house: House) -> None:
    store = house.ws.store
    then = open_backup(house.root / "backup").refs()
    moved = store.branch("digits/training").tip()
    version = store.branch("digits/training").seq

    said = bring_back(house, overwrite=True, dry_run=True)
    assert store.branch("digits/training").tip().id == moved.id
    done = bring_back(house, overwrite=True)

    assert said.refs == done.refs
    branch, ref = store.branch("digits/training"), parsed(then, keys.head("digits/training"))
    assert branch.tip().stats == store.commit(ref.commit or "").stats
    assert branch.seq == version + 2  # away, and there again
    assert store.find_operation(branch.name, ref.recent[-1][0]) is not None  # done, still
    assert store.tags()["digits/training@r2"] == moved.id
    assert not any(dead.key.endswith(moved.id) for dead in dead_in(store))
    third = Run(house, "run-3")
    assert third.task("open_round")["training"] == branch.tip().id


def test_a_deleted_branch_stays_deleted_unless_that_is_said(house: House) -> None:
    store = house.ws.store
    store.branch("digits/mined").delete()

    lose_catalog(house)
    done = bring_back(house)
    assert "branch `digits/mined`: it was deleted since the backup" in done.kept
    assert not store.branch("digits/mined").exists

    bring_back(house, overwrite=True)
    assert store.branch("digits/mined").exists


def test_no_garbage_is_what_a_backup_needs(house: House) -> None:
    """A backup is good for as long as the reflog keeps what was deleted since."""
    refs = open_backup(house.root / "backup").refs()
    store = house.ws.store
    for branch in store.branches():
        branch.delete()

    needed = {ref.commit for ref in (parsed(refs, key) for key in refs if key.startswith("refs/h"))}
    assert {dead.key[-64:] for dead in dead_in(store)} & needed == set()
    assert {dead.key[-64:] for dead in dead_in(store, reflog_kept=0)} & needed != set()


def test_a_backup_while_others_write_leads_to_commits_that_are_there(house: House) -> None:
    run, stop = Run(house, "run-3"), threading.Event()
    worker = threading.Thread(target=lambda: [run.all(), stop.set()])
    worker.start()
    taken = []
    while not (stop.is_set() or len(taken) > 12) or len(taken) < 2:
        taken.append(back_up_of(house, f"backup-{len(taken)}"))
    worker.join()

    store = Store.open((house.root / "copy").as_uri())
    assert audit(store, "meta").clean
    for backup in taken:
        refs = [parsed(backup.refs(), key) for key in backup.refs() if key.startswith("refs/h")]
        for start in starts_of_refs(refs):
            store.read(start.commit).asset_ids()
        catalog = Catalog.open(f"sqlite:///{backup.folder / 'there.db'}")
        restore(backup, store, catalog)
        for each in catalog.rounds.list("digits"):
            for step in catalog.steps.list(each.id):
                if (commit := (step.result or {}).get("commit")) is not None:
                    assert store.commit(commit).id == commit


def test_objects_are_copied_once(house: House) -> None:
    source, target = house.ws.store.objects, MemoryObjects()

    first, second = copy_objects(source, target), copy_objects(source, target)

    assert first.objects == second.known > 100
    assert (second.objects, second.byte_size) == (0, 0)


def test_a_copy_of_another_store_is_refused(house: House, tmp_path: Path) -> None:
    other = Store.open((tmp_path / "other").as_uri(), create=True)

    with pytest.raises(ConflictError, match="is another store than at"):
        copy_objects(house.ws.store.objects, other.objects)
    with pytest.raises(ConflictError, match="another store than the one that was backed up"):
        restore_store(open_backup(house.root / "backup"), other.objects, copy=None, dry_run=False)


def test_a_lost_store_without_its_copy_is_refused(house: House) -> None:
    lose_store(house)
    objects = open_objects(house.ws.store_url, create=True, access_key=None, secret_key=None)
    with pytest.raises(ConflictError, match="a backup has no images"):
        restore_store(open_backup(house.root / "backup"), objects, copy=None, dry_run=False)


@pytest.mark.parametrize("name", ["catalog.jsonl", "refs.jsonl"])
def test_a_changed_file_is_named(house: House, name: str) -> None:
    path = house.root / "backup" / name
    path.write_bytes(path.read_bytes()[:-10] + b"0" * 10)
    with pytest.raises(InvalidInputError, match=f"`{name}` was changed since it was made"):
        open_backup(path.parent)


def test_one_that_was_broken_off_is_none_and_can_be_finished(house: House) -> None:
    folder = house.root / "backup"
    (folder / "backup.json").unlink()
    with pytest.raises(NotFoundError, match=r"`backup\.json` is missing"):
        open_backup(folder)

    again = back_up_of(house)

    assert again.folder == folder
    with pytest.raises(ConflictError, match="has a backup already"):
        back_up_of(house)


def test_the_commands_say_what_they_do(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = house.ws
    monkeypatch.setenv("MIR_STORE", ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", ws.catalog_url)
    monkeypatch.chdir(house.root)

    assert main(["backup", "second", "--objects", str(house.root / "copy")]) == 0
    out = capsys.readouterr().out
    assert "rows of the catalog" in out
    assert "objects copied" in out
    lose_store(house)
    lose_catalog(house)
    assert main(["restore", "second"]) == 1
    assert "hint: Name the copy" in capsys.readouterr().err
    arguments = ["restore", "second", "--objects", str(house.root / "copy")]
    assert main([*arguments, "--dry-run"]) == 0
    assert "Would restore the backup of" in capsys.readouterr().out
    assert main(["--json", *arguments]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"]["mir_rounds"] == 2
    assert said["missing"] == []


def parsed(refs: dict[str, bytes], key: str) -> Any:
    objects = MemoryObjects()
    objects.create(key, refs[key])
    return read_ref(objects, key)


def dead_in(store: Store, **how: float) -> list[Any]:
    found: list[Any] = []
    find_garbage(store, on_dead=found.append, **how)
    return found
