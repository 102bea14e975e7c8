"""The operations that `benchmarks/store.py` measures: one a process, ours and the peers'."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import logging
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import store_data
from botocore.config import Config
from store_data import CHANGED, OPERATION, box_rows, put, random_ids

from mir_ops.store import Commit, Store, Version
from mir_ops.store.objects import MemoryObjects, ObjectStore

CHOSEN = pa.array([3, 7], pa.int32())
THREADS = 16


class Place:
    """Where an operation finds its data, and what it measured."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder: Path = options.folder
        self.size: int = options.size
        self.options = options
        self.found: dict[str, Any] = {"cpu": [], "wall": []}
        self.names = itertools.count()

    def store(self) -> Store:
        return Store.open((self.folder / "store").as_uri())

    def plain(self, name: str) -> tuple[pa.Table, pa.Table]:
        """The assets and the boxes of a version from one plain file each."""
        tables = ("assets", "boxes")
        assets, boxes = (pq.read_table(self.folder / f"{name}-{table}.parquet") for table in tables)
        return assets, boxes

    def fresh(self, kind: str) -> str:
        """A name that no earlier process took."""
        return f"{kind}-{os.getpid()}-{next(self.names)}"

    def repeat(self, times: int, do: Callable[[], object]) -> None:
        """Measure the same thing a few times."""
        for _ in range(times):
            with self.measured():
                result = do()
            del result

    @contextmanager
    def measured(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.found["cpu"].append(time.process_time() - cpu)
        self.found["wall"].append(time.perf_counter() - wall)


class Counting:
    """An object store that counts what an operation writes and reads beside media."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self.puts = self.bytes = self.gets = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, key: str, body: bytes | Path) -> bool:
        self._count(body)
        return self._inner.create(key, body)

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        for key, body in items:
            self.create(key, body)

    def swap(self, key: str, body: bytes, expected: Any) -> None:
        self._count(body)
        self._inner.swap(key, body, expected)

    def find(self, key: str) -> bytes | None:
        self.gets += key.startswith("obj/")
        return self._inner.find(key)

    def _count(self, body: bytes | Path) -> None:
        self.puts += 1
        self.bytes += len(body) if isinstance(body, bytes) else body.stat().st_size


def prepare(place: Place) -> None:
    store_data.prepare(place.folder, place.size)


def commit(place: Place) -> None:
    counting = Counting(place.store().objects)
    store = Store.on(counting)
    base = store.read("base")
    for index in range(8):
        branch, ids = place.fresh("commit"), random_ids(CHANGED, 1000 + index)
        counting.puts = counting.bytes = 0
        with place.measured():
            put(store, branch, ids, base=base)
    place.found |= {"puts": counting.puts, "bytes": counting.bytes}
    recount(store.read(branch))


def commit_relabelled(place: Place) -> None:
    store = place.store()
    base = store.read("base")
    ids = base.asset_ids()
    for index in range(8):
        places = np.linspace(index, place.size - 9 + index, CHANGED).astype(int)
        chosen = ids.take(pa.array(places))
        branch = place.fresh("relabel")
        with place.measured(), edit(store, branch, base) as changing:
            changing.put_layer("ground_truth", box_rows(chosen, seed=1), assets=chosen)
    recount(store.read(branch))


def recount(version: Version) -> None:
    """The statistics of a commit are those of its rows."""
    assets, boxes = version.assets(["split"]), version.layer("ground_truth", ["class_id"])
    stats = version.stats.layers["ground_truth"]
    assert version.stats.assets == assets.num_rows
    assert counted(assets["split"].fill_null("")) == dict(version.stats.splits)
    assert (stats.rows, counted(boxes["class_id"])) == (boxes.num_rows, dict(stats.classes))


def counted(values: pa.ChunkedArray) -> dict[Any, int]:
    return {one["values"]: one["counts"] for one in values.value_counts().to_pylist()}


def edit(store: Store, branch: str, base: Version | None = None) -> Any:
    return store.edit(branch, op_id=branch, operation=OPERATION, message="Benchmark", base=base)


def read_all(version: Version) -> tuple[pa.Table, pa.Table]:
    return version.assets(), version.layer("ground_truth")


def read(place: Place, name: str = "base") -> None:
    store = place.store()
    place.repeat(5, lambda: read_all(store.read(name)))


def peer_read(place: Place, name: str = "base") -> None:
    place.repeat(5, lambda: place.plain(name))


def check_read(place: Place, name: str = "base") -> None:
    same(read_all(place.store().read(name)), place.plain(name))


def same(ours: Sequence[pa.Table], others: Sequence[pa.Table]) -> None:
    """Row for row and column for column, in the order of their keys."""
    for one, other in zip(ours, others, strict=True):
        keys = [(name, "ascending") for name in ("asset_id", "annotation_id")]
        other = other.sort_by([key for key in keys if key[0] in other.column_names])
        assert one.num_rows == other.num_rows, (one.num_rows, other.num_rows)
        for name in one.column_names:
            assert one[name].equals(other[name].cast(one[name].type)), name


def select(place: Place) -> None:
    store = place.store()
    place.repeat(3, lambda: select_classes(place, store))


def select_classes(place: Place, store: Store) -> Commit:
    version = store.read("base")
    boxes = version.layer("ground_truth")
    boxes = boxes.filter(pc.is_in(boxes["class_id"], value_set=CHOSEN))
    ids = pc.unique(boxes["asset_id"])
    with edit(store, place.fresh("select")) as changing:
        changing.put_assets(version.assets(ids=ids))
        changing.put_layer("ground_truth", boxes, assets=ids)
    chosen: Commit = changing.commit
    return chosen


def peer_select(place: Place) -> None:
    place.repeat(3, lambda: write(place, "selected", peer_select_classes(place)))


def peer_select_classes(place: Place) -> tuple[pa.Table, pa.Table]:
    assets, boxes = place.plain("base")
    boxes = boxes.filter(pc.is_in(boxes["class_id"], value_set=CHOSEN))
    ids = pc.unique(boxes["asset_id"])
    return assets.filter(pc.is_in(assets["asset_id"], value_set=ids)), boxes


def check_select(place: Place) -> None:
    store = place.store()
    same(read_all(store.read(select_classes(place, store))), peer_select_classes(place))


def write(place: Place, name: str, tables: Sequence[pa.Table]) -> None:
    for kind, table in zip(("assets", "boxes"), tables, strict=True):
        pq.write_table(table, place.folder / f"{name}-{kind}.parquet")


def merge(place: Place, store: Store, host: str, guest: str, strategy: str = "stop") -> Commit:
    name = place.fresh("merge")
    sources = store.read(host), [store.read(guest)]
    return store.merge(
        name, *sources, op_id=name, operation=OPERATION, message="Merge", strategy=strategy
    )


def strangers(place: Place) -> None:
    store = place.store()
    place.repeat(3, lambda: merge(place, store, "base", "other", "host"))


def peer_strangers(place: Place) -> None:
    place.repeat(3, lambda: write(place, "united", peer_unite(place)))


def peer_unite(place: Place) -> list[pa.Table]:
    united = []
    for ours, theirs in zip(place.plain("base"), place.plain("other"), strict=True):
        known = pc.is_in(theirs["asset_id"], value_set=pc.unique(ours["asset_id"]))
        united.append(pa.concat_tables([ours, theirs.filter(pc.invert(known))]))
    return united


def check_strangers(place: Place) -> None:
    store = place.store()
    merged = store.read(merge(place, store, "base", "other", "host"))
    recount(merged)
    same(read_all(merged), peer_unite(place))


def merge_apart(place: Place, prefix: str) -> None:
    store = place.store()
    place.repeat(7, lambda: merge(place, store, f"{prefix}left", f"{prefix}right"))


def check_merge_new(place: Place) -> None:
    store = place.store()
    merged = store.read(merge(place, store, "left", "right"))
    assert merged.stats.assets == place.size + 2 * CHANGED
    recount(merged)


def diff_apart(place: Place, prefix: str) -> None:
    store = place.store()
    place.repeat(7, lambda: store.diff(f"{prefix}left", f"{prefix}right"))


def check_diff_new(place: Place) -> None:
    found = place.store().diff("left", "right")
    assert (found.assets_added, found.assets_removed) == (CHANGED, CHANGED)
    boxes = np.array(list(found.layers["ground_truth"].values())).sum(axis=0).tolist()
    assert boxes == [CHANGED * store_data.BOXES, CHANGED * store_data.BOXES, 0]


def check_diff_few(place: Place) -> None:
    found = place.store().diff("base", "few-left")
    boxes = np.array(list(found.layers["ground_truth"].values())).sum(axis=0).tolist()
    amount = store_data.RELABELLED["few"]
    assert (found.layer_assets["ground_truth"], boxes[0]) == ((0, 0, amount), boxes[1])


def log(place: Place) -> None:
    memory = MemoryObjects()
    store = Store.on(memory, create=True)
    for index in range(place.size):
        with store.edit("b", op_id=str(index), operation=OPERATION, message="Nothing"):
            pass
    counting = Counting(memory)
    store = Store.on(counting)
    gets = []
    for _ in range(2):
        counting.gets = 0
        with place.measured():
            assert len(list(store.branch("b").log())) == place.size
        gets.append(counting.gets)
    place.found |= {"gets": gets[0], "again": gets[1]}


def bodies(place: Place, kind: str, seed: int) -> list[bytes]:
    count, each = {"small": (10_000, 3_000), "large": (1_000, 200_000)}[kind]
    count = int(count * place.options.scale)
    place.found |= {"count": count, "each": each, "megabytes": count * each / 1e6}
    everything = np.random.default_rng(seed).bytes(count * each)
    return [everything[start : start + each] for start in range(0, len(everything), each)]


@contextmanager
def server(place: Place) -> Iterator[tuple[str, str, str]]:
    """Endpoint and keys: of the server that was named, or of a moto server in a child process."""
    if place.options.endpoint:
        keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        yield (place.options.endpoint, *keys)
        return
    from multiprocessing import get_context

    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=serve, args=(sender,), daemon=True)
    child.start()
    try:
        yield receiver.recv(), "test", "test"
    finally:
        child.terminate()
        child.join()


def serve(sender: Any) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    sender.send(f"http://{host}:{port}")
    time.sleep(3600)


def bare_client(endpoint: str, access: str, secret: str) -> Any:
    config = Config(max_pool_connections=THREADS, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=config,
    )


def upload(place: Place, kind: str) -> None:
    blobs = bodies(place, kind, 1)
    bucket = place.options.bucket
    with server(place) as (endpoint, access, secret):
        make_bucket(bare_client(endpoint, access, secret), place)
        url = f"s3://{bucket}/{place.fresh('ours')}?endpoint_url={endpoint}"
        store = Store.open(url, create=True, access_key=access, secret_key=secret)
        with place.measured():
            digests = store.put_blobs(blobs)
        assert store.get_blob(digests[-1]) == blobs[-1]


def peer_upload(place: Place, kind: str) -> None:
    blobs = bodies(place, kind, 2)
    with server(place) as keys, ThreadPoolExecutor(THREADS) as pool:
        client = bare_client(*keys)
        make_bucket(client, place)
        prefix = place.fresh("bare")

        def send(numbered: tuple[int, bytes]) -> None:
            key = f"{prefix}/{numbered[0]}"
            client.put_object(Bucket=place.options.bucket, Key=key, Body=numbered[1])

        with place.measured():
            list(pool.map(send, enumerate(blobs)))
        answer = client.get_object(Bucket=place.options.bucket, Key=f"{prefix}/{len(blobs) - 1}")
        assert hashlib.sha256(answer["Body"].read()).digest() == hashlib.sha256(blobs[-1]).digest()


def make_bucket(client: Any, place: Place) -> None:
    if not place.options.endpoint:
        client.create_bucket(Bucket=place.options.bucket)


OPERATIONS: dict[str, Callable[[Place], None]] = {
    "prepare": prepare,
    "commit": commit,
    "commit-relabelled": commit_relabelled,
    "read": read,
    "peer-read": peer_read,
    "check-read": check_read,
    "deltas": lambda place: read(place, "deltas"),
    "peer-deltas": lambda place: peer_read(place, "deltas"),
    "check-deltas": lambda place: check_read(place, "deltas"),
    "select": select,
    "peer-select": peer_select,
    "check-select": check_select,
    "strangers": strangers,
    "peer-strangers": peer_strangers,
    "check-strangers": check_strangers,
    "merge-new": lambda place: merge_apart(place, ""),
    "merge-few": lambda place: merge_apart(place, "few-"),
    "merge-many": lambda place: merge_apart(place, "many-"),
    "check-merge-new": check_merge_new,
    "diff-new": lambda place: diff_apart(place, ""),
    "diff-few": lambda place: diff_apart(place, "few-"),
    "diff-many": lambda place: diff_apart(place, "many-"),
    "check-diff-new": check_diff_new,
    "check-diff-few": check_diff_few,
    "log": log,
    "upload-small": lambda place: upload(place, "small"),
    "upload-large": lambda place: upload(place, "large"),
    "peer-upload-small": lambda place: peer_upload(place, "small"),
    "peer-upload-large": lambda place: peer_upload(place, "large"),
}


def peak() -> float:
    """MiB that this process held at most; unlike `ru_maxrss` not what its parent did before."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--bucket", default="bucket")
    parser.add_argument("--scale", type=float, default=1)
    place = Place(parser.parse_args())
    OPERATIONS[place.options.operation](place)
    print(json.dumps(place.found | {"peak": round(peak(), 1)}))


if __name__ == "__main__":
    main()
