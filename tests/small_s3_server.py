"""A small S3 server that is right, or wrong in one chosen way."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Literal[
    "none",
    "ignores if-none-match",
    "ignores if-match",
    "answers 501",
    "reads are stale",
    "remembers absence",
    "several creators win",
    "swaps race",
    "deleted stays",
    "deleted cannot be created again",
    "listing lags",
    "clock is behind",
]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = fault
        self.lock = threading.Lock()
        self.bodies: dict[str, list[bytes]] = {}  # all versions, the newest last
        self.gone: set[str] = set()
        self.absent: set[str] = set()
        self.statuses: list[int] = []
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def server_close(self) -> None:
        """Gone as a killed server is: connections that clients keep are cut, too."""
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"s3://bucket/store?endpoint_url=http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, fault = self._key(), self.server.fault
        conditional = "If-Match" in self.headers or "If-None-Match" in self.headers
        if fault == "answers 501" and conditional:
            self._answer(501, _error("NotImplemented"))
            return
        racing = (fault == "several creators win" and "If-None-Match" in self.headers) or (
            fault == "swaps race" and "If-Match" in self.headers
        )
        if racing:
            allowed = self._allowed(key)
            time.sleep(0.3)  # others are allowed meanwhile, on a busy machine too
        with self.server.lock:
            if self._allowed(key) if not racing else allowed:
                self.server.bodies.setdefault(key, []).append(body)
                self.server.gone.discard(key)
                self._answer(200, b"", etag=_etag(body))
            else:
                self._answer(412, _error("PreconditionFailed"))

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        with self.server.lock:
            if "list-type" in query:
                self._list(query["prefix"][0])
                return
            key = self._key()
            body = self._body(key)
            absent = body is None or key in self.server.absent
            if absent and self.server.fault == "remembers absence":
                self.server.absent.add(key)
            if absent or body is None:
                self._answer(404, _error("NoSuchKey"))
                return
            if self.server.fault == "reads are stale" and len(self.server.bodies[key]) > 2:
                body = self.server.bodies[key][-2]
            self._answer(200, body, etag=_etag(body))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        with self.server.lock:
            if self.server.fault != "deleted stays":
                if self.server.fault == "deleted cannot be created again":
                    self.server.gone.add(self._key())
                self.server.bodies.pop(self._key(), None)
            self._answer(204, b"")

    def _allowed(self, key: str) -> bool:
        body, fault = self._body(key), self.server.fault
        if "If-None-Match" in self.headers and fault != "ignores if-none-match":
            return body is None and key not in self.server.gone
        if "If-Match" in self.headers and fault != "ignores if-match":
            return body is not None and self.headers["If-Match"] == _etag(body)
        return True

    def _list(self, prefix: str) -> None:
        keys = sorted(key for key in self.server.bodies if key.startswith(f"/bucket/{prefix}"))
        shown = keys[::2] if self.server.fault == "listing lags" else keys
        entries = "".join(
            f"<Contents><Key>{escape(key.removeprefix('/bucket/'))}</Key><Size>1</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in shown
        )
        self._answer(200, f"<ListBucketResult>{entries}</ListBucketResult>".encode())

    def _body(self, key: str) -> bytes | None:
        versions = self.server.bodies.get(key)
        return versions[-1] if versions else None

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self, status: int, body: bytes, etag: str | None = None) -> None:
        self.server.statuses.append(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        behind = 3600 if self.server.fault == "clock is behind" else 0
        return super().date_time_string((timestamp or time.time()) - behind)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(fault: Fault) -> Iterator[Server]:
    server = Server(fault)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
