"""Addresses at which an annotator's browser loads images: short-lived, each for one image.

From an S3 server they are the server's own, presigned. From a folder they are the console's route
`signed/<token>`: project, version, asset and expiry under an HMAC, so that whoever has one sees
that image until then and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling.backend import FindAddresses, ImageAddresses

if TYPE_CHECKING:
    from mir_ops.store import Version
    from mir_ops.workspace import Workspace

SECONDS: Final = 3600  # the longest that an address works
_FIXED: Final = struct.Struct(">Q32s32s")  # expiry, commit, asset; then the project's name
_IMAGE: Final = b"mir image\n"
_HOOK: Final = b"mir hook\n"
_MAC: Final = 32
_SHORTEST: Final = 16  # characters of a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImage:
    """What a token speaks of."""

    project: str
    commit: str
    asset: str


def find_addresses(ws: Workspace, project: str, version: Version) -> FindAddresses:
    """What makes addresses of a version's images."""

    def find(names: Sequence[str]) -> ImageAddresses:
        ends = int(time.time()) + SECONDS
        until = datetime.fromtimestamp(ends, UTC)
        if ws.images_from == "console" or ws.store_url.startswith("file:"):
            secret = _secret(ws.image_secret)
            urls = {
                name: f"{_console(ws)}/signed/"
                + image_token(
                    secret, SignedImage(project=project, commit=version.commit.id, asset=name), ends
                )
                for name in names
            }
        else:
            urls = _presigned(ws, version, names)
        return ImageAddresses(urls=urls, until=until)

    return find


def image_token(secret: str, image: SignedImage, ends: int) -> str:
    fixed = _FIXED.pack(ends, bytes.fromhex(image.commit), bytes.fromhex(image.asset))
    return _signed(secret, _IMAGE, fixed + image.project.encode())


def read_image_token(secret: str | None, token: str) -> SignedImage:
    """The image that a token of ours shows now; one answer for all that it does not."""
    content = _content(secret, _IMAGE, token)
    if content is not None and len(content) > _FIXED.size:
        ends, commit, asset = _FIXED.unpack_from(content)
        now = time.time()
        if now < ends <= now + SECONDS:
            project = content[_FIXED.size :].decode(errors="replace")
            return SignedImage(project=project, commit=commit.hex(), asset=asset.hex())
    raise NotFoundError("There is no such image, or its address has ended", code="no-such-address")


def wake_url(ws: Workspace, op_id: str) -> str | None:
    """Where a label tool says that something was labelled, if it can reach the console."""
    if not ws.console_url or not ws.image_secret:
        return None
    return f"{_console(ws)}/hooks/{_signed(_secret(ws.image_secret), _HOOK, op_id.encode())}"


def read_hook_token(secret: str | None, token: str) -> str:
    """The operation of the label task that a hook of ours is about."""
    content = _content(secret, _HOOK, token)
    if content is None:
        raise NotFoundError("There is no such hook", code="no-such-address")
    return content.decode(errors="replace")


def _signed(secret: str, purpose: bytes, content: bytes) -> str:
    signature = hmac.digest(secret.encode(), purpose + content, hashlib.sha256)
    return base64.urlsafe_b64encode(signature + content).rstrip(b"=").decode()


def _content(secret: str | None, purpose: bytes, token: str) -> bytes | None:
    """What was signed for this purpose; None: nothing was, not by us."""
    if not secret or len(secret) < _SHORTEST or len(token) > 1024:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    content = data[_MAC:]
    expected = hmac.digest(secret.encode(), purpose + content, hashlib.sha256)
    return content if hmac.compare_digest(data[:_MAC], expected) else None


def _presigned(ws: Workspace, version: Version, names: Sequence[str]) -> dict[str, str]:
    import pyarrow as pa

    ids = pa.array([bytes.fromhex(name) for name in names], pa.binary(32))
    rows = version.assets(columns=["asset_id", "media_type"], ids=ids).to_pylist()
    types = {row["asset_id"].hex(): row["media_type"] for row in rows}
    urls = ws.store.blobs.signed_urls(types, seconds=SECONDS)
    if missing := [name for name in names if name not in urls]:
        raise InvalidInputError(
            f"No browser can load image {missing[0][:12]} from where it lies",
            code="images-out-of-reach",
            hint="Say `images_from: console` in the connection, and give it an `image_secret`",
        )
    return urls


def _secret(secret: str | None) -> str:
    if not secret or len(secret) < _SHORTEST:
        raise InvalidInputError(
            "Addresses of images need a secret that signs them",
            code="no-image-secret",
            hint="Put a random `image_secret` of 32 characters into the workspace's connection",
        )
    return secret


def _console(ws: Workspace) -> str:
    if not ws.console_url:
        raise InvalidInputError(
            "Nobody said where an annotator's browser finds the console",
            code="no-console-url",
            hint="Set `console_url` in the workspace's connection, or Airflow's `api.base_url`",
        )
    return ws.console_url.rstrip("/")
