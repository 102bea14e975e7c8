"""A round on disks that fill up, each in turn: clear errors, nothing lost, and it goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import postgres_server
import pytest
from full_disks import fill
from round_data import TASKS, House, Run

from mir_ops.cli.main import main
from mir_ops.errors import StoreError
from mir_ops.store import Store
from mir_ops.store.audits import audit
from mir_ops.workspace import Workspace

PLACES = ("store", "catalog", "work")
BYTES = {"store": 24 << 20, "catalog": 8 << 20, "work": 96 << 20, "base": 128 << 20}
CODES = {"store": "disk-full", "catalog": "disk-full", "work": "no-space"}


class SmallHouse(House):
    """The catalog in a folder of its own."""

    def workspace(self) -> Workspace:
        return Workspace(
            store_url=(self.root / "store").as_uri(),
            catalog_url=f"sqlite:///{self.root / 'catalog' / 'catalog.db'}",
            work_dir=self.root / "work",
            sharing_dir=self.root / "sharing",
        )


@dataclass
class BaseHouse(SmallHouse):
    """Its catalog in a PostgreSQL."""

    catalog_url: str = ""

    def workspace(self) -> Workspace:
        return replace(super().workspace(), catalog_url=self.catalog_url)


@pytest.fixture(scope="module")
def disks() -> Iterator[Path]:
    """Small file systems of their own."""
    root = Path(tempfile.mkdtemp(prefix="mir-disks-", dir="/tmp"))  # short, as sockets want it
    root.chmod(0o755)  # PostgreSQL runs as its own user
    mounted = []
    try:
        for name in BYTES:
            (root / name).mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={BYTES[name]}", "tmpfs", root / name]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("Only root may mount file systems")
            mounted.append(root / name)
        yield root
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def house(disks: Path) -> House:
    return SmallHouse(disks)


def once_each(store: Store) -> bool:
    """No operation was committed twice."""
    for branch in store.branches():
        done = [commit.op_id for commit in store.branch(branch.name).log()]
        if len(done) != len(set(done)):
            return False
    return True


def with_full_disks(house: House, run: Run, place: Path) -> dict[str, StoreError]:
    """Try each task of a round on a full disk, and again once there is room: what was said."""
    refused = {}
    for task in TASKS:
        filler = fill(place)
        run.ws = house.workspace()  # tasks are processes of their own
        try:
            run.task(task)
        except StoreError as error:
            refused[task] = error
        finally:
            filler.unlink()
        if "base" in str(place):
            postgres_server.start(place)
        run.ws = house.workspace()
        run.task(task)
    return refused


@pytest.mark.parametrize("place", PLACES)
def test_a_round_goes_on_when_there_is_room_again(house: House, place: str) -> None:
    run = Run(house, f"full-{place}")

    refused = with_full_disks(house, run, house.root / place)

    assert {error.code for error in refused.values()} == {CODES[place]}, refused
    for task, error in refused.items():
        assert str(house.root / place) in str(error), task
        assert error.hint, task
    check_closed(house, run)


@pytest.mark.postgres
@pytest.mark.long
def test_a_round_goes_on_when_postgresql_has_room_again(disks: Path, tmp_path: Path) -> None:
    if postgres_server.is_missing():
        pytest.skip("PostgreSQL is not installed")
    place = disks / "base"
    with postgres_server.running_in(place) as server:
        # The server's own journal and the pages that it has are room for a while.
        in_postgres = BaseHouse(
            tmp_path, catalog_url=postgres_server.create_database(server, "mir")
        )
        run = Run(in_postgres, "full-base")

        refused = with_full_disks(in_postgres, run, place)

        assert "disk-full" in {error.code for error in refused.values()}, refused
        for task, error in refused.items():
            assert error.code in ("disk-full", "catalog-unavailable"), task
            assert error.hint, task
        check_closed(in_postgres, run)


@pytest.mark.postgres
def test_doctor_finds_that_postgresql_has_no_room(
    disks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if postgres_server.is_missing():
        pytest.skip("PostgreSQL is not installed")
    place = disks / "base"
    with postgres_server.running_in(place) as server:
        url = postgres_server.create_database(server, "mir")
        monkeypatch.setenv("MIR_STORE", (tmp_path / "store").as_uri())
        monkeypatch.setenv("MIR_CATALOG", url)
        Store.open((tmp_path / "store").as_uri(), create=True)
        before = catalog_found(capsys)

        filler = fill(place)
        full = catalog_found(capsys)
        filler.unlink()

    assert before == ["ok", "0 projects, 0 executors added"]
    assert full[0] == "failed"
    assert full[1].startswith("The disk of the catalog")
    shutil.rmtree(place / "data")


def catalog_found(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `mir doctor` says of the catalog."""
    main(["--json", "doctor", "--port", "0"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return next([one["health"], one["found"]] for one in lines if one["part"] == "catalog")


def check_closed(house: House, run: Run) -> None:
    """The round came to its end, each step was done once, and the store is whole."""
    assert run.ws.catalog.rounds.get(run.round_id).state == "closed"
    assert once_each(run.ws.store)
    assert audit(house.workspace().store, "deep").clean
