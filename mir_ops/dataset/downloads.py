"""Sources at a URL, fetched to a file: bounded in size and time, and only from where it is allowed.

The address that was checked is the address that is connected to, for each redirect anew: a name
that resolves differently the second time gains nothing.
"""

from __future__ import annotations

import http.client
import ipaddress
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qs, unquote, urljoin, urlsplit

from mir_ops.dataset.pace import Pace
from mir_ops.errors import InvalidInputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from mir_ops.workspace import Workspace

Progress = Callable[[float, str], None]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CHUNK: Final = 2**20
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_GONE: Final = (404, 410)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a download may do. `private` allows addresses that only this machine or network has."""

    private: bool = False
    max_bytes: int = 64 * 2**30
    silence: float = 30.0  # seconds without a byte
    slowest: float = 1024.0  # bytes a second, on average, after the first minute
    redirects: int = 5


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://", "s3://"))


@contextmanager
def fetched(
    url: str,
    network: Network | None = None,
    *,
    workspace: Workspace | None = None,
    on_progress: Progress = lambda _share, _message: None,
) -> Iterator[Path]:
    """The archive at a `http://`, `https://` or `s3://` URL, in a file that is removed afterwards.

    The server of a workspace's own store is trusted, and alone is shown the workspace's keys.
    """
    network = network or Network()
    with tempfile.TemporaryDirectory(prefix="mir-import-") as folder:
        target = Path(folder) / "source"
        if url.lower().startswith("s3://"):
            _fetch_s3(url, target, network, workspace)
        else:
            _fetch_http(url, target, network, on_progress)
        yield target


def _fetch_http(url: str, target: Path, network: Network, on_progress: Progress) -> None:
    for _ in range(network.redirects + 1):
        parts = _checked_url(url)
        with closing(_connection(parts, network)) as connection:
            with closing(_answer(connection, parts)) as response:
                where = response.getheader("Location")
                if response.status not in _REDIRECTS or not where:
                    _check_status(response, url)
                    _save(response, target, url, network, on_progress)
                    return
            onward = _onward(url, where)
        if parts.scheme == "https" and not onward.lower().startswith("https:"):
            raise _refused(url, f"it leads from https to `{_shown(onward)}`")
        url = onward
    raise _refused(url, f"it leads on more than {network.redirects} times")


def _onward(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError as error:
        raise _refused(url, f"it leads to no address: {error}") from None


def _checked_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _refused(url, str(error)) from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _refused(url, "it is no `http://` or `https://` address")
    if parts.username is not None or parts.password is not None:
        raise _refused(url, "it holds a user name or password")
    if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in url):
        raise _refused(url, "it holds spaces or control characters")
    return parts


def _connection(parts: SplitResult, network: Network) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    address = _address_of(host, port, network)
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
        raise _failed(host, str(error)) from None
    return connection


def _address_of(host: str, port: int, network: Network) -> Address:
    """An address of the host that may be connected to: all that it has must be public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotFoundError(
            f"There is no host `{host}`", code="no-such-host", hint="Check the address"
        ) from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    hidden = [address for address in addresses if not is_public(address)]
    if hidden and not network.private:
        raise InvalidInputError(
            f"`{host}` is the private address {hidden[0]}",
            code="private-address",
            hint="Allow it with `--allow-private`, if you know the server",
        )
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether anybody on the internet reaches the same machine under this address."""
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
    outer = address.is_global and not address.is_multicast and not address.is_reserved
    return (outer or address in _NAT64) and all(is_public(one) for one in inner if one is not None)


def _answer(connection: http.client.HTTPConnection, parts: SplitResult) -> http.client.HTTPResponse:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": "mir-ops", "Accept-Encoding": "identity", "Connection": "close"}
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(parts.hostname or "", str(error) or type(error).__name__) from None


def _check_status(response: http.client.HTTPResponse, url: str) -> None:
    if response.status == 200:
        return
    if response.status in _GONE:
        raise NotFoundError(
            f"There is nothing at `{_shown(url)}`: {response.status} {response.reason}",
            code="no-such-source",
            hint="Check the address",
        )
    if response.status >= 500:
        raise _failed(_shown(url), f"{response.status} {response.reason}")
    raise _refused(url, f"the server answers {response.status} {response.reason}")


def _save(
    response: http.client.HTTPResponse,
    target: Path,
    url: str,
    network: Network,
    on_progress: Progress,
) -> None:
    length = response.length
    _check_size(url, length or 0, target, network)
    pace, start, total = Pace("bytes", length or 0), time.monotonic(), 0
    with target.open("wb") as file:
        while chunk := _next(response, url):
            total += len(chunk)
            if total > network.max_bytes:
                _check_size(url, total, target, network)
            seconds = time.monotonic() - start
            if seconds > 60 and total < network.slowest * seconds:
                raise _failed(_shown(url), f"{total} bytes came in {seconds:.0f} s")
            try:
                file.write(chunk)
            except OSError as error:
                raise _no_space(url, str(error)) from None
            pace.add(len(chunk))
            on_progress(pace.share, f"download: {pace}")
    if length is not None and total != length:
        raise _failed(_shown(url), f"it ended after {total} of {length} bytes")


def _next(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(_shown(url), str(error) or type(error).__name__) from None


def _check_size(url: str, size: int, target: Path, network: Network) -> None:
    if size > network.max_bytes:
        raise InvalidInputError(
            f"`{_shown(url)}` is too large: {size} bytes, at most {network.max_bytes} are fetched",
            code="download-too-large",
            hint="Fetch it yourself and import the file, or split it",
        )
    if size > shutil.disk_usage(target.parent).free:
        raise _no_space(url, f"it has {size} bytes")


def _no_space(url: str, reason: str) -> StoreError:
    return StoreError(
        f"No space for `{_shown(url)}`: {reason}",
        code="disk-full",
        hint=f"Free some space below `{tempfile.gettempdir()}`, or set `TMPDIR`",
    )


def _fetch_s3(url: str, target: Path, network: Network, workspace: Workspace | None) -> None:
    from mir_ops.store.s3 import S3Objects

    try:
        parts, endpoint = urlsplit(url), _endpoint(url)
    except ValueError as error:
        raise _refused(url, str(error)) from None
    ours = workspace is not None and _endpoint(workspace.store_url) == endpoint
    if endpoint and not ours:
        server = _checked_url(endpoint)
        _address_of(server.hostname or "", server.port or _PORTS[server.scheme], network)
    folder, _, key = parts.path.rpartition("/")
    if not key:
        raise _refused(url, "it ends with `/`")
    objects = S3Objects.open(
        parts._replace(path=folder).geturl(),
        access_key=workspace.access_key if workspace and ours else None,
        secret_key=workspace.secret_key if workspace and ours else None,
    )
    size = objects.size(unquote(key))
    if size is None:
        raise NotFoundError(
            f"There is nothing at `{_shown(url)}`", code="no-such-source", hint="Check the address"
        )
    _check_size(url, size, target, network)
    objects.fetch(unquote(key), target)


def _endpoint(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("endpoint_url", [""])[0]


def _shown(url: str) -> str:
    """Without a query, which may hold a signature, nor a password; bounded."""
    bare = url.partition("?")[0].partition("#")[0]
    start, _, rest = bare.partition("//")
    text = f"{start}//{rest.rpartition('@')[2]}"[:300]
    return "".join(char if char.isprintable() else "�" for char in text)


def _refused(url: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot import from `{_shown(url)}`: {reason}",
        code="bad-url",
        hint="Give the address of a zip or tar archive",
    )


def _failed(what: str, reason: str) -> StoreError:
    return StoreError(
        f"Cannot fetch from `{what}`: {reason}",
        code="download-failed",
        hint="Run the same command again; if it fails again, fetch the file yourself",
    )
