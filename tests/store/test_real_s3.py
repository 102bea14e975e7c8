"""The store on a real S3 server: Ceph's gateway. Needs its programs, see `ceph_gateway.py`."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import ceph_gateway
import pytest
from ceph_gateway import Gateway
from sample_tables import asset_ids, commit_assets, recount
from test_edits import *  # noqa: F403 - the same tests, on the server below
from test_merge_and_diff import (  # noqa: F401
    test_difference_is_told_in_assets_boxes_and_splits,
    test_two_strangers_are_united,
)
from test_s3_faults import *  # noqa: F403

from mir_ops import doctor
from mir_ops.errors import StoreError
from mir_ops.store import Store
from mir_ops.store.audits import audit
from mir_ops.store.objects import ObjectStore
from mir_ops.store.probes import probe
from mir_ops.store.s3 import S3Objects, open_clients

pytestmark = [pytest.mark.s3, pytest.mark.timeout(600)]
_PREFIXES = itertools.count()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway of its own, with one bucket."""
    if missing := ceph_gateway.missing_programs():
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}")
    with ceph_gateway.running() as gateway:
        gateway.client().create_bucket(Bucket="bucket")
        yield gateway


@pytest.fixture(scope="module")
def s3_endpoint(gateway: Gateway) -> str:
    return gateway.endpoint


@pytest.fixture(scope="module")
def s3_clients(s3_endpoint: str) -> tuple[object, object]:
    return open_clients(s3_endpoint, None, ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY)


@pytest.fixture
def objects(s3_clients: tuple[object, object]) -> ObjectStore:
    client, once = s3_clients
    prefix = f"store-{next(_PREFIXES)}"
    return S3Objects(client, once, "bucket", f"{prefix}/", f"s3://bucket/{prefix}")  # type: ignore[arg-type]


def test_server_keeps_what_the_store_needs(objects: ObjectStore) -> None:
    found = probe(objects)

    assert {finding.name for finding in found.findings if finding.outcome == "broken"} == set()


def test_server_takes_small_objects_that_we_signed(objects: S3Objects) -> None:
    body = b"a small image"
    digest, small = hashlib.sha256(body).hexdigest(), objects._small
    assert small is not None

    stored = [small.create("a prefix/%2F/x", body, digest) for _ in range(2)]

    assert stored == [True, False]
    assert small.find("a prefix/%2F/x") == body
    assert small.find("nothing") is None
    assert not small.create("other", b"other bytes", digest)
    assert small.find("other") is None


def test_writers_at_the_same_time_all_commit(objects: ObjectStore) -> None:
    store = Store.on(objects, create=True)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda seed: commit_assets(store, "b", asset_ids(2, seed=seed)), range(12)))

    assert store.branch("b").seq == 12
    version = store.read("b")
    assert version.stats.assets == 24
    recount(version)
    assert audit(store, "meta").clean


def test_a_full_server_says_so_and_goes_on_when_there_is_room(
    gateway: Gateway, objects: ObjectStore
) -> None:
    store = Store.on(objects, create=True)
    commit_assets(store, "b", asset_ids(2))

    gateway.limit(1)
    try:
        seed, error = commit_until_refused(store)
        before = store.branch("b").tip().id
    finally:
        gateway.limit(None)

    assert error.code == "disk-full"
    assert "has no space for `" in str(error)
    assert error.hint
    while True:
        try:
            commit_assets(store, "b", asset_ids(2, seed=seed))
            break
        except StoreError:
            time.sleep(0.5)  # until the gateway has heard of it
    assert store.branch("b").tip().parents == (before,)
    assert audit(store, "meta").clean


def commit_until_refused(store: Store) -> tuple[int, StoreError]:
    for seed in itertools.count(1):
        try:
            commit_assets(store, "b", asset_ids(2, seed=seed))
        except StoreError as error:
            return seed, error
    raise AssertionError


def test_doctor_says_whether_pages_of_the_label_tool_may_load_images(
    gateway: Gateway, objects: ObjectStore
) -> None:
    tool = "http://labels.example.org:8080"

    def found() -> tuple[str, str]:
        Store.on(objects, create=True)
        (finding,) = doctor._images_in_browsers(Store.on(objects), f"{tool}/projects/")
        return finding.health, finding.found

    assert found() == ("warning", f"the bucket has no CORS rule that lets {tool} GET")
    gateway.allow("bucket", "https://others.example.org")
    assert found()[0] == "warning"
    gateway.allow("bucket", tool)
    assert found() == ("ok", f"the bucket lets {tool} load them")
    gateway.allow("bucket")
