"""Requests to an S3 server fail, get lost, or arrive twice: old or new, never between."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows, commit_assets, recount

from mir_ops.errors import MirError
from mir_ops.store import Store, backoff, pins, refs, s3
from mir_ops.store.s3 import S3Objects

Send = Callable[[URLLib3Session, AWSPreparedRequest], AWSResponse]
KINDS = ("500", "503", "409", "403", "timeout before", "timeout after", "sent twice, late")
IDS, NEW = asset_ids(5), asset_ids(3, seed=5)


class FaultyNetwork:
    """Counts requests and spoils some of them, `lasting` in a row."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        kind: str = "",
        first: int = 0,
        lasting: int = 1,
        only: str = "",
    ) -> None:
        self.requests = 0
        self.kind = kind
        self.spoilt = range(first, first + lasting)
        self.only = only
        self.send: Send = URLLib3Session.send
        self._late: list[Callable[[], AWSResponse]] = []
        network = self

        def sending(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            return network._sent(session, request)

        monkeypatch.setattr(URLLib3Session, "send", sending)

    def _sent(self, session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        if self.only and not (request.method == "PUT" and self.only in request.url):
            return self.send(session, request)
        self.requests += 1
        if self.requests not in self.spoilt:
            return self.send(session, request)
        if self.kind == "timeout before":
            raise ConnectTimeoutError(endpoint_url=request.url)
        if self.kind == "timeout after":
            self.send(session, request)
            raise ReadTimeoutError(endpoint_url=request.url)
        if self.kind == "sent twice, late":
            body = request.body.read() if hasattr(request.body, "read") else request.body
            first, second = (
                AWSPreparedRequest(request.method, request.url, request.headers, body, False)
                for _ in range(2)
            )
            self._late.append(lambda: self.send(session, second))
            return self.send(session, first)
        return refusal(request, int(self.kind))

    def arrive_late(self) -> None:
        """Copies of requests that the network held back reach the server now."""
        for do in self._late:
            do()


class Body(io.BytesIO):
    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def refusal(request: AWSPreparedRequest, status: int) -> AWSResponse:
    codes = {500: "InternalError", 503: "SlowDown", 409: "ConditionalRequestConflict"}
    code = codes.get(status, "AccessDenied")
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    if request.method == "HEAD":
        body = b""
    return AWSResponse(request.url, status, {"content-length": str(len(body))}, Body(body))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.endpoint

    for module in (backoff, s3, botocore.endpoint):
        monkeypatch.setattr(module.time, "sleep", lambda _: None)
    for module in (refs, pins):
        monkeypatch.setattr(module, "Backoff", lambda: backoff.Backoff(deadline_seconds=0.5))


@pytest.fixture
def places(s3_clients: tuple[Any, Any]) -> Callable[[], S3Objects]:
    """Makes stores with one commit, each below a prefix of its own."""

    def make() -> S3Objects:
        prefix = f"faults-{secrets.token_hex(6)}/"
        objects = S3Objects(*s3_clients, "bucket", prefix, f"s3://bucket/{prefix}")
        commit_assets(Store(objects, ""), "b", IDS, op_id="first", boxes=1)
        return objects

    return make


def change(objects: S3Objects) -> str:
    with Store(objects, "").edit("b", op_id="op", operation=OPERATION, message="Change") as edit:
        edit.put_assets(asset_rows(NEW))
        edit.remove_assets(IDS[:1])
        edit.put_layer("ground_truth", box_rows(NEW), assets=NEW)
    return edit.commit.id


def requests_of_a_change(objects: S3Objects) -> int:
    with pytest.MonkeyPatch.context() as patch:
        network = FaultyNetwork(patch)
        change(objects)
    return network.requests


def try_one(objects: S3Objects, kind: str, first: int, lasting: int) -> None:
    store = Store(objects, "")
    before = store.resolve("b").id
    reported = None
    with pytest.MonkeyPatch.context() as patch:
        network = FaultyNetwork(patch, kind, first, lasting)
        with suppress(MirError):
            reported = change(objects)
        network.spoilt = range(0)
        tip = store.resolve("b")
        assert tip.id == before or tip.op_id == "op"
        assert reported in (None, tip.id)
        network.arrive_late()
    assert store.resolve("b").id == tip.id

    again = change(objects)

    assert reported in (None, again)
    assert [one.op_id for one in store.branch("b").log()] == ["op", "first"]
    recount(store.read("b"))


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_request_leaves_old_or_new(places: Callable[[], S3Objects], kind: str) -> None:
    requests = requests_of_a_change(places())
    assert requests > 10

    for first in range(3, requests + 1, requests // 3):
        try_one(places(), kind, first, lasting=1)


@pytest.mark.parametrize("kind", ["500", "503", "409"])
def test_storm_of_refusals_leaves_old_or_new(places: Callable[[], S3Objects], kind: str) -> None:
    try_one(places(), kind, first=4, lasting=12)


@pytest.mark.parametrize("kind", ["500", "503", "409", "timeout after"])
def test_ref_move_gets_through_a_short_storm(
    places: Callable[[], S3Objects], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    objects = places()
    network = FaultyNetwork(monkeypatch, kind, first=1, lasting=3, only="refs/heads")

    commit_id = change(objects)

    assert network.requests > 1 or kind == "timeout after"
    assert Store(objects, "").resolve("b").id == commit_id


def test_create_that_never_gets_through_is_an_error(
    places: Callable[[], S3Objects], monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = places()
    key = "blobs/sha256/ab/ab/" + "ab" * 32
    network = FaultyNetwork(monkeypatch, "409", first=1, lasting=1000)

    with pytest.raises(MirError) as caught:
        objects.create(key, b"x")

    assert caught.value.code == "store-refused"
    network.spoilt = range(0)
    assert objects.size(key) is None


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_request_spoilt_in_every_way_leaves_old_or_new(
    places: Callable[[], S3Objects], record_property: Callable[[str, object], None]
) -> None:
    requests = requests_of_a_change(places())

    for kind in KINDS:
        for first in range(1, requests + 1):
            for lasting in (1, 8):
                try_one(places(), kind, first, lasting)

    record_property(
        "figure",
        f"commit to S3: {requests} requests x {len(KINDS)} faults, once and 8 times in a row, "
        "all clean",
    )
