"""How long the console's pages take on a version of a million images and four million boxes.

A server in a process of its own, over a local store, over S3 (`moto_server`) and over Ceph's
gateway, is asked for each page some times over one connection; what counts is the median after the
first. The first time, when columns are read, is told and not judged. Then come thumbnails from the
cache, twenty people at once, and the most memory that the server took. The store is made once and
kept (`console_store.py`). With `--json` one object a line: `ok` is null where nothing is judged.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import console_server
import httpx
import store_operations
from console_store import FOLDER, MODEL, PROJECT, before_and_after, big_store
from lines import Line, report

from mir_ops.store import Store, Version

MOST_MS = 300
MOST_MIB = 1536
LEAST_THUMBNAILS = 100
USERS = 20
PATIENCE = 120.0
BUCKET = "console"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A store's address, and the keys to it."""

    name: str
    url: str
    keys: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Server:
    """The console in a process of its own."""

    process: subprocess.Popen[str]
    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer

    def seconds(self, path: str) -> tuple[float, float]:
        """What it took by the clock, and of the server's processors."""
        start, before = time.perf_counter(), self._cpu()
        self.get(path)
        return time.perf_counter() - start, self._cpu() - before

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def peak(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


@contextmanager
def serving(place: Place) -> Iterator[Server]:
    command = [sys.executable, console_server.__file__, place.url]
    if place.keys:
        command += ["--access-key", place.keys[0], "--secret-key", place.keys[1]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            yield Server(process=process, client=client)
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the pages of the big version are."""

    before: Version
    version: Version
    class_id: int
    asset_ids: list[str]  # some of all
    pictures: list[str]  # those whose bytes are there

    @property
    def versions(self) -> str:
        return f"/projects/{PROJECT}/versions"

    @property
    def images(self) -> str:
        return f"{self.versions}/{self.version.id}/images"

    def pages(self) -> dict[str, Callable[[int], str]]:
        """By what they show: the address at each time that it is asked for."""
        last = max(1, self.version.stats.assets // 48)
        images, ids = self.images, self.asset_ids
        filters = f"class={self.class_id}&mark=fp&layer=ground_truth&layer=predictions:{MODEL}"
        compare = f"{self.versions}/compare?from={self.before.id}&to={self.version.id}"
        return {
            "first page of the grid": lambda _: images,
            "a filtered page": lambda n: f"{images}?{filters}&page={n % 5 + 1}",
            f"page {min(10_000, last)}": lambda n: f"{images}?page={min(10_000, last) - n % 5}",
            "one image": lambda n: f"{images}/{ids[n % len(ids)]}",
            "one image of a selection": lambda n: f"{images}/{ids[n % len(ids)]}?split=train",
            "images as JSON": lambda n: f"/api/v1{images}?attribute=weather%3Drain&page={n + 1}",
            "version page": lambda _: f"{self.versions}/{self.version.id}",
            "diff of two versions 200 commits apart": lambda n: f"{compare}&page={n % 2 + 1}",
        }


def addresses(store: Store) -> Addresses:
    before, version = before_and_after(store)
    ids = version.asset_ids()
    dice = random.Random(0)
    scores = version.layer("scores:uncertainty", columns=["asset_id", "rank"])
    picked = scores.filter(scores["rank"].is_valid())["asset_id"].to_pylist()
    return Addresses(
        before=before,
        version=version,
        class_id=min(store.classes().values()) + 3,
        asset_ids=[ids[place].as_py().hex() for place in dice.sample(range(len(ids)), 60)],
        pictures=[one.hex() for one in picked],
    )


def pages(server: Server, place: Place, known: Addresses, times: int) -> Iterator[Line]:
    for name, address in known.pages().items():
        first, _ = server.seconds(address(0))
        again = [server.seconds(address(n)) for n in range(1, times + 1)]
        wall, cpu = (statistics.median(each) for each in zip(*again, strict=True))
        yield Line(
            name=f"{name}, {place.name}: ms",
            ours=1000 * wall,
            other=MOST_MS,
            bar=1,
            note=f"{1000 * cpu:.0f} ms of the server's CPU",
        )
        yield Line(name=f"{name}, {place.name}, the first time: ms", ours=1000 * first)


def thumbnails(server: Server, place: Place, known: Addresses, times: int) -> Iterator[Line]:
    paths = [f"{known.images}/{asset_id}/thumbnail" for asset_id in known.pictures]
    start = time.perf_counter()
    for path in paths:
        server.get(path)
    made = len(paths) / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(times):
        for path in paths:
            assert server.get(path).headers["content-type"] == "image/jpeg"
    again = times * len(paths) / (time.perf_counter() - start)
    yield Line(name=f"thumbnails from the cache, {place.name}: 1/s", ours=again,
               other=LEAST_THUMBNAILS, bar=1, sense=">=")  # fmt: skip
    yield Line(name=f"thumbnails made, {place.name}: 1/s", ours=made)


def people(server: Server, place: Place, known: Addresses, times: int) -> Iterator[Line]:
    """Twenty at once, each with pages of their own."""

    def person(number: int) -> tuple[int, int]:
        dice, errors = random.Random(number), 0
        ways = [*known.pages().values()]
        ways.append(lambda n: f"{known.images}/{known.pictures[n % len(known.pictures)]}/thumbnail")
        with httpx.Client(base_url=server.client.base_url, timeout=PATIENCE) as client:
            for _ in range(times * 3):
                path = dice.choice(ways)(dice.randrange(1000))
                errors += client.get(path).status_code != 200
        return times * 3, errors

    start = time.perf_counter()
    with ThreadPoolExecutor(USERS) as pool:
        asked = list(pool.map(person, range(USERS)))
    took = time.perf_counter() - start
    yield Line(
        name=f"{USERS} people at once, {place.name}: errors",
        ours=sum(errors for _, errors in asked),
        limit=0,
        note=f"{sum(count for count, _ in asked) / took:.0f} pages a second",
    )


@contextmanager
def local(store: Store) -> Iterator[Place]:
    yield Place(name="local", url=store.url)


@contextmanager
def moto(store: Store) -> Iterator[Place]:
    nowhere = SimpleNamespace(options=SimpleNamespace(endpoint=""))
    with store_operations.server(nowhere) as (endpoint, *keys):
        yield _copied(store, "S3", endpoint, (keys[0], keys[1]))


@contextmanager
def ceph(store: Store) -> Iterator[Place]:
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import ceph_gateway

    with ceph_gateway.running() as gateway:
        keys = ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY
        yield _copied(store, "Ceph", gateway.endpoint, keys)


def _copied(store: Store, name: str, endpoint: str, keys: tuple[str, str]) -> Place:
    """The objects of a local store in a bucket: the tree is the same."""
    folder = Path(urlsplit(store.url).path)
    client = store_operations.bare_client(endpoint, *keys)
    client.create_bucket(Bucket=BUCKET)
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]

    def put(path: Path) -> None:
        key = path.relative_to(folder).as_posix()
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))
    return Place(name=name, url=f"s3://{BUCKET}?endpoint_url={endpoint}", keys=keys)


PLACES = {"local": local, "s3": moto, "ceph": ceph}


def measure(options: argparse.Namespace) -> Iterator[Line]:
    store = big_store(options.images, options.folder)
    known = addresses(store)
    for name in options.on.split(","):
        with PLACES[name](store) as place, serving(place) as server:
            for section in (pages, thumbnails, people):
                yield from section(server, place, known, options.times)
            yield Line(name=f"peak memory of the server, {place.name}: MiB", ours=server.peak(),
                       other=MOST_MIB, bar=1)  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--images", type=int, default=1_000_000, help="of the version")
    parser.add_argument("--on", default="local,s3", help=f"by comma: {', '.join(PLACES)}")
    parser.add_argument("--times", type=int, default=9, help="that each page is asked for")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where stores are kept")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    return report(measure(options), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
