"""A real Label Studio of one's own, in one folder, on 127.0.0.1, gone when the block ends."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from mir_ops.demo.services import Services, free_port
from mir_ops.errors import MirError, NotFoundError, StoreError

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / ".mir-label-studio"  # what scripts/install-label-studio.sh makes

# Nothing is sent anywhere: usage, errors, the question for a newer version, the tips of its page.
QUIET: Final = {
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}


class LocalLabelStudio:
    """Label Studio's own server as a child process, with the account that its install made.

    Its data lives in `home`, and is there again after a stop and a start. It starts in 10 seconds,
    as a copy of a data folder whose migrations have run.
    """

    def __init__(self, home: Path, *, place: Path = PLACE, port: int | None = None) -> None:
        self.home = home.resolve()
        self.place = place
        self.port = port or free_port()
        self._services = Services(self.home / "logs")

    def __enter__(self) -> LocalLabelStudio:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def login(self) -> Mapping[str, str]:
        """`user`, `password`, and the legacy `token`."""
        found: dict[str, str] = json.loads((self.home / "login.json").read_text())
        return found

    @staticmethod
    def is_installed(place: Path = PLACE) -> bool:
        return (place / ".installed").is_file()

    def start(self) -> None:
        """Start the process and return at once; see `wait_ready`."""
        if not self.is_installed(self.place):
            raise NotFoundError(
                f"Label Studio is not installed in `{self.place}`",
                code="label-studio-missing",
                hint="Run `make label-studio`",
            )
        if not self.home.exists():
            shutil.copytree(self.place / "template", self.home)
        _require_free(self.port)  # on a port that is taken it would move on, without a word
        self._services.start(
            {"label-studio": self._command()}, cwd=self.home, env=self._environment()
        )

    def stop(self) -> None:
        """End it, asked first and killed after a grace time. Safe to call twice."""
        self._services.stop()

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Wait until it answers as the server that knows our account."""
        from mir_ops.labeling.studio_client import StudioClient

        deadline = time.monotonic() + timeout
        while True:
            if (ended := self._services.ended()) is not None:
                raise StoreError(
                    f"Label Studio ended while starting: {ended[1]}",
                    code="label-studio-start",
                )
            if not _is_free(self.port):
                try:
                    with StudioClient(self.url, self.login["token"], timeout=10) as client:
                        client.get("/api/current-user/whoami")
                    return
                except MirError:
                    pass
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Label Studio did not answer after {timeout:.0f} s",
                    code="label-studio-start",
                    hint=f"Read `{self.home / 'logs' / 'label-studio.log'}`",
                )
            time.sleep(0.2)

    def _environment(self) -> dict[str, str]:
        ours = ("LABEL_STUDIO", "HEARTEX", "DJANGO", "MIR_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **clean,
            **QUIET,
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.home),
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Our own routes are on loopback, which its guard against strange addresses refuses.
            "SSRF_PROTECTION_ENABLED": "false",
        }

    def _command(self) -> list[str]:
        return [
            str(self.place / "venv" / "bin" / "label-studio"), "start", "--no-browser",
            "--internal-host", "127.0.0.1", "--port", str(self.port),
        ]  # fmt: skip


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _require_free(port: int) -> None:
    if not _is_free(port):
        raise StoreError(f"Port {port} is taken", code="label-studio-start")
