"""A store in an S3 bucket: conditional writes move refs. The only file that imports boto3."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from mir_ops.errors import InvalidInputError, MirError, NotFoundError, StoreError
from mir_ops.store import keys
from mir_ops.store.near import NearFiles
from mir_ops.store.objects import (
    Entry,
    OutcomeUnknownError,
    PreconditionError,
    Versioned,
    check_same_size,
    corrupt_object,
)
from mir_ops.store.s3_small import LARGEST, SmallRequests

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_THREADS: Final = 16
_CHUNK: Final = 1024 * 1024
_BY_CONTENT: Final = re.compile(r"(blobs|seg)/sha256/.*/(?P<sha256>[0-9a-f]{64})(\.\w+)?")
_CONFLICTS: Final = 8  # answers 409 in a row to one create
_OPTIONS: Final = ("endpoint_url", "region")
_NO_KEY: Final = ("NoSuchKey", "404", "NotFound")
_WRONG_KEYS: Final = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "AuthorizationHeaderMalformed",
)
_FULL: Final = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage")
_LOST: Final = (HTTPClientError, ConnectionError, TimeoutError)


class S3Objects:
    """Objects of one bucket below a prefix."""

    def __init__(
        self, client: S3Client, once: S3Client, bucket: str, prefix: str, url: str
    ) -> None:
        self.url = url
        self.client = client
        self.once = once  # never retries: a retried swap fails against its own first attempt
        self._bucket = bucket
        self._prefix = prefix
        self._small = SmallRequests.over(client, bucket)
        self._quoted: bool | None = None  # how this server wants If-Match, once it showed it
        self._offset = 0.0
        self._near: NearFiles | None = None
        for one in (client, once):
            one.meta.events.register("after-call.s3", self._note_clock)

    @classmethod
    def open(cls, url: str, *, access_key: str | None, secret_key: str | None) -> S3Objects:
        """The bucket and prefix of `s3://bucket/prefix?endpoint_url=…&region=…`."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        _check_url(url, options)
        if (access_key is None) != (secret_key is None):
            raise InvalidInputError(
                "An access key without a secret key, or the other way round",
                code="incomplete-credentials",
                hint="Pass both, or none to use boto3's credentials chain",
            )
        endpoint, region = options.get("endpoint_url"), options.get("region")
        prefix = unquote(parts.path).strip("/")
        place = f"s3://{parts.netloc}/{quote(prefix)}"
        shown = f"{place}?{urlencode(options, safe=':/')}" if options else place
        client, once = open_clients(endpoint, region, access_key, secret_key)
        return cls(client, once, parts.netloc, f"{prefix}/" if prefix else "", shown)

    def find(self, key: str) -> bytes | None:
        if (body := self._found(key)) is not None:
            return body
        found = self.find_versioned(key)
        return None if found is None else found.body

    def size(self, key: str) -> int | None:
        with self._errors(key):
            try:
                return self.client.head_object(Bucket=self._bucket, Key=self._key(key))[
                    "ContentLength"
                ]
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return None
                raise

    def describe(self, key: str) -> tuple[int, str] | None:
        """The size of an object, and the tag of this version of it."""
        with self._errors(key):
            try:
                found = self.client.head_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return None
                raise
            return found["ContentLength"], found["ETag"]

    def fetch_rest(self, key: str, destination: Path, etag: str, start: int) -> Iterator[int]:
        """Append what an object has from byte `start` on; yields how many bytes came each time."""
        with self._errors(key):
            answer = self.client.get_object(
                Bucket=self._bucket, Key=self._key(key), Range=f"bytes={start}-"
            )
            if answer["ETag"] != etag:
                raise StoreError(
                    f"`{key}` in `{self.url}` changed while it was fetched",
                    code="download-failed",
                    hint="Run the same command again",
                )
            with destination.open("ab") as file:
                for chunk in answer["Body"].iter_chunks(_CHUNK):
                    file.write(chunk)
                    yield len(chunk)

    def keep_near(self) -> None:
        """From now on keep what is read of segments as files on this host."""
        self._near = self._near or NearFiles()

    def local_path(self, key: str) -> Path | None:
        if self._near is None or not key.startswith(keys.SEGMENTS):
            return None
        return self._near.path(key, self.fetch)

    def signed_url(self, key: str, *, seconds: int, media_type: str) -> str:
        with self._errors(key):
            return self.client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": self._key(key),
                    "ResponseContentType": media_type,
                },
                ExpiresIn=seconds,
            )

    def fetch(self, key: str, destination: Path) -> bool:
        with self._errors(key):
            try:
                answer = self.client.get_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return False
                raise
            with destination.open("wb") as file:
                for chunk in answer["Body"].iter_chunks(_CHUNK):
                    file.write(chunk)
        return True

    def create(self, key: str, body: bytes | Path) -> bool:
        if created := self._created(key, body):
            return True
        with self._errors(key):
            if created is False:
                self._check_same(key, body)
                return False
            for left in reversed(range(_CONFLICTS)):
                try:
                    self._put_new(key, body)
                except ClientError as error:
                    if _status(error) == 412:
                        self._check_same(key, body)
                        return False
                    # 409: another create of this key is under way; it may still come to nothing.
                    if _status(error) != 409 or not left:
                        raise
                    time.sleep(0.1)
                else:
                    return True
        raise AssertionError("unreachable")

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda item: self.create(*item), items):
                pass

    def sync(self) -> None:
        return None  # an answered PUT is durable

    def find_versioned(self, key: str) -> Versioned | None:
        with self._errors(key):
            try:
                answer = self.client.get_object(Bucket=self._bucket, Key=self._key(key))
                return Versioned(answer["Body"].read(), answer["ETag"])
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return None
                raise

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        try:
            if expected is None:
                self._put_once(key, body, IfNoneMatch="*")
            else:
                self._swap_known(key, body, expected.etag)
        except ClientError as error:
            raise self._swap_error(key, error) from error
        except _LOST as error:
            raise OutcomeUnknownError(f"No answer to moving `{key}`: {error}") from error
        except BotoCoreError as error:
            raise self._error(key, error) from error

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(entry.key for entry in self.entries(prefix)))

    def entries(self, prefix: str) -> Iterator[Entry]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._key(prefix)
        )
        with self._errors(prefix):
            for page in pages:
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._prefix)
                    yield Entry(key, entry["Size"], entry["LastModified"].timestamp())

    def leftovers(self) -> Iterator[Entry]:
        return iter(())  # an object appears whole or not at all

    def delete(self, key: str) -> None:
        with self._errors(key):
            self.client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def clock(self) -> float:
        return time.time() + self._offset

    def _key(self, key: str) -> str:
        return self._prefix + key

    def _found(self, key: str) -> bytes | None:
        """The bytes of a blob; None where that says nothing."""
        if self._small is None or not _BY_CONTENT.fullmatch(key):
            return None
        return self._small.find(self._key(key))

    def _created(self, key: str, body: bytes | Path) -> bool | None:
        """Whether a small object was stored just now, or one is there; None says nothing."""
        named = _BY_CONTENT.fullmatch(key)
        if self._small is None or named is None or isinstance(body, Path) or len(body) > LARGEST:
            return None
        return self._small.create(self._key(key), body, named["sha256"])

    def _put_new(self, key: str, body: bytes | Path) -> None:
        with BytesIO(body) if isinstance(body, bytes) else body.open("rb") as file:
            self.client.put_object(
                Bucket=self._bucket,
                Key=self._key(key),
                Body=file,
                IfNoneMatch="*",
                ChecksumSHA256=_checksum(key, body),
            )

    def _check_same(self, key: str, body: bytes | Path) -> None:
        """What is there already has the size, and the checksum if the server tells one."""
        found = self.client.head_object(
            Bucket=self._bucket, Key=self._key(key), ChecksumMode="ENABLED"
        )
        check_same_size(self, key, body, found["ContentLength"])
        known = found.get("ChecksumSHA256")
        if _BY_CONTENT.fullmatch(key) and known and known != _checksum(key, body):
            raise corrupt_object(self, key, f"its SHA-256 is {b64decode(known).hex()}")

    def _put_once(self, key: str, body: bytes, **condition: Any) -> None:
        self.once.put_object(
            Bucket=self._bucket,
            Key=self._key(key),
            Body=body,
            ChecksumSHA256=_checksum(key, body),
            **condition,
        )

    def _swap_known(self, key: str, body: bytes, etag: str) -> None:
        """Ceph RGW 16 compares If-Match with the bare ETag; others want its quotes."""
        bare = etag.strip('"')
        forms = {None: (True, False), True: (True,), False: (False,)}[self._quoted]
        for quoted in forms:
            try:
                self._put_once(key, body, IfMatch=f'"{bare}"' if quoted else bare)
            except ClientError as error:
                if _status(error) != 412 or quoted is forms[-1]:
                    raise
                now = self.find_versioned(key)
                if now is None or now.etag != etag:
                    raise  # it moved: the refusal was right. Every body has an ETag of its own
            else:
                self._quoted = quoted
                return

    def _swap_error(self, key: str, error: ClientError) -> MirError:
        status = _status(error)
        if status == 412 or _code(error) == "NoSuchKey":
            return PreconditionError(f"Object `{key}` moved")
        if status == 501:
            return StoreError(
                f"The server at `{self.url}` has no conditional writes",
                code="unsupported-server",
                hint="Use a server with If-Match and If-None-Match on PutObject",
            )
        if status == 409 or status >= 500:
            return OutcomeUnknownError(f"No clear answer to moving `{key}`: {error}")
        return self._error(key, error)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError, ConnectionError, TimeoutError) as error:
            raise self._error(key, error) from error

    def _error(self, key: str, error: Exception) -> MirError:
        if isinstance(error, ClientError):
            return self._refused(key, error)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return StoreError(
                f"There are no credentials for `{self.url}`",
                code="no-credentials",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what boto3 looks for",
            )
        if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
            return StoreError(
                f"Cannot connect to `{self.url}`",
                code="endpoint-unreachable",
                hint="Check `endpoint_url` and whether the server runs",
            )
        return StoreError(
            f"Reading or writing `{key}` in `{self.url}` failed: {error}",
            code="store-unavailable",
            hint="Run the same command again",
        )

    def _refused(self, key: str, error: ClientError) -> MirError:
        code = _code(error)
        if code == "NoSuchBucket":
            return NotFoundError(
                f"There is no bucket `{self._bucket}` at `{self.url}`",
                code="no-such-bucket",
                hint="Check the name, or create the bucket first",
            )
        if code in _WRONG_KEYS:
            return StoreError(
                f"The server refused the credentials for `{self.url}`: {code}",
                code="wrong-credentials",
                hint="Check access key, secret key and region",
            )
        if code == "RequestTimeTooSkewed":
            return StoreError(
                f"The server at `{self.url}` and this machine disagree about the time",
                code="clock-skew",
                hint="Set this machine's clock, for example with NTP",
            )
        if code in _FULL or _status(error) == 507:
            return StoreError(
                f"The server at `{self.url}` has no space for `{key}`: {code}",
                code="disk-full",
                hint="Free some space or raise the quota, and run the same command again",
            )
        if _status(error) == 403:
            return StoreError(
                f"Access to `{key}` in `{self.url}` was denied",
                code="access-denied",
                hint="The store needs GetObject, PutObject, DeleteObject and ListBucket",
            )
        return StoreError(
            f"The server refused `{key}` in `{self.url}`: {code}", code="store-refused"
        )

    def _note_clock(self, http_response: Any, **_: Any) -> None:
        date = http_response.headers.get("Date") if http_response is not None else None
        if date:
            self._offset = parsedate_to_datetime(date).timestamp() - time.time()


def open_clients(
    endpoint: str | None, region: str | None, access_key: str | None, secret_key: str | None
) -> tuple[S3Client, S3Client]:
    """A client that retries, and one that never does."""
    session = boto3.session.Session(
        aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
    )
    retrying, once = (
        session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=session.region_name or "us-east-1",
            config=_config(attempts, path_style=endpoint is not None),
        )
        for attempts in (4, 1)
    )
    return retrying, once


def _config(attempts: int, *, path_style: bool) -> Config:
    return Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * _THREADS,
        signature_version="s3v4",  # addresses for browsers would get the one that few servers know
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": "path"} if path_style else {},
        # Checksums in trailers are unknown to servers older than 2025.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _checksum(key: str, body: bytes | Path) -> str:
    """The SHA-256 with which the server checks what arrives, and which HEAD tells later."""
    if named := _BY_CONTENT.fullmatch(key):
        return b64encode(bytes.fromhex(named["sha256"])).decode()
    content = body if isinstance(body, bytes) else body.read_bytes()
    return b64encode(hashlib.sha256(content).digest()).decode()


def _check_url(url: str, options: dict[str, str]) -> None:
    parts = urlsplit(url)
    unknown = [name for name in options if name not in _OPTIONS]
    problem = None
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        problem = "it needs a bucket and takes no credentials"
    elif unknown:
        problem = f"it has no option `{unknown[0]}`"
    elif "@" in urlsplit(options.get("endpoint_url", "")).netloc:
        problem = "its endpoint takes no credentials"
    if problem:
        raise InvalidInputError(
            f"Not the URL of a store: {problem}",
            code="invalid-store-url",
            hint="Use `s3://bucket/prefix?endpoint_url=http://host:port&region=name`",
        )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
