"""The same API server with FAB, the auth manager that a server has, and a user for each role.

Started with a fresh AIRFLOW_HOME; writes the file that it is given once it listens.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.models.db import FABDBManager
from airflow.utils.session import create_session
from guarded_server import make_tables, serve
from mir_airflow.first_users import make_admin, show_console

# The last three roles are made here, for two projects alone; the others are FAB's.
ROLE_OF_USER: Final = {
    "viewer": "Viewer",
    "user": "User",
    "op": "Op",
    "admin": "Admin",
    "public": "Public",
    "reader": "Viewer of two",
    "editor": "User of two",
    "keeper": "Op of two",
}
_DAGS: Final = ("DAG:round__digits", "DAG:round__walks")


def main() -> None:
    make_tables()
    with create_session() as session:
        FABDBManager(session).create_db_from_orm()  # type: ignore[no-untyped-call]
    app = create_app()
    _make_users(os.environ["TEST_PASSWORD"])
    # Whoever reads the names logs them in.
    serve(app, dict.fromkeys(("first", "none", *ROLE_OF_USER), ""), sys.argv[1])


def _make_users(password: str) -> None:
    manager = get_auth_manager()
    assert isinstance(manager, FabAuthManager)
    assert manager.flask_app is not None
    with manager.flask_app.app_context():
        security = manager.security_manager
        show_console(security)
        assert make_admin(security, "first", password)
        viewer = security.VIEWER_PERMISSIONS
        user = [*viewer, *security.USER_PERMISSIONS]
        op = [*user, *security.OP_PERMISSIONS]
        security.bulk_sync_roles(
            {"role": role, "perms": _of_two(perms)}
            for role, perms in {
                "Viewer of two": viewer,
                "User of two": user,
                "Op of two": op,
            }.items()
        )
        hashed = security._hash_password(password)
        for name, role in ROLE_OF_USER.items():
            security.add_user(
                *(name, name, "Of The Test", f"{name}@example.org", security.find_role(role)),
                hashed_password=hashed,
            )
        security.add_user("none", "none", "Of The Test", "none@example.org", hashed_password=hashed)


def _of_two(permissions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """As docs/users.md says: a copy of a role, with one project's DAG instead of all DAGs."""
    return [
        (action, dag)
        for action, resource in permissions
        for dag in (_DAGS if resource == "DAGs" else (resource,))
    ]


if __name__ == "__main__":
    main()
