"""Messages between a process and those that it started: a length, and as many bytes."""

from __future__ import annotations

from typing import IO


def send(pipe: IO[bytes], body: bytes) -> None:
    pipe.write(len(body).to_bytes(8, "big") + body)


def receive(pipe: IO[bytes]) -> bytes | None:
    """The next message; None at the end. Raises `EOFError` where it is cut off."""
    head = pipe.read(8)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    body = pipe.read(size)
    if len(head) < 8 or len(body) < size:
        raise EOFError("the other process ended")
    return body


def must_receive(pipe: IO[bytes]) -> bytes:
    """The next message; raises `EOFError` at the end, too."""
    body = receive(pipe)
    if body is None:
        raise EOFError("the other process ended")
    return body
