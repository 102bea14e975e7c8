"""Every file in every layer of an image, also those that a later layer hides: `docker save`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


class _Chunks(io.RawIOBase):
    """What the engine sends, to be read as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._rest = chunk
        taken = min(len(buffer), len(self._rest))
        buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        return taken


def layer_files(image: Any, *, largest: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each; of one with more bytes than `largest` the content is empty."""
    saved = io.BufferedReader(_Chunks(iter(image.save())), 1 << 20)
    with tarfile.open(fileobj=saved, mode="r|") as archive:
        for member in archive:
            # Before Docker 25 a layer is `…/layer.tar`; among blobs there are descriptions, too.
            if member.name.endswith("layer.tar") or member.name.startswith("blobs/"):
                content = archive.extractfile(member)
                with (
                    suppress(tarfile.ReadError),
                    tarfile.open(fileobj=content, mode="r|") as layer,
                ):
                    yield from _files(layer, largest)


def _files(layer: tarfile.TarFile, largest: int) -> Iterator[tuple[str, bytes]]:
    for one in layer:
        content = layer.extractfile(one) if one.isfile() and one.size <= largest else None
        yield one.name, content.read() if content else b""
