"""What a machine needs to run executors and rounds: one finding each, with what to do."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from mir_ops.errors import MirError

if TYPE_CHECKING:
    from docker import APIClient
    from mir_ops.catalog import Catalog
    from mir_ops.executor.cluster import Cluster
    from mir_ops.store import Store

Health = Literal["ok", "absent", "warning", "failed"]
Version = tuple[int, ...]

GIB: Final = 1 << 30
ENOUGH_DISK: Final = 20 * GIB
ENOUGH_SHARED_MEMORY: Final = GIB
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the machine. `absent` is a part that this machine can do without."""

    part: str
    health: Health
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """NVIDIA's driver, and the newest CUDA that it can run."""

    version: str
    cuda: Version | None
    gpus: tuple[str, ...]


def examine(
    *,
    work_dir: Path,
    images: Sequence[str],
    ports: Sequence[int],
    label_tool: str | None,
    open_store: Callable[[], Store] | None,
    open_catalog: Callable[[], Catalog] | None,
) -> Iterator[Finding]:
    """Look at each part in turn. Nothing is changed, started or sent anywhere else."""
    driver = find_driver()
    yield _of_driver(driver)
    with ExitStack() as stack:
        engine, finding = _engine()
        if engine is not None:
            stack.enter_context(closing(engine))
        yield finding
        yield _toolkit(driver, engine)
        yield from _left_containers(engine)
        for image in images:
            yield _image(image, driver, engine)
        yield _work_dir_on_the_host(work_dir, engine)
    yield from _own_cluster(work_dir)
    yield _disk(work_dir)
    yield _shared_memory()
    for port in ports:
        yield _port(port)
    yield _label_tool(label_tool)
    yield from _stored(open_store, label_tool)
    if open_catalog is not None:
        yield _catalog(open_catalog)


def find_driver() -> Driver | None:
    """What `nvidia-smi` says, or None where there is none."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        lines = _output(asked).splitlines()
        told = re.search(r"CUDA Version:\s*([\d.]+)", _output(["nvidia-smi"]))
    except (OSError, subprocess.SubprocessError):
        return None
    gpus = [line.split(", ") for line in lines if ", " in line]
    if not gpus:
        return None
    return Driver(
        version=gpus[0][1].strip(),
        cuda=to_version(told[1]) if told else None,
        gpus=tuple(gpu[0].strip() for gpu in gpus),
    )


def cuda_of(environment: Sequence[str]) -> Version | None:
    """The CUDA that an image was made for, by its variables; None where it names none."""
    values = dict(one.partition("=")[::2] for one in environment)
    required = re.search(r"cuda>=([\d.]+)", values.get("NVIDIA_REQUIRE_CUDA", ""))
    text = required[1] if required else values.get("CUDA_VERSION", "")
    return to_version(text) if text else None


def to_version(text: str) -> Version:
    """`12.4.1` as numbers: of CUDA only the first two matter."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _of_driver(driver: Driver | None) -> Finding:
    if driver is None:
        return Finding(
            part="driver",
            health="absent",
            found="no NVIDIA driver: executors run on the CPU",
            advice="For GPUs, install NVIDIA's driver on this machine",
        )
    cuda = f", CUDA up to {_text(driver.cuda)}" if driver.cuda else ""
    count = f"{len(driver.gpus)} × {driver.gpus[0]}"
    return Finding(part="driver", health="ok", found=f"{driver.version}{cuda}: {count}")


def _engine() -> tuple[APIClient | None, Finding]:
    from mir_ops.executor.engine import open_engine

    try:
        engine = open_engine()
        version = engine.version()["Version"]
    except MirError as error:
        advice = error.hint or ""
        return None, Finding(part="engine", health="warning", found=str(error), advice=advice)
    return engine, Finding(part="engine", health="ok", found=f"Docker {version}")


def _toolkit(driver: Driver | None, engine: APIClient | None) -> Finding:
    runtimes: dict[str, Any] = engine.info().get("Runtimes", {}) if engine else {}
    if "nvidia" in runtimes or shutil.which("nvidia-ctk"):
        return Finding(part="container toolkit", health="ok", found="NVIDIA container toolkit")
    return Finding(
        part="container toolkit",
        health="absent" if driver is None else "failed",
        found="the engine has no NVIDIA runtime",
        advice="Install nvidia-container-toolkit, run `nvidia-ctk runtime configure`, and "
        "restart the engine",
    )


def _left_containers(engine: APIClient | None) -> Iterator[Finding]:
    from mir_ops.executor.reaping import abandoned

    if engine is not None and (names := abandoned(engine)):
        yield Finding(
            part="left containers",
            health="warning",
            found=f"of commands that were killed: {', '.join(names)}",
            advice="Repeat the command, which goes on with its container, or run "
            f"`docker rm --force {' '.join(names)}`",
        )


def _image(image: str, driver: Driver | None, engine: APIClient | None) -> Finding:
    from docker.errors import APIError

    part = f"image {image}"
    if engine is None:
        return Finding(part=part, health="absent", found="not looked at: there is no engine")
    try:
        inspected = engine.inspect_image(image)  # type: ignore[no-untyped-call]
        cuda = cuda_of(inspected["Config"].get("Env") or [])
    except APIError:
        advice = f"Build it, or run `docker pull {image}`"
        return Finding(part=part, health="failed", found="not in the engine", advice=advice)
    if cuda is None:
        return Finding(part=part, health="ok", found="names no CUDA")
    needs = f"CUDA {_text(cuda)}"
    if driver is None or driver.cuda is None:
        found = f"{needs}, and there is no driver"
        return Finding(part=part, health="warning", found=found, advice="Run it on the CPU only")
    if cuda > driver.cuda:
        return Finding(
            part=part,
            health="failed",
            found=f"{needs}, the driver runs up to {_text(driver.cuda)}",
            advice="Use an image for an older CUDA, or a newer driver",
        )
    return Finding(part=part, health="ok", found=f"{needs}, the driver runs {_text(driver.cuda)}")


def _disk(work_dir: Path) -> Finding:
    existing = next(one for one in (work_dir, *work_dir.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.0f} GiB free in {existing}"
    if free >= ENOUGH_DISK:
        return Finding(part="disk", health="ok", found=found)
    advice = "Make room: jobs, the asset cache and images need some tens of GiB"
    return Finding(part="disk", health="warning", found=found, advice=advice)


def _work_dir_on_the_host(work_dir: Path, engine: APIClient | None) -> Finding:
    from mir_ops.executor.mounts import check_work_dir

    part = "work folder"
    if engine is None:
        return Finding(part=part, health="absent", found="not looked at: there is no engine")
    try:
        check_work_dir(work_dir, engine)
    except MirError as error:
        return Finding(part=part, health="failed", found=str(error), advice=error.hint or "")
    return Finding(part=part, health="ok", found=f"the engine mounts {work_dir} as it is here")


def of_cluster(cluster: Cluster, work_dir: Path) -> Iterator[Finding]:
    """What the runner `kubernetes` needs of the cluster that this pod is in."""
    from mir_ops.executor.cluster import RIGHTS
    from mir_ops.executor.pods import find_work_volume

    part = "cluster"
    try:
        found = f"Kubernetes {cluster.version()}, namespace {cluster.namespace}"
        yield Finding(part=part, health="ok", found=found)
        part = "rights to pods"
        lacks = [f"{verb} {what}" for verb, what in RIGHTS if not cluster.may(verb, what)]
        yield Finding(
            part=part,
            health="warning" if lacks else "ok",
            found=f"may not: {', '.join(lacks)}" if lacks else "all that the runner needs",
            advice="For the runner `kubernetes`: docker/kubernetes/rbac.yaml" if lacks else "",
        )
        part = "work volume"
        found = find_work_volume(cluster.own_pod(), work_dir).names(work_dir)
        yield Finding(part=part, health="ok", found=found)
    except MirError as error:
        yield Finding(part=part, health="warning", found=str(error), advice=error.hint or "")


def _own_cluster(work_dir: Path) -> Iterator[Finding]:
    """Nothing outside of a pod."""
    from mir_ops.executor.cluster import in_cluster, open_cluster

    if not in_cluster():
        return
    try:
        cluster = open_cluster(patience=_SECONDS)
    except MirError as error:
        advice = error.hint or ""
        yield Finding(part="cluster", health="warning", found=str(error), advice=advice)
        return
    with closing(cluster):
        yield from of_cluster(cluster, work_dir)


def _shared_memory() -> Finding:
    path = Path("/dev/shm")
    if not path.exists():
        return Finding(part="shared memory", health="absent", found="no /dev/shm")
    size = shutil.disk_usage(path).total
    found = f"{size / GIB:.1f} GiB in /dev/shm"
    if size >= ENOUGH_SHARED_MEMORY:
        return Finding(part="shared memory", health="ok", found=found)
    advice = "Enlarge it for data loaders of the process runner; containers have their own"
    return Finding(part="shared memory", health="warning", found=found, advice=advice)


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        used = probe.connect_ex(("127.0.0.1", port)) == 0
    if not used:
        return Finding(part=f"port {port}", health="ok", found="free")
    advice = "Fine if it is this deployment; else set another port in `.env`"
    return Finding(part=f"port {port}", health="warning", found="something listens", advice=advice)


def _label_tool(url: str | None) -> Finding:
    import httpx

    if url is None:
        advice = "Name it with `--label-tool URL`"
        return Finding(part="label tool", health="absent", found="none named", advice=advice)
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=_SECONDS)
    except httpx.HTTPError as error:
        found, advice = f"{url} does not answer: {error}", "Start it, or check the address"
        return Finding(part="label tool", health="failed", found=found, advice=advice)
    if answer.is_success:
        return Finding(part="label tool", health="ok", found=f"{url} answers")
    found = f"{url} answers {answer.status_code}"
    return Finding(part="label tool", health="failed", found=found, advice="Read its log")


def _stored(open_store: Callable[[], Store] | None, label_tool: str | None) -> Iterator[Finding]:
    if open_store is None:
        advice = "Name it with `--store URL`, or go into a repository"
        yield Finding(part="store", health="absent", found="none named", advice=advice)
        return
    try:
        store = open_store()
        branches = len(store.branches())
    except MirError as error:
        found, advice = str(error), error.hint or "Try `mir store doctor URL`"
        yield Finding(part="store", health="failed", found=found, advice=advice)
        return
    yield Finding(part="store", health="ok", found=f"{store.id}, {branches} branches")
    if label_tool is not None:
        yield from _images_in_browsers(store, label_tool)


def _catalog(open_catalog: Callable[[], Catalog]) -> Finding:
    """Whether it answers, has room, and all of its projects can be read."""
    try:
        catalog = open_catalog()
        catalog.check_room()
        projects, executors = len(catalog.projects.list()), len(catalog.executors.list())
        for invalid in catalog.projects.invalid().values():
            raise invalid
    except MirError as error:
        found, advice = str(error), error.hint or ""
        return Finding(part="catalog", health="failed", found=found, advice=advice)
    found = f"{projects} projects, {executors} executors added"
    return Finding(part="catalog", health="ok", found=found)


def _images_in_browsers(store: Store, label_tool: str) -> Iterator[Finding]:
    """Whether a page of the label tool may load what lies in the store's bucket."""
    import httpx

    from mir_ops.store import keys
    from mir_ops.store.objects import SignsUrls

    if not isinstance(store.objects, SignsUrls):
        return
    part, origin = "images in browsers", "{0.scheme}://{0.netloc}".format(urlsplit(label_tool))
    url = store.objects.signed_url(keys.FORMAT, seconds=60, media_type="text/plain")
    try:
        answer = httpx.get(url, headers={"Origin": origin}, timeout=_SECONDS)
    except httpx.HTTPError as error:
        found = f"the S3 server does not answer: {error}"
        yield Finding(part=part, health="failed", found=found, advice="Check its address")
        return
    if answer.headers.get("Access-Control-Allow-Origin") in ("*", origin):
        yield Finding(part=part, health="ok", found=f"the bucket lets {origin} load them")
        return
    yield Finding(
        part=part,
        health="warning",
        found=f"the bucket has no CORS rule that lets {origin} GET",
        advice="Add one (docs/labeling.md), or let the console show images: `images_from: console`",
    )


def _output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=True)
    return done.stdout


def _text(version: Version | None) -> str:
    return ".".join(str(part) for part in version or ())
