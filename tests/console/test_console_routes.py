"""Every route and who may use it: one table, made from the app, written down, and tried.

The table and the API's description stand in `docs`; `pytest tests/console/test_console_routes.py
--generated` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from airflow_server import Guarded
from route_rules import APP, ROLES, RULES, expected, found, may

from mir_ops.console.access import Rule
from mir_ops.console.api import PREFIX

DOCS = Path(__file__).parents[2] / "docs"
# Users of the team that has the DAG which runs any project's rounds: their roles alone decide.
USERS: Final = {"viewer": "ops", "user": "writer", "op": "keeper", "admin": "admin"}


def described(some: list[Rule]) -> list[str]:
    lines = [
        "| Route | Takes | anonymous | " + " | ".join(ROLES) + " |",
        "| --- | --- | --- | " + " | ".join("---" for _ in ROLES) + " |",
    ]
    for rule in some:
        (takes,) = rule.takes
        cells = [
            "yes" if takes == "signature" else "401",
            *("yes" if may(role, rule) else "403" for role in ROLES),
        ]
        lines.append(f"| `{rule.method} {rule.path}` | {takes} | {' | '.join(cells)} |")
    return lines


def table() -> str:
    """The page of the documentation."""
    pages = [rule for rule in RULES if not rule.path.startswith(PREFIX)]
    api = [rule for rule in RULES if rule.path.startswith(PREFIX)]
    return "\n".join(
        [
            "# Who may use which address of the console",
            "",
            "Made from the app; tests ask a real Airflow API server for every cell, with Airflow's",
            "simple auth manager and with FAB ([roles](users.md)). Others are asked the same",
            "questions: `read` takes the right to read the project's DAG or the one that runs",
            "rounds of any project, `edit` to edit it, `operate` also to edit connections,",
            "`publish` and `delete` an admin. `signature` goes by an address that the console",
            "signed itself. Static files and what does not exist take `read`. Under `mir view`",
            "whoever has its token may do everything.",
            "",
            "## Pages",
            "",
            *described(pages),
            "",
            "## JSON API",
            "",
            f"Described in [openapi.json](openapi.json); `{PREFIX}/openapi.json` takes `read`.",
            "",
            *described(api),
            "",
        ]
    )


def openapi() -> str:
    (api,) = (mount.app for mount in APP.routes if getattr(mount, "path", "") == PREFIX)
    return json.dumps(api.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_route_says_once_what_it_takes(rule: Rule) -> None:
    assert len(rule.takes) == 1


@pytest.mark.parametrize(
    ("name", "made"), [("console-routes.md", table), ("openapi.json", openapi)]
)
def test_description_of_routes_is_not_stale(
    name: str, made: object, pytestconfig: pytest.Config
) -> None:
    assert callable(made)
    if pytestconfig.getoption("--generated"):
        (DOCS / name).write_text(made(), encoding="utf-8")

    assert (DOCS / name).read_text(encoding="utf-8") == made(), "Run this with --generated"


@pytest.mark.airflow
@pytest.mark.parametrize("role", [None, *ROLES])
def test_airflow_lets_in_whom_the_table_says(guarded: Guarded, role: str | None) -> None:
    pytest.importorskip("airflow")
    user = USERS[role] if role else None

    assert found(lambda method, path: guarded.send(user, path, method, {})) == expected(role)
