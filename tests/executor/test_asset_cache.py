from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mir_ops.errors import NotFoundError
from mir_ops.executor import AssetCache
from mir_ops.store import Store

SIZE = 10_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri(), create=True)


def put(store: Store, number: int) -> str:
    return store.put_blob(number.to_bytes(4, "big") * (SIZE // 4))


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_least_recently_used_go_first(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache", limit=5 * SIZE, kept_seconds=60)
    ids = [put(store, number) for number in range(7)]
    for position, asset_id in enumerate(ids[:5]):
        age(cache.get(store, asset_id), seconds=1000 - position)
    cache.get(store, ids[0])  # was the oldest

    cache.get(store, ids[5])
    cache.evict()

    left = {path.name for path in (tmp_path / "cache").rglob("*") if len(path.name) == 64}
    assert left == {ids[0], ids[3], ids[4], ids[5]}


def test_what_was_just_handed_out_stays_above_the_limit(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache", limit=2 * SIZE)
    ids = [put(store, number) for number in range(6)]

    paths = cache.get_all(store, ids)

    assert all(Path(path).exists() for path in paths)
    assert cache.evict() == 6 * SIZE


def test_damaged_file_is_fetched_again_even_with_its_old_time(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    asset_id = put(store, 1)
    path = cache.get(store, asset_id)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * SIZE)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    again = cache.get(store, asset_id)

    assert hashlib.sha256(again.read_bytes()).hexdigest() == asset_id
    assert again.stat().st_mode & 0o222 == 0


def test_symbolic_link_in_the_cache_is_not_followed(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    asset_id = put(store, 1)
    path = cache.get(store, asset_id)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")

    again = cache.get(store, asset_id)

    assert not again.is_symlink()
    assert again.stat().st_size == SIZE


def test_asset_that_the_store_lacks_leaves_nothing(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")

    with pytest.raises(NotFoundError):
        cache.get(store, "0" * 64)

    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_rests_of_killed_fetches_are_removed(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    rest = tmp_path / "cache" / "ab" / ".partial-x"
    rest.parent.mkdir(parents=True)
    rest.write_bytes(b"half")
    age(rest, seconds=2 * 24 * 3600)

    cache.evict()

    assert not rest.exists()


WORKER = """
import hashlib, os, random, sys, tempfile
from pathlib import Path
from mir_ops.executor import AssetCache
from mir_ops.store import Store

store, folder, seed = Store.open(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
ids = sys.argv[4:]
cache = AssetCache(folder, limit=8 * 10_000, kept_seconds=3)
chosen = random.Random(seed)
with tempfile.TemporaryDirectory(dir=folder.parent) as job:
    for number in range(60):
        wanted = chosen.sample(ids, 3)
        for asset_id, path in zip(wanted, cache.get_all(store, wanted)):
            link = Path(job, f"{number}-{asset_id}")
            os.link(path, link)
            assert hashlib.sha256(link.read_bytes()).hexdigest() == asset_id
"""


def test_processes_share_a_cache_that_stays_small(store: Store, tmp_path: Path) -> None:
    ids = [put(store, number) for number in range(40)]
    folder = tmp_path / "cache"
    arguments = [sys.executable, "-c", WORKER, store.url, str(folder)]

    workers = [
        subprocess.Popen([*arguments, str(seed), *ids], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]

    assert [worker.returncode for worker in workers] == [0] * 4, errors
    size = AssetCache(folder, limit=8 * SIZE, kept_seconds=0).evict()
    assert size <= 8 * SIZE
    assert size == size_of(folder)
