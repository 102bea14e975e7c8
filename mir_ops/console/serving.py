"""Serves the console to the person at this machine, and to nobody else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.errors import StoreError

LOOPBACK: Final = "127.0.0.1"


def serve(sources: Sources, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `on_ready` gets the address once connections are accepted."""
    app = create_app(lambda: sources)
    # A page of another site can point its own name at 127.0.0.1: only our names are answered.
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"], www_redirect=False
    )
    with _listen(port) as listener:
        on_ready(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise StoreError(
            f"Cannot listen on {LOOPBACK}:{port}: {error.strerror}",
            code="port-taken",
            hint="Choose another port with `--port`, or 0 for any free one",
        ) from None
    return listener
