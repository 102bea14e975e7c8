"""Requests for small objects that are named by their content, signed here.

A client of boto3 spends four to six times as long on each as the request itself takes, which a
million images make hours of. What does not end as it should is left to that client, which knows
what to make of it: to send such a request twice does no harm.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import BotoCoreError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.credentials import Credentials
    from mypy_boto3_s3.client import S3Client

LARGEST: Final = 2**20
_NOTHING: Final = hashlib.sha256().hexdigest()
_CREATED: Final = {200: True, 412: False}
_PORTS: Final = {"http": 80, "https": 443}


class SmallRequests:
    """Writes and reads of objects of one bucket, over the connections of a client of boto3."""

    def __init__(self, client: S3Client, credentials: Credentials, bucket: str) -> None:
        parts = urlsplit(client.meta.endpoint_url)
        self._root = f"{parts.scheme}://{parts.netloc}"
        usual = parts.port in (None, _PORTS.get(parts.scheme))
        self._host = (parts.hostname or "") if usual else parts.netloc
        self._path = f"{parts.path.rstrip('/')}/{bucket}/"
        self._region = client.meta.region_name
        self._credentials = credentials
        self._session = client._endpoint.http_session  # type: ignore[attr-defined]

    @classmethod
    def over(cls, client: S3Client, bucket: str) -> Self | None:
        """None where the client makes the addresses of buckets, or signs nothing."""
        s3 = client.meta.config.s3  # type: ignore[attr-defined]
        path_style = (s3 or {}).get("addressing_style") == "path"
        credentials = client._request_signer._credentials  # type: ignore[attr-defined]
        return cls(client, credentials, bucket) if path_style and credentials else None

    def create(self, key: str, body: bytes, sha256: str) -> bool | None:
        """Whether bytes of this hash were stored; False: there is something. None: who knows."""
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        headers = {"if-none-match": "*", "x-amz-checksum-sha256": checksum}
        answer = self._send("PUT", key, sha256, headers, body)
        return None if answer is None else _CREATED.get(answer.status_code)

    def find(self, key: str) -> bytes | None:
        """The bytes of an object, if the server sent all that it has."""
        answer = self._send("GET", key, _NOTHING, {}, None)
        if answer is None or answer.status_code != 200:
            return None
        body: bytes = answer.content
        return body if answer.headers.get("content-length") == str(len(body)) else None

    def _send(
        self, method: str, key: str, sha256: str, headers: Mapping[str, str], body: bytes | None
    ) -> AWSResponse | None:
        path = quote(self._path + key, safe="/-_.~")
        signed = self._signed(method, path, sha256, headers)
        request = AWSPreparedRequest(method, self._root + path, signed, body, False)  # type: ignore[arg-type]
        try:
            answer: AWSResponse = self._session.send(request)
            return answer
        except BotoCoreError:
            return None

    def _signed(
        self, method: str, path: str, sha256: str, headers: Mapping[str, str]
    ) -> HeadersDict:
        """The headers with a signature over them, as AWS describes its version 4."""
        keys = self._credentials.get_frozen_credentials()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        all_of_them = {
            **headers,
            "host": self._host,
            "x-amz-content-sha256": sha256,
            "x-amz-date": now,
            **({"x-amz-security-token": keys.token} if keys.token else {}),
        }
        names = sorted(all_of_them)
        lines = "".join(f"{name}:{all_of_them[name]}\n" for name in names)
        request = f"{method}\n{path}\n\n{lines}\n{';'.join(names)}\n{sha256}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        key = _signing_key(keys.secret_key, now[:8], self._region)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        del all_of_them["host"]  # who sends it writes it
        all_of_them["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return HeadersDict(all_of_them)


@lru_cache(8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
