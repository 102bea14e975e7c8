"""Sources at URLs: what is fetched, from where, and what is refused."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.dataset import network as networks
from mir_ops.dataset.downloads import fetched, is_url
from mir_ops.dataset.network import Network, is_public
from mir_ops.dataset.sharing import shared_path
from mir_ops.errors import InvalidInputError, MirError, NotFoundError, StoreError
from mir_ops.workspace import Workspace

HERE = Network(private=True)


class Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, Callable[[Any], None]]] = {}

    def do_GET(self) -> None:
        self.answers[self.path](self)

    def log_message(self, *_: object) -> None:
        return


def body(content: bytes, length: int | None = None) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        if length != -1:
            handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int, **headers: str) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def fetch(url: str, network: Network = HERE) -> bytes:
    with fetched(url, network) as path:
        content = path.read_bytes()
    assert not path.exists()
    return content


@pytest.mark.parametrize("length", [None, -1])
def test_a_file_is_fetched_and_removed_afterwards(server: str, length: int | None) -> None:
    Handler.answers = {"/a.zip?x=1": body(b"content", length)}

    assert fetch(f"{server}/a.zip?x=1") == b"content"


def test_redirects_are_followed_and_each_is_checked(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handler.answers = {
        "/a": status(302, Location="/b"),
        "/b": status(307, Location=f"{server}/c"),
        "/c": body(b"content"),
        "/loop": status(302, Location="/loop"),
        "/file": status(302, Location="file:///etc/passwd"),
        "/gopher": status(302, Location="gopher://h/x"),
        "/keys": status(302, Location="http://user:secret@127.0.0.1/"),
        "/inside": status(302, Location="http://10.0.0.1/"),
    }

    assert fetch(f"{server}/a") == b"content"
    for path, reason in (
        ("/loop", "more than 5 times"),
        ("/file", "no `http://` or `https://` address"),
        ("/gopher", "no `http://` or `https://` address"),
        ("/keys", "user name"),
    ):
        with pytest.raises(InvalidInputError, match=reason) as caught:
            fetch(server + path)
        assert "secret" not in str(caught.value)
    # The first address is one of ours; where it leads to is checked like any other.
    public = networks.is_public
    ours = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(networks, "is_public", lambda one: one == ours or public(one))
    with pytest.raises(InvalidInputError, match=r"private address 10\.0\.0\.1"):
        fetch(f"{server}/inside", Network())


def test_private_addresses_are_refused_unless_allowed(server: str) -> None:
    for url in (server, server.replace("127.0.0.1", "localhost"), "http://[::1]/x", "http://0/x"):
        with pytest.raises(InvalidInputError) as caught:
            fetch(url, Network())
        assert caught.value.code == "private-address"
        assert "--allow-private" in (caught.value.hint or "")


PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1"),
    *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_of_the_internet_is_private(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_name_that_changes_its_address_gains_nothing(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is asked once, and what is connected to is what it said."""
    asked: list[str] = []

    def changing(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        address = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address)
        raise OSError("no way out of here")

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(StoreError):
        fetch("http://rebinding.example/a.zip", Network())
    assert (asked, connected) == (["rebinding.example"], [("8.8.8.8", 80)])


def test_a_host_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    with pytest.raises(InvalidInputError, match=r"10\.0\.0\.1"):
        fetch("http://both.example/", Network())


def test_what_is_too_large_is_not_fetched(server: str) -> None:
    Handler.answers = {"/said": body(b"x" * 2000), "/unsaid": body(b"x" * 2000, -1)}

    for path in ("/said", "/unsaid"):
        with pytest.raises(InvalidInputError) as caught:
            fetch(server + path, Network(private=True, max_bytes=1000))
        assert caught.value.code == "download-too-large"


def test_a_download_that_breaks_off_is_no_source(server: str) -> None:
    Handler.answers = {"/a": body(b"x" * 10, 20)}

    with pytest.raises(StoreError, match="10 of 20 bytes") as caught:
        fetch(f"{server}/a")
    assert caught.value.code == "download-failed"


def test_a_silent_server_is_given_up(server: str) -> None:
    wait = threading.Event()
    Handler.answers = {"/a": lambda _: wait.wait(30)}

    with pytest.raises(StoreError, match="timed out"):
        fetch(f"{server}/a", Network(private=True, silence=0.05))
    wait.set()


@pytest.mark.parametrize(
    ("code", "kind"), [(404, NotFoundError), (403, InvalidInputError), (503, StoreError)]
)
def test_the_answer_of_the_server_is_told(server: str, code: int, kind: type[MirError]) -> None:
    Handler.answers = {"/a?token=secret": status(code)}

    with pytest.raises(kind, match=str(code)) as caught:
        fetch(f"{server}/a?token=secret")
    assert "secret" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    import ssl
    import subprocess

    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-keyout", "key", "-out", "certificate"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.socket = context.wrap_socket(
            serving.socket, server_side=True, do_handshake_on_connect=False
        )
        serving.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        with pytest.raises(InvalidInputError) as caught:
            fetch(f"https://localhost:{serving.server_port}/", HERE)
        serving.shutdown()
        thread.join()

    assert caught.value.code == "bad-certificate"


def test_an_object_in_a_bucket_is_fetched_from_the_stores_own_server_or_when_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="data/a b.zip", Body=b"content")
        url = f"s3://bucket/data/a%20b.zip?endpoint_url={endpoint}"
        ours = Workspace(
            store_url=f"s3://bucket/store?endpoint_url={endpoint}",
            catalog_url="",
            work_dir=tmp_path,
            access_key="test",
            secret_key="test",
        )

        with pytest.raises(InvalidInputError) as caught:
            fetch(url, Network())
        assert caught.value.code == "private-address"
        assert fetch(url) == b"content"
        with fetched(url, workspace=ours) as path:
            assert path.read_bytes() == b"content"
        with pytest.raises(NotFoundError):
            fetch(url.replace("a%20b", "c"))
        with pytest.raises(InvalidInputError) as caught:
            fetch(url, Network(private=True, max_bytes=3))
        assert caught.value.code == "download-too-large"
    finally:
        server.stop()


def test_urls_are_told_from_paths() -> None:
    assert all(map(is_url, ("http://h/x", "HTTPS://h/x", "s3://bucket/x.zip")))
    assert not any(map(is_url, ("data/x.zip", "/http://", "public:x", "file:///x")))


@given(st.text(max_size=40))
def test_any_text_is_a_url_that_is_refused(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", no_host)
        with pytest.raises(MirError), fetched(f"http://{text}", Network()):
            pass


def no_host(*_: object, **__: object) -> None:
    raise OSError("no such host")


def test_only_what_lies_in_the_sharing_folder_may_be_named(tmp_path: Path) -> None:
    sharing = tmp_path / "sharing"
    (sharing / "voc").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (sharing / "out").symlink_to(tmp_path / "secret")
    (sharing / "again").symlink_to("voc")

    assert shared_path("voc", sharing) == sharing / "voc"
    assert shared_path(str(sharing / "voc"), sharing) == sharing / "voc"
    assert shared_path("again", sharing) == sharing / "voc"
    for text in ("..", "../secret", "voc/../../secret", "/etc", "/", "out", "out/x", "a\0b"):
        with pytest.raises(InvalidInputError) as caught:
            shared_path(text, sharing)
        assert caught.value.code == "outside-sharing-folder"
    with pytest.raises(NotFoundError):
        shared_path("gone", sharing)
    with pytest.raises(InvalidInputError) as caught:
        shared_path("voc", None)
    assert caught.value.code == "no-sharing-folder"
