"""TLS in front: nginx with the file that we give people, before an API server with FAB."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from airflow_server import PASSWORD, Guarded, serve_fab
from browser_tab import CHROMIUM, QUIET, Tab
from console_data import write_shown
from playwright.sync_api import sync_playwright

pytest.importorskip("airflow.providers.fab")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]

EXAMPLE = Path(__file__).parents[2] / "docker" / "proxy" / "nginx.conf"
NAME, FRONT = "mir.example.org", "127.0.0.2"


@dataclass(frozen=True)
class Proxied:
    """The server, nginx's port at another address of this machine, and the certificate."""

    guarded: Guarded
    port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        content: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """As a client that finds the name at nginx's address."""
        trusting = ssl.create_default_context(cafile=self.certificate)
        named = {"Host": f"{NAME}:{self.port}", **(headers or {})}
        with httpx.Client(verify=trusting, timeout=300) as client:
            return client.request(
                method,
                f"https://{FRONT}:{self.port}{path}",
                json=content,
                headers=named,
                extensions={"sni_hostname": NAME},
            )


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    home = tmp_path_factory.mktemp("proxied")
    port, labels = _free_port(), _free_port()
    settings = {"AIRFLOW__API__BASE_URL": f"https://{NAME}:{port}", "FORWARDED_ALLOW_IPS": "*"}
    with serve_fab(write_shown(home / "shown"), home, **settings) as guarded:
        certificate = _certificate(home)
        _configure(home, certificate, {12001: port, 12007: labels}, guarded.port)
        command = [str(NGINX), "-p", str(home), "-c", str(home / "main.conf"), "-e", "stderr"]
        nginx = subprocess.Popen(command)
        try:
            _wait_for(port, nginx)
            yield Proxied(guarded, port, certificate)
        finally:
            nginx.terminate()
            nginx.wait()


def _free_port() -> int:
    with socket.create_server((FRONT, 0)) as listener:
        return int(listener.getsockname()[1])


def _certificate(home: Path) -> Path:
    made = [home / "fullchain.pem", home / "key.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-out", str(made[0]), "-keyout", str(made[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    return made[0]


def _configure(home: Path, certificate: Path, fronts: dict[int, int], behind: int) -> None:
    """Our example with this machine's addresses; what is around it is nginx's own."""
    text = EXAMPLE.read_text().replace("/etc/ssl/mir", str(certificate.parent))
    for usual, port in fronts.items():
        text = text.replace(f"192.0.2.10:{usual}", f"{FRONT}:{port}")
    text = text.replace("127.0.0.1:12001", f"127.0.0.1:{behind}")
    (home / "mir.conf").write_text(text)
    (home / "main.conf").write_text(
        f"daemon off; pid {home}/nginx.pid; events {{}}\n"
        f"http {{ access_log {home}/access.log; client_body_temp_path {home}/body;\n"
        f"proxy_temp_path {home}/proxied; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u;\n"
        f"scgi_temp_path {home}/s; include {home}/mir.conf; }}\n"
    )


def _wait_for(port: int, nginx: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while nginx.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((FRONT, port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nginx does not listen")


def test_login_and_console_in_its_frame_work_by_https(proxied: Proxied) -> None:
    with sync_playwright() as playwright:
        rule = f"--host-resolver-rules=MAP {NAME} {FRONT}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, rule])
        context = browser.new_context(ignore_https_errors=True)
        tab = Tab(context.new_page())
        tab.page.set_default_timeout(120_000)
        tab.page.goto(f"{proxied.url}/mir/projects/digits?language=en")
        tab.page.wait_for_url(f"{proxied.url}/auth/login/**")
        tab.page.fill("#username", "user")
        tab.page.fill("#password", PASSWORD)
        tab.page.click("input[type=submit]")
        tab.page.wait_for_url(f"{proxied.url}/mir/projects/digits?language=en")
        tab.page.goto(proxied.url)
        tab.page.get_by_role("link", name="Datasets").click()
        console = tab.page.frame_locator("iframe")
        console.get_by_role("link", name="New project").click()
        console.locator("input[name=name]").wait_for()

        cookies = {each["name"]: each for each in context.cookies()}
        assert cookies["_token"]["secure"]
        assert cookies["_token"]["httpOnly"]
        assert tab.elsewhere(proxied.url, f"blob:{proxied.url}") == []
        browser.close()


def test_changes_must_come_from_the_name_that_was_asked(proxied: Proxied) -> None:
    project = {
        "name": "proxied",
        "classes": ["one"],
        "sources": {"training": "data.zip", "validation": "data.zip", "pool": "data.zip"},
        "executor": {"name": "sample"},
    }
    cookie = {"Cookie": f"_token={proxied.guarded.tokens['user']}"}

    found = [
        proxied.ask(
            "/mir/api/v1/projects", "POST", project, headers={**cookie, "Origin": origin}
        ).status_code
        for origin in (f"https://{NAME}", f"http://127.0.0.1:{proxied.guarded.port}", proxied.url)
    ]

    assert found == [403, 403, 201]


def test_tokens_are_given_to_programs_until_they_are_asked_for_too_often(proxied: Proxied) -> None:
    wanted = {"username": "viewer", "password": PASSWORD}
    token = proxied.ask("/auth/token", "POST", wanted).json()["access_token"]

    assert (
        proxied.ask("/mir/", headers={"Authorization": f"Bearer {token}"}).status_code,
        proxied.ask("/mir/static/console.css").status_code,
    ) == (200, 401)
    wrong = {**wanted, "password": "guessed"}
    guesses = [proxied.ask("/auth/token", "POST", wrong).status_code for _ in range(40)]
    assert guesses[0] == 401
    assert guesses[-1] == 429


def test_plain_http_is_led_to_https(proxied: Proxied) -> None:
    answer = httpx.get(
        f"http://{FRONT}:{proxied.port}/mir/", headers={"Host": f"{NAME}:{proxied.port}"}
    )

    assert (answer.status_code, answer.headers["location"]) == (301, f"{proxied.url}/mir/")
