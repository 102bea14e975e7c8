"""What each route takes: one of five rights, asked of whoever mounted the console.

`read` is a viewer's, `edit` a user's (rounds and data), `operate` an op's (executor images and
labels), `publish` and `delete` an admin's. A route says which with `needs`, once:

    @pages.get("/projects/{project}/models", dependencies=[needs("read")])

`{project}` in a path is the project's key or its name; the right is asked by key. `ProjectKey`
gives it to the route. Without `{project}` the right is to everything of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from mir_ops.console.sources import NO_PROJECT, Sources

Action = Literal["read", "edit", "operate", "publish", "delete"]
May = Callable[[Request, Action, str | None], bool]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing


@dataclass(frozen=True, slots=True)
class _Needs:
    action: Action

    def __call__(self, request: Request) -> None:
        if not may(request, self.action):
            project = request.path_params.get("project")
            if project is not None:
                raise HTTPException(403, f"You may not {self.action} project `{project}`")
            raise HTTPException(403, f"You may not {self.action} this")


def needs(action: Action) -> Any:
    """For `dependencies=[…]` of a route: refuse with 403 whoever may not."""
    return Depends(_Needs(action))


def _by_signature() -> None:
    """The route itself checks what the address is signed with."""


BY_SIGNATURE: Final = Depends(_by_signature)


def may(request: Request, action: Action, project: str | None = None) -> bool:
    """Whether the caller may; by default with the project that the path names."""
    asked: May = request.app.state.may
    return asked(request, action, project or _key_in(request))


def is_same_origin(request: Request) -> bool:
    """Whether a page of this very site sent it: asked of what changes something by a cookie."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    return bool(origin and host) and urlsplit(origin).netloc == host


def project_key(request: Request, project: str) -> str:
    key = _key_in(request)
    assert key is not None, project
    return key


ProjectKey = Annotated[str, Depends(project_key)]


def is_in_catalog(request: Request) -> bool:
    """Whether the project in the path is more than a word that versions carry."""
    return getattr(request.state, "mir_in_catalog", False)


def _key_in(request: Request) -> str | None:
    """The key of the project in the path; the word itself where no project has it."""
    named: str | None = request.path_params.get("project")
    if named in (None, NO_PROJECT):
        return named
    key = getattr(request.state, "mir_key", None)
    if key is None:
        sources: Sources = request.app.state.open_sources()
        found = sources.catalog.projects.find(named, deleted=True) if sources.catalog else None
        request.state.mir_in_catalog = found is not None
        key = request.state.mir_key = found.key if found else named
    return str(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A route and what it takes; `signature` where an address of ours lets in."""

    method: str
    path: str
    takes: tuple[Action | Literal["signature"], ...]


def rules(app: FastAPI) -> list[Rule]:
    """Every route of the app and of those mounted in it, static files left out."""
    return sorted(_rules(app.routes, ""), key=lambda rule: (rule.path, rule.method))


def _rules(routes: Iterable[BaseRoute], above: str) -> Iterator[Rule]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _rules(route.routes, above + route.path)
        elif isinstance(route, APIRoute):
            calls = [each.call for each in route.dependant.dependencies]
            takes: list[Action | Literal["signature"]] = [
                call.action for call in calls if isinstance(call, _Needs)
            ]
            takes += ["signature"] * calls.count(_by_signature)
            for method in route.methods:
                yield Rule(method=method, path=above + route.path, takes=tuple(takes))
