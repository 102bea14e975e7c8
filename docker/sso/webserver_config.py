"""Single sign-on by OpenID Connect, for Airflow's FAB: docs/users.md says how to use this file.

People get the role that their group has here, anew at each login. Nothing in it is a secret: the
three settings come from .env, by docker-compose.sso.yaml.
"""

import os

from flask_appbuilder.const import AUTH_OAUTH

AUTH_TYPE = AUTH_OAUTH
OAUTH_PROVIDERS = [
    {
        "name": "oidc",
        "icon": "fa-key",
        "token_key": "access_token",
        "remote_app": {
            "client_id": os.environ["OIDC_CLIENT_ID"],
            "client_secret": os.environ["OIDC_CLIENT_SECRET"],
            "server_metadata_url": os.environ["OIDC_ISSUER"].rstrip("/")
            + "/.well-known/openid-configuration",
            "client_kwargs": {
                "scope": "openid email profile groups",
                "code_challenge_method": "S256",
            },
        },
    }
]

# Who logs in for the first time gets an account: with no rights, unless a group below has one.
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"
AUTH_ROLES_SYNC_AT_LOGIN = True

# The claim `groups` of the provider: names of groups there, roles here.
AUTH_ROLES_MAPPING = {
    "mir-viewers": ["Viewer"],
    "mir-users": ["User"],
    "mir-ops": ["Op"],
    "mir-admins": ["Admin"],
}
