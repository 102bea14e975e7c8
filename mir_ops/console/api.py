"""The console's JSON API, version 1: each section's routes, one app below the console.

Every answer that is no success says what went wrong, with a stable code and a hint.
"""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mir_ops.console.classes.api import api as classes
from mir_ops.console.executors.api import api as executors
from mir_ops.console.health.api import api as health
from mir_ops.console.images.api import api as images
from mir_ops.console.labels.api import api as labels
from mir_ops.console.models.api import api as models
from mir_ops.console.projects.api import api as projects
from mir_ops.console.rounds.api import api as rounds
from mir_ops.console.sentences import said
from mir_ops.console.versions.api import api as versions
from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError

PREFIX: Final = "/api/v1"

_SECTIONS: Final = (
    projects, rounds, versions, images, models, labels, executors, classes, health
)  # fmt: skip
_LONGEST_JSON: Final = 256 << 10
_STATUS: Final = ((NotFoundError, 404), (ConflictError, 409), (InvalidInputError, 422))


class Problem(BaseModel):
    """What went wrong; `code` is stable."""

    code: str
    message: str
    hint: str | None


class ErrorAnswer(BaseModel):
    error: Problem


def create_api() -> FastAPI:
    """The app of the API; its state is whose who mounts it."""
    api = FastAPI(
        title="mir-ops",
        version="1",
        description="What the console of mir-ops shows and does, as JSON.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        responses={
            status: {"model": ErrorAnswer} for status in (400, 403, 404, 409, 413, 422, 503)
        },
    )
    for section in _SECTIONS:
        api.include_router(section)
    api.add_exception_handler(MirError, _say_error)
    api.add_exception_handler(StarletteHTTPException, _say_http_error)
    api.add_exception_handler(RequestValidationError, _say_wrong_input)
    api.add_middleware(BoundedJson)
    return api


class BoundedJson:
    """Reads no JSON that is too long. What is sent as other types is its route's to bound."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = Headers(scope=scope).get("content-type", "") if scope["type"] == "http" else ""
        if "json" not in sent.lower():
            await self.app(scope, receive, send)
            return
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > _LONGEST_JSON:
                raise HTTPException(413, f"A body has {_LONGEST_JSON >> 10} kB at most")
            return message

        await self.app(scope, receive_bounded, send)


def _say_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MirError)
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 503)
    return _problem(status, error.code, str(error), error.hint)


def _say_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    message = "There is no such route" if error.status_code == 404 else str(error.detail)
    return _problem(error.status_code, f"http-{error.status_code}", message, None)


def _say_wrong_input(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"`{entry['loc'][-1]}`: {entry['msg']}" for entry in error.errors())
    return _problem(422, "invalid-parameter", f"Invalid request: {wrong}", None)


def _problem(status: int, code: str, message: str, hint: str | None) -> JSONResponse:
    problem = Problem(code=code, message=said(message), hint=said(hint) if hint else None)
    headers = {"Cache-Control": "no-store", "Vary": "Cookie, Accept-Language"}
    return JSONResponse(ErrorAnswer(error=problem).model_dump(), status, headers=headers)
