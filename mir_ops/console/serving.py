"""Serves the console to the person at this machine, and to nobody else.

Others may have accounts here, and any page in the browser may send requests to 127.0.0.1: the
address that is printed carries a token, which the browser then keeps as a cookie.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mir_ops.console.access import HARMLESS, is_same_origin
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.doctor import Finding
from mir_ops.errors import StoreError

LOOPBACK: Final = "127.0.0.1"

_PARAMETER: Final = "token"


def serve(
    sources: Sources,
    *,
    port: int,
    page: str,
    examine: Callable[[], list[Finding]],
    on_ready: Callable[[str], None],
) -> None:
    """Serve until interrupted; `on_ready` gets the address of `page` once it can be opened."""
    token = secrets.token_urlsafe(24)
    with _listen(port) as listener:
        port = listener.getsockname()[1]
        app = create_app(
            lambda: sources, may=lambda _request, _action, _project: True, examine=examine
        )
        app.add_middleware(HolderOnly, token=token, cookie=f"mir_view_{port}")
        # A page of another site can point its own name at 127.0.0.1: only our names are answered.
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"], www_redirect=False
        )
        on_ready(f"http://{LOOPBACK}:{port}/{page}?{_PARAMETER}={token}")
        config = uvicorn.Config(app, log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


class HolderOnly:
    """Answers whoever has the token: from the address, as a cookie, or as a bearer's."""

    def __init__(self, app: ASGIApp, *, token: str, cookie: str) -> None:
        self.app = app
        self.token = token
        self.cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self.app
        if scope["type"] == "http":
            answer = self._answer(Request(scope)) or self.app
        await answer(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """What is said instead of the page."""
        if request.method in HARMLESS and self._is(request.query_params.get(_PARAMETER)):
            return self._remember(request)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is(bearer):
            return None
        if not self._is(request.cookies.get(self.cookie)):
            return _refuse(401, "Open the address that `mir view` printed: it has the token")
        if request.method not in HARMLESS and not is_same_origin(request):
            return _refuse(403, "A request that changes something must come from this site")
        return None

    def _is(self, token: str | None) -> bool:
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())

    def _remember(self, request: Request) -> Response:
        """The same page, without the token in its address."""
        rest = [each for each in request.query_params.multi_items() if each[0] != _PARAMETER]
        # As `/` and not `//`, which would be another site.
        path = "/" + request.scope["path"].lstrip("/")
        there = str(request.url.replace(scheme="", netloc="", path=path, query=urlencode(rest)))
        response = RedirectResponse(there, 303)
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
        return response


def _refuse(status: int, text: str) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return PlainTextResponse(text, status, headers)


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
