"""Sources at a URL, fetched to a file: bounded in size and time, and only from where it is allowed.

The address that was checked is the address that is connected to, for each redirect anew: a name
that resolves differently the second time gains nothing.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urljoin

from mir_ops.dataset.network import (
    PORTS,
    Network,
    address_of,
    check_size,
    check_url,
    failed,
    no_space,
    refused,
    shown,
)
from mir_ops.dataset.pace import Pace, Progress
from mir_ops.dataset.unfinished import Unfinished, download_place, find_unfinished
from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.workspace import Workspace


_CHUNK: Final = 2**20
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_GONE: Final = (404, 410)


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://", "s3://"))


@contextmanager
def fetched(
    url: str,
    network: Network | None = None,
    *,
    workspace: Workspace | None = None,
    folder: Path | None = None,
    on_progress: Progress = lambda _share, _message: None,
) -> Iterator[Path]:
    """The archive at a `http://`, `https://` or `s3://` URL, in a file that is removed afterwards.

    What is at an `s3://` URL that ends with `/` comes as a folder of files. Interrupted, what came
    is kept below `folder`, and the next call goes on, if the server tells that it is the same yet.
    The server of a workspace's own store is trusted, and alone is shown the workspace's keys.
    """
    network = network or Network()
    with download_place(url, folder) as place:
        target = place / "source"
        if url.lower().startswith("s3://"):
            from mir_ops.dataset.buckets import fetch_s3

            fetch_s3(url, target, network, workspace, on_progress)
        else:
            _fetch_http(url, target, network, on_progress)
        yield target


def _fetch_http(url: str, target: Path, network: Network, on_progress: Progress) -> None:
    given = url
    for _ in range(network.redirects + 1):
        parts = check_url(url)
        here = find_unfinished(target)
        with closing(_connection(parts, network)) as connection:
            with closing(_answer(connection, parts, here)) as response:
                where = response.getheader("Location")
                if response.status not in _REDIRECTS or not where:
                    if _take(response, here, url, network, on_progress):
                        return
                    target.unlink()  # it cannot go on: from the start
                    url = given
                    continue
            onward = _onward(url, where)
        if parts.scheme == "https" and not onward.lower().startswith("https:"):
            raise refused(url, f"it leads from https to `{shown(onward)}`")
        url = onward
    raise refused(url, f"it leads on more than {network.redirects} times")


def _take(
    response: http.client.HTTPResponse,
    here: Unfinished,
    url: str,
    network: Network,
    on_progress: Progress,
) -> bool:
    """Save what comes; false if it does not go on with what is here."""
    if here.size and response.status == 304:
        return True
    if here.size and response.status in (206, 416):
        span = response.getheader("Content-Range") or ""
        if response.status == 416 or not span.startswith(f"bytes {here.size}-"):
            return False
    else:
        _check_status(response, url)
        here = here.start(_tag(response), response.length)
    _save(response, here, url, network, on_progress)
    return True


def _tag(response: http.client.HTTPResponse) -> str | None:
    """What the server calls this version of the file, if it is a name for exactly these bytes."""
    etag = response.getheader("ETag")
    return etag if etag and not etag.startswith("W/") else response.getheader("Last-Modified")


def _onward(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError as error:
        raise refused(url, f"it leads to no address: {error}") from None


def _connection(parts: SplitResult, network: Network) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    address = address_of(host, port, network)
    connection = http.client.HTTPConnection(host, port, timeout=network.silence)
    try:
        connection.sock = socket.create_connection((str(address), port), timeout=network.silence)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise InvalidInputError(
            f"The certificate of `{host}` is not valid: {error.verify_message}",
            code="bad-certificate",
            hint="Have it renewed, or add its authority to this system's trusted ones",
        ) from None
    except OSError as error:
        connection.close()
        raise failed(host, str(error)) from None
    return connection


def _answer(
    connection: http.client.HTTPConnection, parts: SplitResult, here: Unfinished
) -> http.client.HTTPResponse:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": "mir-ops", "Accept-Encoding": "identity", "Connection": "close"}
    if here.tag and here.is_whole:
        headers["If-None-Match" if '"' in here.tag else "If-Modified-Since"] = here.tag
    elif here.tag and here.size:
        headers |= {"Range": f"bytes={here.size}-", "If-Range": here.tag}
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise failed(parts.hostname or "", str(error) or type(error).__name__) from None


def _check_status(response: http.client.HTTPResponse, url: str) -> None:
    if response.status == 200:
        return
    if response.status in _GONE:
        raise NotFoundError(
            f"There is nothing at `{shown(url)}`: {response.status} {response.reason}",
            code="no-such-source",
            hint="Check the address",
        )
    if response.status >= 500:
        raise failed(shown(url), f"{response.status} {response.reason}")
    raise refused(url, f"the server answers {response.status} {response.reason}")


def _save(
    response: http.client.HTTPResponse,
    here: Unfinished,
    url: str,
    network: Network,
    on_progress: Progress,
) -> None:
    start, before = time.monotonic(), here.size
    total, length = before, None if response.length is None else before + response.length
    check_size(url, length or 0, here.path, network, held=before)
    pace = Pace("MB", length or 0, before=before)
    with here.path.open("ab") as file:
        while chunk := _next(response, url):
            total += len(chunk)
            if total > network.max_bytes:
                check_size(url, total, here.path, network)
            seconds = time.monotonic() - start
            if seconds > 60 and total - before < network.slowest * seconds:
                raise failed(shown(url), f"{total - before} bytes came in {seconds:.0f} s")
            try:
                file.write(chunk)
            except OSError as error:
                raise no_space(url, here.path, str(error)) from None
            pace.add(len(chunk))
            on_progress(pace.share if length else 0.0, f"download: {pace}")
    if length is not None and total != length:
        raise failed(shown(url), f"it ended after {total} of {length} bytes")


def _next(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise failed(shown(url), str(error) or type(error).__name__) from None
