"""What may be fetched from where: addresses that are allowed, sizes, and how a URL is shown."""

from __future__ import annotations

import ipaddress
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a download may do. `private` allows addresses that only this machine or network has."""

    private: bool = False
    max_bytes: int = 64 * 2**30
    silence: float = 30.0  # seconds without a byte
    slowest: float = 1024.0  # bytes a second, on average, after the first minute
    redirects: int = 5


def check_url(url: str) -> SplitResult:
    """The parts of an address that may be asked for."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise refused(url, str(error)) from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise refused(url, "it is no `http://` or `https://` address")
    if parts.username is not None or parts.password is not None:
        raise refused(url, "it holds a user name or password")
    if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in url):
        raise refused(url, "it holds spaces or control characters")
    return parts


def address_of(host: str, port: int, network: Network) -> Address:
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


def check_size(url: str, size: int, target: Path, network: Network, *, held: int = 0) -> None:
    """Refuse what is larger than allowed, or than there is space, of which `held` is used by it."""
    if size > network.max_bytes:
        raise InvalidInputError(
            f"`{shown(url)}` is too large: {size} bytes, at most {network.max_bytes} are fetched",
            code="download-too-large",
            hint="Fetch it yourself and import the file, or split it",
        )
    if size - held > shutil.disk_usage(target.parent).free:
        raise no_space(url, target, f"it has {size} bytes")


def no_space(url: str, target: Path, reason: str) -> StoreError:
    """The error of a file that does not fit."""
    return StoreError(
        f"No space for `{shown(url)}`: {reason}",
        code="disk-full",
        hint=f"Free some space at `{target.parent}`",
    )


def shown(url: str) -> str:
    """A URL without a query, which may hold a signature, nor a password; bounded."""
    bare = url.partition("?")[0].partition("#")[0]
    start, _, rest = bare.partition("//")
    text = f"{start}//{rest.rpartition('@')[2]}"[:300]
    return "".join(char if char.isprintable() else "�" for char in text)


def refused(url: str, reason: str) -> InvalidInputError:
    """The error that says why nothing is fetched from there."""
    return InvalidInputError(
        f"Cannot import from `{shown(url)}`: {reason}",
        code="bad-url",
        hint="Give the address of a zip or tar archive",
    )


def failed(what: str, reason: str) -> StoreError:
    """The error of a server that did not answer as it should."""
    return StoreError(
        f"Cannot fetch from `{what}`: {reason}",
        code="download-failed",
        hint="Run the same command again; if it fails again, fetch the file yourself",
    )
