"""An import from a URL that was killed goes on where it was, and imports once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mir_ops.cli.main import main
from mir_ops.dataset.downloads import fetched
from mir_ops.dataset.network import Network
from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.store import Store

SCRIPT = "import sys; from mir_ops.cli.main import main; sys.exit(main())"
IMAGES = 30
ETAG = '"first"'


def picture(number: int) -> bytes:
    written = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def archive() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for number in range(IMAGES):
            packed.writestr(f"images/{number}.png", picture(number))
    return written.getvalue()


ARCHIVE = archive()


class Files(BaseHTTPRequestHandler):
    """One archive; slowly when `pause` says so. What was asked for is in `asked`."""

    asked: list[dict[str, str]]
    etag: str | None = ETAG
    pause = 0.0
    ranges = True

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked.append(dict(self.headers))
        if self.headers.get("If-None-Match") == self.etag and self.etag:
            self.answer(304, b"")
            return
        wanted = self.headers.get("Range")
        if wanted and self.ranges and self.headers.get("If-Range") == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(ARCHIVE):
                self.answer(416, b"", f"bytes */{len(ARCHIVE)}")
                return
            span = f"bytes {start}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
            self.answer(206, ARCHIVE[start:], span)
            return
        self.answer(200, ARCHIVE)

    def answer(self, status: int, body: bytes, span: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.etag:
            self.send_header("ETag", self.etag)
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        for start in range(0, len(body), 2**16):
            try:
                self.wfile.write(body[start : start + 2**16])
            except OSError:  # whoever asked was killed
                return
            time.sleep(self.pause)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Files.asked, Files.etag, Files.pause, Files.ranges = [], ETAG, 0.0, True
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/street.zip"
        serving.shutdown()
        thread.join()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    return tmp_path


def part_of(repository: Path) -> int:
    """How many bytes of a download are here."""
    found = list((repository / ".mir/work/downloads").glob("*/source"))
    return found[0].stat().st_size if found else 0


def killed(repository: Path, words: list[str], reached: int) -> int:
    """Start the command, kill it with so many bytes here; how many it left."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, *words], cwd=repository, **quiet)
    while child.poll() is None and part_of(repository) < reached:
        time.sleep(0.001)
    child.kill()
    assert child.wait() == -9
    return part_of(repository)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_download_goes_on_where_the_server_allows_and_imports_once(
    server: str, repository: Path, capsys: pytest.CaptureFixture[str], ranges: bool
) -> None:
    words = ["import", server, "--to", "street", "--allow-private"]
    Files.pause, Files.ranges = 0.02, ranges
    left = killed(repository, words, len(ARCHIVE) // 3)
    Files.pause = 0.0
    assert len(ARCHIVE) // 3 <= left < len(ARCHIVE)

    done, again = run(capsys, *words), run(capsys, *words)

    assert Files.asked[1]["Range"] == f"bytes={left}-"
    assert done["images"] == IMAGES
    assert (again["again"], again["commit"]) == (True, done["commit"])
    store = Store.open((repository / ".mir/store").as_uri())
    assert store.branch("street").seq == 1
    assert list((repository / ".mir/work/downloads").iterdir()) == []


def test_what_changed_meanwhile_is_fetched_from_the_start(server: str, tmp_path: Path) -> None:
    network = Network(private=True)
    with (
        pytest.raises(KeyboardInterrupt),
        fetched(server, network, folder=tmp_path, on_progress=interrupt_at(0.3)),
    ):
        pass
    Files.etag = '"second"'

    with fetched(server, network, folder=tmp_path) as path:
        assert path.read_bytes() == ARCHIVE

    assert "Range" in Files.asked[1]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_part_of_it_is_fetched_from_the_start(server: str, tmp_path: Path) -> None:
    network = Network(private=True)
    for kept in (ARCHIVE[:1000], ARCHIVE + b"more"):  # a part, and what the server has no end of
        with (
            pytest.raises(KeyboardInterrupt),
            fetched(server, network, folder=tmp_path, on_progress=interrupt_at(0.3)),
        ):
            pass
        (part,) = tmp_path.glob("*/source")
        part.write_bytes(kept)
        with fetched(server, network, folder=tmp_path) as path:
            assert path.read_bytes() == ARCHIVE


def test_without_a_tag_nothing_is_kept(server: str, tmp_path: Path) -> None:
    Files.etag = None
    network = Network(private=True)
    with (
        pytest.raises(KeyboardInterrupt),
        fetched(server, network, folder=tmp_path, on_progress=interrupt_at(0.3)),
    ):
        pass

    with fetched(server, network, folder=tmp_path) as path:
        assert path.read_bytes() == ARCHIVE

    assert "Range" not in Files.asked[1]


def test_a_whole_file_that_could_not_be_used_is_not_fetched_again(
    server: str, tmp_path: Path
) -> None:
    network = Network(private=True)
    with pytest.raises(ZeroDivisionError), fetched(server, network, folder=tmp_path):
        raise ZeroDivisionError

    with fetched(server, network, folder=tmp_path) as path:
        assert path.read_bytes() == ARCHIVE

    assert Files.asked[1]["If-None-Match"] == ETAG


def test_two_who_fetch_the_same_do_not_meet(server: str, tmp_path: Path) -> None:
    network = Network(private=True)
    with (
        fetched(server, network, folder=tmp_path) as first,
        fetched(server, network, folder=tmp_path) as second,
    ):
        assert first != second
        assert first.read_bytes() == second.read_bytes() == ARCHIVE


def test_what_nobody_went_on_with_goes_after_a_week(server: str, tmp_path: Path) -> None:
    network = Network(private=True)
    with pytest.raises(ZeroDivisionError), fetched(server, network, folder=tmp_path):
        raise ZeroDivisionError
    os.utime(next(tmp_path.glob("*/lock")), (0, 0))

    with fetched(f"{server}?other", network, folder=tmp_path):
        assert len(list(tmp_path.iterdir())) == 1


def interrupt_at(share: float) -> Any:
    def on_progress(done: float, _: str) -> None:
        if done >= share:
            raise KeyboardInterrupt

    return on_progress


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A client, and the endpoint."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    yield client, endpoint
    client.close()
    server.stop()


def voc(*, name: str) -> bytes:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    return (
        f"<annotation><object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"
    ).encode()


def killed_in_s3(url: str, folder: Path, share: float) -> None:
    """Fetch in a process that is killed when so much is here."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from mir_ops.dataset.downloads import fetched\n"
        "from mir_ops.dataset.network import Network\n"
        f"end = lambda share, _: os.kill(os.getpid(), 9) if share >= {share} else None\n"
        "with fetched(sys.argv[1], Network(private=True), folder=Path(sys.argv[2]),"
        " on_progress=end): pass"
    )
    ended = subprocess.run([sys.executable, "-c", code, url, folder])
    assert ended.returncode == -9


def test_an_object_of_s3_goes_on_after_a_kill_and_imports_once(
    bucket: tuple[Any, str], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, endpoint = bucket
    padded = ARCHIVE + b"\0" * 2**22  # so that it comes in several parts
    client.put_object(Bucket="bucket", Key="street.zip", Body=padded)
    url = f"s3://bucket/street.zip?endpoint_url={endpoint}"
    killed_in_s3(url, repository / ".mir/work/downloads", 0.5)
    left = part_of(repository)
    assert 0 < left < len(padded)
    inode = next((repository / ".mir/work/downloads").glob("*/source")).stat().st_ino
    seen: list[tuple[int, int]] = []

    with fetched(
        url,
        Network(private=True),
        folder=repository / ".mir/work/downloads",
        on_progress=lambda *_: seen.append((part_of(repository), 0)),
    ) as path:
        assert path.read_bytes() == padded
        assert path.stat().st_ino == inode
    assert min(size for size, _ in seen) > left
    words = ["import", url, "--to", "street", "--allow-private"]
    client.put_object(Bucket="bucket", Key="street.zip", Body=ARCHIVE)
    killed_in_s3(url, repository / ".mir/work/downloads", 0.1)
    done, again = run(capsys, *words), run(capsys, *words)

    assert done["images"] == IMAGES
    assert (again["again"], again["commit"]) == (True, done["commit"])


def test_a_folder_of_s3_is_imported_as_one_of_this_machine(
    bucket: tuple[Any, str], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, endpoint = bucket
    for number in range(IMAGES):
        key = f"data/street/images/{number}.png"
        client.put_object(Bucket="bucket", Key=key, Body=picture(number))
        key = f"data/street/annotations/{number}.xml"
        client.put_object(Bucket="bucket", Key=key, Body=voc(name="cat"))
    client.put_object(Bucket="bucket", Key="data/street/", Body=b"")
    client.put_object(Bucket="bucket", Key="data/street-2/images/x.png", Body=picture(99))
    url = f"s3://bucket/data/street/?endpoint_url={endpoint}"
    downloads = repository / ".mir/work/downloads"
    killed_in_s3(url, downloads, 0.5)
    there = {path: path.stat().st_ino for path in downloads.glob("*/source/*/*")}
    assert IMAGES <= len(there) < 2 * IMAGES

    killed_in_s3(url, downloads, 1.0)
    assert all(path.stat().st_ino == inode for path, inode in there.items())
    assert len(list(downloads.glob("*/source/*/*"))) == 2 * IMAGES
    words = ["--to", "street", "--allow-private", "--unknown-types-strategy", "add"]
    done = run(capsys, "import", url, *words)
    again = run(capsys, "import", url, *words)
    other = run(capsys, "import", url.replace("street/?", "street-2?"), *words)

    assert (done["images"], done["layers"]) == (IMAGES, {"ground_truth": IMAGES})
    assert (again["again"], again["commit"]) == (True, done["commit"])
    assert other["images"] == IMAGES + 1
    assert list(downloads.iterdir()) == []
    store = Store.open((repository / ".mir/store").as_uri())
    assert store.resolve("street@V1").message == "Import street"


def test_a_folder_of_s3_that_cannot_be_taken_is_refused(
    bucket: tuple[Any, str], tmp_path: Path
) -> None:
    client, endpoint = bucket
    client.put_object(Bucket="bucket", Key="large/a.png", Body=b"x" * 2000)
    client.put_object(Bucket="bucket", Key="odd/a/../../b.png", Body=b"x")
    client.put_object(Bucket="bucket", Key="both/a", Body=b"x")
    client.put_object(Bucket="bucket", Key="both/a/b", Body=b"x")
    network = Network(private=True, max_bytes=1000)

    for name, kind, code in (
        ("large/", InvalidInputError, "download-too-large"),
        ("odd/", InvalidInputError, "bad-url"),
        ("both/", InvalidInputError, "bad-url"),
        ("gone/", NotFoundError, "no-such-source"),
    ):
        url = f"s3://bucket/{name}?endpoint_url={endpoint}"
        with pytest.raises(kind) as caught, fetched(url, network, folder=tmp_path):
            pass
        assert caught.value.code == code
        assert caught.value.hint
    with pytest.raises(InvalidInputError) as refused, fetched(url, Network(), folder=tmp_path):
        pass
    assert refused.value.code == "private-address"
    with (
        pytest.raises((StoreError, NotFoundError)),
        fetched(f"s3://nobucket/x/?endpoint_url={endpoint}", network, folder=tmp_path),
    ):
        pass
