"""nginx with TLS, as docker/proxy/nginx.conf has it, at another address of this machine.

front = make_front(folder)                   # a certificate of its own, two ports
with front.before(web=12001, labels=12007):  # what listens on loopback
    front.ask("/mir/")
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from browser_tab import CHROMIUM, QUIET, Tab
from playwright.sync_api import sync_playwright

NGINX: Final = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
EXAMPLE: Final = Path(__file__).parents[1] / "docker" / "proxy" / "nginx.conf"
NAME: Final = "mir.example.org"
ADDRESS: Final = "127.0.0.2"


@dataclass(frozen=True, kw_only=True)
class Front:
    """nginx's ports, and the folder with its certificate."""

    home: Path
    port: int
    label_port: int

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    @contextmanager
    def before(self, *, web: int, labels: int) -> Iterator[None]:
        """Serve while the block lasts."""
        self._configure(web, labels)
        command = [str(NGINX), "-p", str(self.home), "-c", str(self.home / "main.conf")]
        nginx = subprocess.Popen([*command, "-e", "stderr"])
        try:
            self._wait_for(nginx)
            yield
        finally:
            nginx.terminate()
            nginx.wait()

    def ask(
        self,
        path: str,
        method: str = "GET",
        content: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """As a client that finds the name at nginx's address."""
        trusting = ssl.create_default_context(cafile=self.home / "fullchain.pem")
        named = {"Host": f"{NAME}:{self.port}", **(headers or {})}
        with httpx.Client(verify=trusting, timeout=300) as client:
            return client.request(
                method,
                f"https://{ADDRESS}:{self.port}{path}",
                json=content,
                headers=named,
                extensions={"sni_hostname": NAME},
            )

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A browser that finds the name there, and takes the certificate."""
        with sync_playwright() as playwright:
            rule = f"--host-resolver-rules=MAP {NAME} {ADDRESS}"
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, rule])
            tab = Tab(browser.new_context(ignore_https_errors=True).new_page())
            tab.page.set_default_timeout(120_000)
            yield tab
            browser.close()

    def _configure(self, web: int, labels: int) -> None:
        """Our example with this machine's addresses; what is around it is nginx's own."""
        text = EXAMPLE.read_text().replace("/etc/ssl/mir", str(self.home))
        for usual, port, behind in (
            (12001, self.port, web),
            (12007, self.label_port, labels),
        ):
            text = text.replace(f"192.0.2.10:{usual}", f"{ADDRESS}:{port}")
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{behind}")
        (self.home / "mir.conf").write_text(text)
        (self.home / "main.conf").write_text(
            f"daemon off; pid {self.home}/nginx.pid; events {{}}\n"
            "http { access_log access.log; client_body_temp_path body; proxy_temp_path proxied;\n"
            "fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; include mir.conf; }\n"
        )

    def _wait_for(self, nginx: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while nginx.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((ADDRESS, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("nginx does not listen")


def make_front(home: Path) -> Front:
    """Choose ports, and make a certificate that nobody but `ask` trusts."""
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-out", str(home / "fullchain.pem"), "-keyout", str(home / "key.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return Front(home=home, port=_free_port(), label_port=_free_port())


def _free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        return int(listener.getsockname()[1])
