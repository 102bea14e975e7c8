"""A server that answers as Label Studio never would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mir_ops.errors import StoreError
from mir_ops.labeling.label_studio import LabelStudioBackend

ANSWERS = (b"[]", b"null", b"7", b'"text"', b"{", b"<html></html>", b"[" * 100_000)


@pytest.fixture(params=ANSWERS, ids=lambda answer: answer[:6].decode())
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    answer: bytes = request.param

    class Strange(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_of_another_shape_is_named(url: str) -> None:
    backend = LabelStudioBackend(url=url, token="a" * 40)

    with pytest.raises(StoreError) as caught:
        backend.progress("1-0123456789ab")

    assert caught.value.code == "label-answer-broken"
