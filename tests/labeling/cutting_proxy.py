"""A way to a server that can cut answers short, or be down."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """Passes bytes on; after `cut_after` bytes of an answer of some size, `cuts` times, no more."""

    def __init__(self, port: int) -> None:
        self.cut_after = 0
        self.cuts = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
            sent = 0
            with suppress(OSError):
                while data := server.recv(4096):
                    if self.cuts > 0 and sent + len(data) > self.cut_after:
                        self.cuts -= 1
                        client.sendall(data[: self.cut_after - sent])
                        break
                    client.sendall(data)
                    sent += len(data)
                client.shutdown(socket.SHUT_RDWR)  # another thread still reads from it
                server.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(4096):
            sink.sendall(data)
