from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sample_tables import asset_ids, commit_assets, recount

from mir_ops.errors import MirError, StoreError
from mir_ops.store import Store

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from sample_tables import asset_ids, commit_assets
from mir_ops.store import Store
store = Store.open(sys.argv[2])
first = int(sys.argv[3])
for seed in range(first, first + 6):
    commit_assets(store, "b", asset_ids(2, seed=seed), op_id=f"op-{seed}", boxes=1)
"""


def test_processes_on_one_branch_lose_nothing(local_store: Store) -> None:
    arguments = [sys.executable, "-c", WRITER, str(Path(__file__).parent), local_store.url]

    writers = [
        subprocess.Popen([*arguments, str(first)], stderr=subprocess.PIPE, text=True)
        for first in (0, 100)
    ]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0], errors
    commits = list(local_store.branch("b").log())
    seeds = [*range(6), *range(100, 106)]
    assert sorted(commit.op_id for commit in commits) == sorted(f"op-{seed}" for seed in seeds)
    version = local_store.read("b")
    assert version.stats.assets == 24
    recount(version)


def test_killed_writer_leaves_a_readable_branch(local_store: Store) -> None:
    arguments = [sys.executable, "-c", WRITER, str(Path(__file__).parent), local_store.url, "0"]
    writer = subprocess.Popen(arguments)
    while writer.poll() is None and local_store.branch("b").seq < 2:
        threading.Event().wait(0.02)
    writer.kill()
    writer.wait()

    again = subprocess.run(arguments, check=False)

    assert again.returncode == 0
    assert [commit.op_id for commit in local_store.branch("b").log()] == [
        f"op-{seed}" for seed in reversed(range(6))
    ]
    recount(local_store.read("b"))


def test_threads_on_one_branch_lose_nothing(store: Store) -> None:
    errors: list[MirError] = []

    def write(first: int) -> None:
        try:
            for seed in range(first, first + 3):
                commit_assets(Store(store.objects, ""), "b", asset_ids(1, seed=seed))
        except MirError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert store.read("b").stats.assets == 9
    assert store.branch("b").seq == 9


def test_classes_registered_at_once_get_ids_of_their_own(store: Store) -> None:
    threads = [
        threading.Thread(target=store.register_classes, args=([f"c{number}", "shared"],))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    classes = store.classes()
    assert sorted(classes) == ["c0", "c1", "c2", "c3", "c4", "c5", "shared"]
    assert sorted(classes.values()) == list(range(7))


def test_one_of_two_creators_makes_the_store(tmp_path: Path) -> None:
    ids: list[str] = []
    url = (tmp_path / "store").as_uri()
    threads = [
        threading.Thread(target=lambda: ids.append(Store.open(url, create=True).id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_directory_that_cannot_be_written_is_named(local_store: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "pins").write_text("a file where a directory belongs")

    with pytest.raises(StoreError, match="Cannot access `pins/"):
        commit_assets(local_store, "b", asset_ids(1))

    assert not local_store.branch("b").exists
