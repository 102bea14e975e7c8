"""The bytes of stored objects: a protobuf writer with one answer per value, and the framing.

The id of an object is the SHA-256 of its header and its uncompressed protobuf bytes. Everything
written here is hashed: change nothing without a new version in the header.
"""

from __future__ import annotations

import hashlib
from typing import Final, NoReturn

import zstandard

from mir_ops.errors import StoreError

MAGIC: Final = b"MIRO"
VERSION: Final = 1
COMMIT: Final = 1
MANIFEST: Final = 2
TAXONOMY: Final = 3
GC_PLAN: Final = 4  # reserved

_HEADER: Final = len(MAGIC) + 2
_LARGEST: Final = 256 * 1024 * 1024
_VARINT, _FIXED64, _BYTES = 0, 1, 2


class Message:
    """Fields of one protobuf message, which the caller adds in ascending order.

    Default values are left out, as proto3 does, so a value has one encoding.
    """

    __slots__ = ("_buffer", "_last")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._last = 0

    def uint(self, field: int, value: int) -> Message:
        if value:
            self._tag(field, _VARINT)
            self._varint(value)
        return self

    def sint(self, field: int, value: int | None) -> Message:
        """An optional signed number: None is left out, zero is written."""
        if value is not None:
            self._tag(field, _VARINT)
            self._varint(value * 2 if value >= 0 else -value * 2 - 1)
        return self

    def fixed(self, field: int, value: int) -> Message:
        if value:
            self._tag(field, _FIXED64)
            self._buffer += value.to_bytes(8, "little")
        return self

    def text(self, field: int, value: str | None) -> Message:
        return self.data(field, (value or "").encode())

    def data(self, field: int, value: bytes) -> Message:
        if value:
            self.element(field, value)
        return self

    def element(self, field: int, value: bytes | Message) -> Message:
        """One entry of a repeated field, or a message: written also when empty."""
        body = value if isinstance(value, bytes) else bytes(value._buffer)
        self._tag(field, _BYTES)
        self._varint(len(body))
        self._buffer += body
        return self

    def __bytes__(self) -> bytes:
        return bytes(self._buffer)

    def _tag(self, field: int, wire_type: int) -> None:
        if field < self._last:
            raise AssertionError(f"field {field} after field {self._last}")
        self._last = field
        self._varint(field << 3 | wire_type)

    def _varint(self, value: int) -> None:
        if not 0 <= value < 1 << 64:
            raise OverflowError(f"{value} does not fit 64 bits")
        while value > 0x7F:
            self._buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self._buffer.append(value)


class FramingError(ValueError):
    """Bytes that are not an object of the expected kind."""


def frame(kind: int, message: Message) -> tuple[str, bytes]:
    """An object's id and the bytes to store."""
    header = MAGIC + bytes((kind, VERSION))
    body = bytes(message)
    return hashlib.sha256(header + body).hexdigest(), header + zstandard.compress(body, 3)


def unframe(kind: int, object_id: str, stored: bytes) -> bytes:
    """The protobuf bytes of a stored object, checked against its id."""
    header, packed = stored[:_HEADER], stored[_HEADER:]
    if header[:4] != MAGIC or len(header) < _HEADER:
        raise FramingError("it does not start like an object of this store")
    if header[4] != kind:
        raise FramingError(f"it is of kind {header[4]}, expected {kind}")
    try:
        if zstandard.frame_content_size(packed) > _LARGEST:
            raise FramingError(f"it claims more than {_LARGEST} bytes")
        body = zstandard.decompress(packed, max_output_size=_LARGEST)
    except zstandard.ZstdError as error:
        raise FramingError(str(error)) from None
    intact = hashlib.sha256(header + body).hexdigest() == object_id
    if header[5] != VERSION:
        _refuse_version(object_id, header[5], intact=intact)
    if not intact:
        raise FramingError("its content does not have this hash")
    return body


def _refuse_version(object_id: str, version: int, *, intact: bool) -> NoReturn:
    """What hashes to its name was written by a later version; the rest is damage."""
    said = f"format version is {version}, this program reads {VERSION}"
    if not intact:
        raise FramingError(f"its {said}")
    raise StoreError(
        f"Object {object_id}: its {said}", code="store-too-new", hint="Upgrade mir-ops"
    )


def is_commit(stored: bytes) -> bool:
    """Whether these bytes are framed as a commit."""
    return stored[:4] == MAGIC and stored[4:5] == bytes((COMMIT,))
