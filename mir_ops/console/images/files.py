"""Image bytes for the browser: originals and thumbnails, of a type it can only draw."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastapi import HTTPException, Request, Response
from PIL import Image, ImageOps, UnidentifiedImageError

from mir_ops.console.headers import IMAGE_POLICY
from mir_ops.console.images.memory import Memory
from mir_ops.store import Store

SERVED_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/bmp", "image/webp"})
THUMBNAIL_SIDE: Final = 480
MOST_PIXELS: Final = 120_000_000  # a thumbnail of more is not worth the memory

_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP")
_kept: Final = Memory(128 << 20)  # some thousand small copies, of all stores of the process


@dataclass(frozen=True, slots=True)
class Served:
    """An image of a version, as far as sending it takes."""

    asset_id: str
    media_type: str
    width: int
    height: int


def original(request: Request, store: Store, asset: Served) -> Response:
    """The image as it was imported."""
    media_type = _served_type(asset)
    tag = f'"{asset.asset_id}"'
    if request.headers.get("if-none-match") == tag:
        return _response(b"", media_type, tag, status=304)
    return _response(store.get_blob(asset.asset_id), media_type, tag)


def thumbnail(request: Request, store: Store, asset: Served) -> Response:
    """A small upright copy; an image that is small already goes out as it is."""
    if max(asset.width, asset.height) <= THUMBNAIL_SIDE:
        return original(request, store, asset)
    if asset.width * asset.height > MOST_PIXELS:
        raise HTTPException(415, "The image is too large for a thumbnail")
    tag = f'"{asset.asset_id}-{THUMBNAIL_SIDE}"'
    if request.headers.get("if-none-match") == tag:
        return _response(b"", "image/jpeg", tag, status=304)
    _served_type(asset)
    return _response(_thumbnail(store, asset.asset_id), "image/jpeg", tag)


def shrink(content: bytes, side: int = THUMBNAIL_SIDE) -> bytes:
    """A JPEG of at most `side` pixels; ValueError for what is not an image of a served type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError("The image is too large for a thumbnail")
                image.draft("RGB", (side, side))
                small = ImageOps.exif_transpose(image).convert("RGB")
                small.thumbnail((side, side))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError("The image cannot be read") from None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82)
    return file.getvalue()


def _thumbnail(store: Store, asset_id: str) -> bytes:
    """Bytes go by their hash: those of one store are those of any."""
    try:
        return _kept.get(asset_id, lambda: shrink(store.get_blob(asset_id)))
    except ValueError as error:
        raise HTTPException(415, str(error)) from None


def drawn(request: Request, content: Callable[[], bytes], key: str) -> Response:
    """A PNG that the server drew; `key` names all that it was drawn from."""
    tag = f'"{hashlib.sha256(key.encode()).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return _response(b"", "image/png", tag, status=304)
    return _response(_kept.get(tag, content), "image/png", tag)


def _served_type(asset: Served) -> str:
    if asset.media_type not in SERVED_TYPES:
        raise HTTPException(415, f"Images of type `{asset.media_type}` are not shown")
    return asset.media_type


def _response(content: bytes, media_type: str, tag: str, *, status: int = 200) -> Response:
    headers = {
        "Content-Security-Policy": IMAGE_POLICY,
        "Cache-Control": "private, max-age=3600",
        "ETag": tag,
        "Vary": "Cookie, Authorization",
    }
    return Response(content, status, headers, media_type)
