from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from sample_tables import asset_ids, commit_assets

from mir_ops.errors import InvalidInputError, MirError, StoreError
from mir_ops.store import Store
from mir_ops.store.objects import PreconditionError, Versioned
from mir_ops.store.s3 import S3Objects

Send = Callable[[URLLib3Session, AWSPreparedRequest], AWSResponse]


@pytest.fixture
def s3_store(s3_url: str) -> Store:
    return Store.open(s3_url, create=True, access_key="test", secret_key="test")


def is_ref_move(request: AWSPreparedRequest) -> bool:
    return request.method == "PUT" and "refs/heads" in request.url.replace("%2F", "/")


def patch_sending(monkeypatch: pytest.MonkeyPatch, wrapper: Callable[[Send], Send]) -> None:
    monkeypatch.setattr(URLLib3Session, "send", wrapper(URLLib3Session.send))


@pytest.mark.parametrize("fault", [ReadTimeoutError, ConnectionClosedError])
def test_lost_answer_to_the_ref_move_is_settled(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch, fault: type[HTTPClientError]
) -> None:
    lost = 0

    def wrapper(send: Send) -> Send:
        def sending(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            nonlocal lost
            answer = send(session, request)
            if is_ref_move(request):
                lost += 1
                raise fault(endpoint_url=request.url)
            return answer

        return sending

    patch_sending(monkeypatch, wrapper)
    commit = commit_assets(s3_store, "b", asset_ids(2))

    assert lost == 1
    assert s3_store.resolve("b") == commit
    assert s3_store.branch("b").seq == 1


def test_move_that_never_arrived_is_sent_again(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    def wrapper(send: Send) -> Send:
        def sending(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            nonlocal attempts
            if is_ref_move(request):
                attempts += 1
                if attempts < 3:
                    raise ReadTimeoutError(endpoint_url=request.url)
            return send(session, request)

        return sending

    patch_sending(monkeypatch, wrapper)
    commit_assets(s3_store, "b", asset_ids(2))

    assert attempts == 3
    assert s3_store.branch("b").seq == 1


@pytest.mark.parametrize("wants_quotes", [True, False])
def test_either_form_of_if_match_is_found(s3_url: str, wants_quotes: bool) -> None:
    objects = S3Objects.open(s3_url, access_key="test", secret_key="test")
    forms = []

    def as_the_server_reads_it(params: dict[str, Any], **_: Any) -> None:
        given = params["headers"].get("If-Match")
        if given is not None:
            quoted = given.startswith('"')
            forms.append(quoted)
            understood = quoted == wants_quotes
            bare = given.strip('"')
            params["headers"]["If-Match"] = f'"{bare}"' if understood else '"other"'

    objects.once.meta.events.register("before-call.s3.PutObject", as_the_server_reads_it)
    store = Store.on(objects, create=True)
    for seed in range(3):
        commit_assets(store, "b", asset_ids(1, seed=seed))

    assert store.branch("b").seq == 3
    assert forms.count(not wants_quotes) == (0 if wants_quotes else 1)
    with pytest.raises(PreconditionError):
        objects.swap("refs/heads/b", b"x", Versioned(b"", '"stale"'))


def test_server_that_ignores_preconditions_is_refused(s3_url: str) -> None:
    objects = S3Objects.open(s3_url, access_key="test", secret_key="test")

    def ignore(params: dict[str, Any], **_: Any) -> None:
        params["headers"].pop("If-Match", None)
        params["headers"].pop("If-None-Match", None)

    objects.once.meta.events.register("before-call.s3.PutObject", ignore)

    with pytest.raises(StoreError) as caught:
        Store.on(objects, create=True)

    assert caught.value.code == "unsupported-server"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("s3://missing/x?endpoint_url={endpoint}", "no-such-bucket"),
        ("s3://bucket/missing?endpoint_url={endpoint}", "no-such-store"),
        ("s3://bucket/x?endpoint_url=http://127.0.0.1:1", "endpoint-unreachable"),
        ("s3://bucket/x?endpoint=http://127.0.0.1:1", "invalid-store-url"),
        ("s3://key:secret@bucket/x", "invalid-store-url"),
        ("gs://bucket/x", "invalid-store-url"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(s3_endpoint: str, url: str, code: str) -> None:
    with pytest.raises(MirError) as caught:
        Store.open(url.format(endpoint=s3_endpoint), access_key="test", secret_key="test")

    assert caught.value.code == code
    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_wrong_credentials_are_told(s3_url: str) -> None:
    objects = S3Objects.open(s3_url, access_key="test", secret_key="test")

    def refuse(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
        parsed["Error"] = {"Code": "SignatureDoesNotMatch", "Message": "no"}
        http_response.status_code = 403

    objects.client.meta.events.register("after-call.s3.GetObject", refuse)

    with pytest.raises(StoreError) as caught:
        Store.on(objects)

    assert caught.value.code == "wrong-credentials"
    assert "SignatureDoesNotMatch" in str(caught.value)


def test_no_credentials_are_told(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(StoreError) as caught:
        Store.open(s3_url)

    assert caught.value.code == "no-credentials"


def test_half_of_the_keys_is_refused(s3_url: str) -> None:
    with pytest.raises(InvalidInputError, match="access key without a secret key"):
        Store.open(s3_url, access_key="test")


def test_prefixes_of_one_bucket_are_stores_of_their_own(s3_url: str) -> None:
    one = Store.open(s3_url, create=True, access_key="test", secret_key="test")
    deeper = s3_url.replace("?", "/deeper?")
    two = Store.open(deeper, create=True, access_key="test", secret_key="test")

    commit_assets(one, "b", asset_ids(1))

    assert one.id != two.id
    assert two.branches() == []
    assert one.url == s3_url


def test_small_blobs_need_no_call_of_the_client(s3_url: str) -> None:
    objects = S3Objects.open(s3_url, access_key="test", secret_key="test")
    store = Store.on(objects, create=True)
    assert store.blobs.roots  # which the client asks for, once
    calls: list[int] = []
    objects.client.meta.events.register("before-call.s3", lambda **_: calls.append(1))

    digests = store.put_blobs([b"one", b"two", b""])

    assert [store.get_blob(digest) for digest in digests] == [b"one", b"two", b""]
    assert not calls
    assert store.put_blobs([b"one"]) == digests[:1]  # it is there: the client is asked how it is
    assert len(calls) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_small_blob_whose_request_was_lost_is_stored_by_the_client(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lost = 0

    def wrapper(send: Send) -> Send:
        def sending(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            nonlocal lost
            if "/blobs/" not in request.url or lost:
                return send(session, request)
            lost += 1
            if when == "after":
                send(session, request)
            raise ReadTimeoutError(endpoint_url=request.url)

        return sending

    patch_sending(monkeypatch, wrapper)
    digest = s3_store.put_blob(b"content")

    assert lost == 1
    assert s3_store.get_blob(digest) == b"content"
