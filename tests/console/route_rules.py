"""The console's routes, and which roles each lets in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from airflow_server import Answer

from mir_ops.console.access import Action, Rule, rules
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources

ROLES: Final = ("viewer", "user", "op", "admin")
LEAST: Final[dict[Action, str]] = {
    "read": "viewer",
    "edit": "user",
    "operate": "op",
    "publish": "admin",
    "delete": "admin",
}


def unopened() -> Sources:
    raise AssertionError("Nothing is asked here")


APP = create_app(unopened)
RULES = rules(APP)


def may(role: str, rule: Rule) -> bool:
    (takes,) = rule.takes
    return takes == "signature" or ROLES.index(role) >= ROLES.index(LEAST[takes])


def expected(role: str | None) -> dict[Rule, str | int]:
    """What the table says: `in`, or the status of the refusal."""
    said: dict[Rule, str | int] = {}
    for rule in RULES:
        allowed = rule.takes == ("signature",) or (role is not None and may(role, rule))
        said[rule] = "in" if allowed else 403 if role else 401
    return said


def found(ask: Callable[[str, str], Answer]) -> dict[Rule, str | int]:
    """What a server answers to a method and a path, of each route.

    What is named does not exist: whoever may is told so, or what else is wrong.
    """
    said: dict[Rule, str | int] = {}
    for rule in RULES:
        status = ask(rule.method, re.sub(r"\{[^}]*\}", "absent", rule.path)).status
        said[rule] = status if status in (401, 403) or status >= 500 else "in"
    return said
