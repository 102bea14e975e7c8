from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest

from mir_ops.errors import NotFoundError
from mir_ops.executor import cache as module
from mir_ops.executor.cache import AssetCache, Wanted
from mir_ops.store import Store

SIZE = 10_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri(), create=True)


def put(store: Store, number: int) -> str:
    return store.put_blob(number.to_bytes(4, "big") * (SIZE // 4))


def link(store: Store, cache: AssetCache, *ids: str) -> list[Path]:
    """The assets as a job has them."""
    job = Path(mkdtemp(dir=cache.directory.parent))
    cache.link_all(store, [Wanted(one, SIZE, str(job / one)) for one in ids])
    return [job / one for one in ids]


def kept(cache: AssetCache, asset_id: str) -> Path:
    return cache.directory / asset_id[:2] / asset_id


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("[!.]*") if path.is_file())


@pytest.mark.parametrize("at_once", [1, 2, 50_000])
def test_least_recently_used_go_first(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    cache = AssetCache(tmp_path / "cache", limit=5 * SIZE)
    ids = [put(store, number) for number in range(7)]
    for asset_id in [*ids[:5], ids[0], ids[5]]:  # the first one was the oldest
        link(store, cache, asset_id)
        time.sleep(0.01)

    cache.evict()

    assert [one for one in ids if kept(cache, one).exists()] == [ids[0], ids[3], ids[4], ids[5]]


def test_what_one_process_counted_the_next_counts_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [put(store, number) for number in range(9)]
    link(store, AssetCache(tmp_path / "cache", limit=5 * SIZE), *ids[:2])
    with monkeypatch.context() as patched:
        patched.setattr(AssetCache, "_files", lambda _: pytest.fail("it counted again"))
        for asset_id in ids[2:5]:
            link(store, AssetCache(tmp_path / "cache", limit=5 * SIZE), asset_id)

    link(store, AssetCache(tmp_path / "cache", limit=5 * SIZE), ids[5])
    assert size_of(tmp_path / "cache") <= 5 * SIZE


@pytest.mark.parametrize("noted", [b"", b"many", b"9" * 31 + b"x"])
def test_a_cache_that_nobody_counted_is_counted(store: Store, tmp_path: Path, noted: bytes) -> None:
    cache = AssetCache(tmp_path / "cache", limit=3 * SIZE)
    ids = [put(store, number) for number in range(5)]
    link(store, AssetCache(tmp_path / "cache"), *ids[:4])
    (tmp_path / "cache" / ".bytes").write_bytes(noted)

    link(store, cache, ids[4])

    assert size_of(tmp_path / "cache") <= 3 * SIZE
    assert cache.evict() == size_of(tmp_path / "cache")


def test_job_keeps_what_the_cache_has_no_room_for(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache", limit=2 * SIZE)
    ids = [put(store, number) for number in range(6)]

    paths = link(store, cache, *ids)

    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] == ids
    assert cache.evict() <= 2 * SIZE


@pytest.mark.parametrize("size", [SIZE, 2**24], ids=["small", "not in memory"])
def test_damaged_file_is_fetched_again_even_with_its_old_time(
    store: Store, tmp_path: Path, size: int
) -> None:
    cache = AssetCache(tmp_path / "cache")
    asset_id = store.put_blob(b"a" * size)
    wanted = Wanted(asset_id, size, str(tmp_path / "first"))
    cache.link_all(store, [wanted])
    path = kept(cache, asset_id)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    cache.link_all(store, [replace(wanted, target=str(tmp_path / "again"))])

    for again in (tmp_path / "again", path):
        assert hashlib.sha256(again.read_bytes()).hexdigest() == asset_id
        assert again.stat().st_mode & 0o222 == 0
    assert (tmp_path / "first").read_bytes() == b"x" * size


@pytest.mark.parametrize("change", [bytes.upper, lambda content: content + b"a", lambda _: b""])
def test_no_change_of_a_file_is_overlooked(
    store: Store, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    cache = AssetCache(tmp_path / "cache")
    asset_id = store.put_blob(b"a" * SIZE)
    link(store, cache, asset_id)
    path = kept(cache, asset_id)
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))

    (again,) = link(store, cache, asset_id)

    assert again.read_bytes() == b"a" * SIZE


def test_symbolic_link_in_the_cache_is_not_followed(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    asset_id = put(store, 1)
    (first,) = link(store, cache, asset_id)
    kept(cache, asset_id).unlink()
    kept(cache, asset_id).symlink_to(first)

    (again,) = link(store, cache, asset_id)

    assert not again.is_symlink()
    assert not kept(cache, asset_id).is_symlink()
    assert again.stat().st_size == SIZE


def test_disk_without_links_gets_copies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    cache = AssetCache(tmp_path / "cache")
    asset_id = put(store, 1)
    monkeypatch.setattr(os, "link", refuse)

    (first,), (again,) = link(store, cache, asset_id), link(store, cache, asset_id)

    assert first.read_bytes() == again.read_bytes() == kept(cache, asset_id).read_bytes()
    assert again.stat().st_nlink == 1


def test_nothing_is_written_over_what_is_at_a_target(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    ids = [put(store, number) for number in range(2)]
    paths = link(store, cache, *ids)

    with pytest.raises(FileExistsError):
        cache.link_all(store, [Wanted(ids[0], SIZE, str(paths[1]))])

    assert hashlib.sha256(kept(cache, ids[1]).read_bytes()).hexdigest() == ids[1]


def test_large_images_are_hashed_in_threads(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    ids = [put(store, number) for number in range(100)]

    for turn in ("fetched", "linked"):
        (tmp_path / turn).mkdir()
        wanted = [Wanted(one, 2**20, str(tmp_path / turn / one)) for one in ids]
        cache.link_all(store, wanted)

        for one in wanted:
            assert hashlib.sha256(Path(one.target).read_bytes()).hexdigest() == one.asset_id


def test_asset_that_the_store_lacks_leaves_nothing(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")

    with pytest.raises(NotFoundError):
        link(store, cache, "0" * 64)

    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_rests_of_killed_fetches_are_removed(store: Store, tmp_path: Path) -> None:
    cache = AssetCache(tmp_path / "cache")
    rest = tmp_path / "cache" / "ab" / ".partial-x"
    rest.parent.mkdir(parents=True)
    rest.write_bytes(b"half")
    then = time.time() - 2 * 24 * 3600
    os.utime(rest, (then, then))

    cache.evict()

    assert not rest.exists()


WORKER = """
import hashlib, random, sys, tempfile
from pathlib import Path
from mir_ops.executor.cache import AssetCache, Wanted
from mir_ops.store import Store

store, folder, seed = Store.open(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
ids = sys.argv[4:]
cache = AssetCache(folder, limit=8 * 10_000)
chosen = random.Random(seed)
with tempfile.TemporaryDirectory(dir=folder.parent) as job:
    for number in range(60):
        asked = chosen.sample(ids, 3)
        wanted = [Wanted(one, 10_000, f"{job}/{number}-{one}") for one in asked]
        cache.link_all(store, wanted)
        for one in wanted:
            assert hashlib.sha256(Path(one.target).read_bytes()).hexdigest() == one.asset_id
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
    size = AssetCache(folder, limit=8 * SIZE).evict()
    assert size <= 8 * SIZE
    assert size == size_of(folder)
