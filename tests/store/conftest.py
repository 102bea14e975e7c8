from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mir_ops.store import Store
from mir_ops.store.local import LocalObjects
from mir_ops.store.objects import MemoryObjects, ObjectStore
from mir_ops.store.s3 import S3Objects, open_clients

_PREFIXES = itertools.count()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on a free port of the loopback, with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="bucket")
    yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def s3_clients(s3_endpoint: str) -> tuple[object, object]:
    return open_clients(s3_endpoint, None, "test", "test")


@pytest.fixture
def s3_url(s3_endpoint: str) -> str:
    return f"s3://bucket/store-{next(_PREFIXES)}?endpoint_url={s3_endpoint}"


@pytest.fixture(params=["memory", "local", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryObjects()
    if request.param == "local":
        root = tmp_path / "store"
        root.mkdir()
        return LocalObjects(root)
    client, once = request.getfixturevalue("s3_clients")
    return S3Objects(client, once, "bucket", f"store-{next(_PREFIXES)}/", "s3://bucket/store")


@pytest.fixture
def store(objects: ObjectStore) -> Store:
    return Store.on(objects, create=True)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri(), create=True)
