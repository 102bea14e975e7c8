"""The same table of routes and roles under FAB, the auth manager that a server has."""

from __future__ import annotations

from functools import partial

import pytest
from airflow_server import Guarded, ask_for_token
from route_rules import ROLES, expected, found

pytest.importorskip("airflow.providers.fab")
pytestmark = pytest.mark.airflow


@pytest.mark.parametrize("role", [None, *ROLES])
def test_fab_lets_in_whom_the_table_says(fab: Guarded, role: str | None) -> None:
    assert found(lambda method, path: fab.send(role, path, method, {})) == expected(role)


@pytest.mark.parametrize("role", ROLES)
def test_a_program_with_a_token_may_do_what_its_user_may(fab: Guarded, role: str) -> None:
    token = ask_for_token(fab.port, role).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    ask = partial(fab.ask, None, body="{}", **headers)

    assert found(lambda method, path: ask(path, method)) == expected(role)
