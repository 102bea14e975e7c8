"""The console: one FastAPI app, the same alone on loopback and inside Airflow.

Nothing here knows who is asking. Whoever mounts the app says with `may` what a request may do (see
`access`), and with `open_runs` how it starts and ends DAG runs. Pages only read; what changes
something is the JSON API below them, by section.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from mir_ops.console.access import Action, May
from mir_ops.console.api import PREFIX, create_api
from mir_ops.console.classes.pages import pages as classes
from mir_ops.console.executors.pages import pages as executors
from mir_ops.console.frame import page
from mir_ops.console.headers import SafeHeaders
from mir_ops.console.health.pages import pages as health
from mir_ops.console.images.pages import pages as images
from mir_ops.console.labels.pages import pages as labels
from mir_ops.console.messages import ReadersLanguage, _
from mir_ops.console.models.pages import pages as models
from mir_ops.console.projects.pages import pages as projects
from mir_ops.console.rounds.coming import pages as coming
from mir_ops.console.rounds.pages import pages as rounds
from mir_ops.console.runs import Runs
from mir_ops.console.sources import Sources
from mir_ops.console.versions.pages import pages as versions
from mir_ops.doctor import Finding
from mir_ops.errors import InvalidInputError, MirError, NotFoundError

_SECTIONS: Final = (
    projects, rounds, coming, versions, images, models, labels, executors, classes, health
)  # fmt: skip
_STATIC: Final = Path(__file__).parent / "static"
_STATUS: Final = ((NotFoundError, 404), (InvalidInputError, 400))


def read_only(_request: Request, action: Action, _project: str | None) -> bool:
    """Where whoever mounts the app says nothing else."""
    return action == "read"


def create_app(
    open_sources: Callable[[], Sources],
    *,
    may: May = read_only,
    open_runs: Callable[[Request], Runs] | None = None,
    examine: Callable[[], list[Finding]] = list,
) -> FastAPI:
    """The app. `open_sources` is called for each request, from a worker thread.

    `examine` looks at the deployment: it finds something even where no source can be opened.
    """
    app = FastAPI(
        title="mir console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    api = create_api()
    for each in (app, api):
        each.state.open_sources, each.state.may = open_sources, may
        each.state.open_runs, each.state.examine = open_runs, examine
    for section in _SECTIONS:
        app.include_router(section)
    app.mount(PREFIX, api)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.add_exception_handler(MirError, _show_error)
    app.add_exception_handler(StarletteHTTPException, _show_http_error)
    app.add_exception_handler(RequestValidationError, _show_wrong_address)
    app.add_middleware(ReadersLanguage)
    app.add_middleware(SafeHeaders)
    return app


def _show_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MirError)
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 503)
    return page(request, "error.html", status, message=str(error), hint=error.hint, code=status)


def _show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    status = error.status_code
    message = _("There is no such page") if status == 404 else error.detail
    return page(request, "error.html", status, message=message, hint=None, code=status)


def _show_wrong_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"`{entry['loc'][-1]}`: {entry['msg']}" for entry in error.errors())
    message = _("This address names no page")
    return page(request, "error.html", 400, message=message, hint=wrong, code=400)
