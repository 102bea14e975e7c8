"""Whom a new deployment starts with, under FAB: `python -m mir_airflow.first_users`.

Makes the first admin, `FIRST_ADMIN` with `FIRST_ADMIN_PASSWORD`, as long as nobody is an admin:
what was changed in the web interface since stays. Both come from the environment, because everybody
on a machine can read the arguments of a command. And lets the roles Viewer and User see plugins, as
Op and Admin do: Airflow asks for that right before it shows the console in its menu. Safe to run
again.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

if TYPE_CHECKING:
    from airflow.providers.fab.auth_manager.security_manager.override import (
        FabAirflowSecurityManagerOverride as SecurityManager,
    )

ADMIN: Final = "Admin"
_SEES_PLUGINS: Final = ("can_read", "Plugins")


def main() -> None:
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    name, password = os.environ["FIRST_ADMIN"], os.environ["FIRST_ADMIN_PASSWORD"]
    with get_application_builder() as appbuilder:
        appbuilder.sm.sync_roles()
        show_console(appbuilder.sm)
        made = make_admin(appbuilder.sm, name, password)
    sys.stdout.write(f"Made the first admin, {name}\n" if made else "There is an admin already\n")


def show_console(security: SecurityManager) -> None:
    """Let viewers and users find the console in Airflow's menu."""
    security.bulk_sync_roles(
        {"role": role, "perms": [_SEES_PLUGINS]} for role in ("Viewer", "User")
    )


def make_admin(security: SecurityManager, name: str, password: str) -> bool:
    """Whether it was made: not where somebody is an admin, nor where the name is taken."""
    user = security.user_model
    is_admin = user.roles.any(security.role_model.name == ADMIN) & user.active.is_(True)
    if security.session.scalar(select(user.id).where(is_admin).limit(1)) is not None:
        return False
    if security.find_user(username=name) is not None:
        return False
    security.add_user(name, "First", "Admin", name, security.find_role(ADMIN), password)
    return True


if __name__ == "__main__":
    main()
