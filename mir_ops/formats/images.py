"""What an image file is: format, displayed size, EXIF orientation, and whether it decodes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 2**27
EXTENSIONS: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp"}
TURNED: Final = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION_TAG: Final = 0x0112
_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """One image that decodes. Width and height are as it is displayed."""

    media_type: str
    width: int
    height: int
    channels: int
    byte_size: int
    orientation: int
    ymir_sha1: bytes


class ImageRefusedError(Exception):
    """The bytes are no image that we take; `code` is the issue to count."""

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


def inspect_image(data: bytes) -> ImageFacts:
    """Decode a JPEG, PNG or BMP image; raises `ImageRefusedError`."""
    media_type = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if media_type is None:
        raise ImageRefusedError("image-format")
    try:
        return _decode(data, media_type)
    except ImageRefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes
        raise ImageRefusedError("image-unreadable", str(error)) from None


def extension_agrees(name: str, media_type: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in (EXTENSIONS[media_type], ".jpeg" if media_type == "image/jpeg" else None)


def _decode(data: bytes, media_type: str) -> ImageFacts:
    image = _open(data, media_type)
    width, height = image.size
    if width * height == 0:
        raise ImageRefusedError("image-unreadable", "it has no pixels")
    if width * height > MAX_PIXELS:
        raise ImageRefusedError("image-too-large", f"{width} x {height}")
    channels = len(image.getbands())
    orientation = _orientation(image)
    if media_type == "image/jpeg":
        # Reads every coefficient, so that a truncated file shows, at 1/8 of the arithmetic.
        image.draft(None, (1, 1))
    image.load()
    if orientation in TURNED:
        width, height = height, width
    return ImageFacts(
        media_type=media_type,
        width=width,
        height=height,
        channels=channels,
        byte_size=len(data),
        orientation=orientation,
        ymir_sha1=hashlib.sha1(data, usedforsecurity=False).digest(),
    )


def _open(data: bytes, media_type: str) -> ImageFile:
    # `Image.open` would try formats by their magic, and warn about sizes that we bound ourselves.
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    kinds: dict[str, type[ImageFile]] = {
        "image/jpeg": JpegImageFile,
        "image/png": PngImageFile,
        "image/bmp": BmpImageFile,
    }
    return kinds[media_type](io.BytesIO(data))


def _orientation(image: ImageFile) -> int:
    if "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - a broken EXIF block does not make an image unreadable
        return 1
    return value if value in range(1, 9) else 1
