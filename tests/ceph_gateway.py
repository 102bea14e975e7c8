"""A real S3 server for tests: Ceph's object gateway with one monitor and one disk in memory.

A million objects need a disk that is a file: in memory each of them takes 22 kB.

On Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr ceph-common
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
import httpx

ACCESS_KEY: Final = "test"
SECRET_KEY: Final = "testtest"
_PROGRAMS: Final = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_PATIENCE: Final = 90.0
_PR_SET_PDEATHSIG: Final = 1
# What they would keep in memory for a log takes a fifth of their time.
_SILENT: Final = (
    "default mon osd paxos rocksdb bluestore bluefs bdev ms monc objecter rados objclass rgw "
    "throttle timer auth finisher perfcounter asok optracker"
)
_CONFIGURATION: Final = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{first},v1:127.0.0.1:{second}]
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
ms bind ipv6 = false
public addr = 127.0.0.1
osd objectstore = {kept_in}
memstore device bytes = 4294967296
bluestore block size = 42949672960
mon warn on pool no redundancy = false
mgr data = {folder}/mgr
osd data = {folder}/osd
mon data = {folder}/mon
osd memory target = 939524096
osd enable op tracker = false
osd op num shards = 1
osd op num threads per shard = 2
bluestore debug enforce settings = ssd
{quiet}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
rgw dynamic resharding = false
rgw override bucket index max shards = 1
ms mon client mode = crc
"""


def missing_programs() -> list[str]:
    """What of Ceph is not installed."""
    return [program for program in _PROGRAMS if shutil.which(program) is None]


@dataclass(kw_only=True)
class Gateway:
    """The server. What it stores outlives it: it can be killed, and started again."""

    endpoint: str
    command: list[str]
    admin: list[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def counters(self) -> Path:
        """The socket at which it tells how often it was asked for what."""
        return Path(self.command[-1]).parent / "run/client.rgw.asok"

    def start(self) -> None:
        self._process = _start(*self.command)
        _wait_for(lambda: _answers(self.endpoint))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def allow(self, bucket: str, *origins: str) -> None:
        """Let pages of these origins load what lies in the bucket; of no origins: nobody's."""
        if not origins:
            self.client().delete_bucket_cors(Bucket=bucket)
            return
        rule = {"AllowedOrigins": list(origins), "AllowedMethods": ["GET"]}
        self.client().put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})

    def limit(self, size: int | None) -> None:
        """How many bytes each bucket may have; None: as many as there is room for."""
        scope = ["--quota-scope=bucket", "--uid=test"]
        _run(*self.admin, "quota", "set", *scope, f"--max-size={-1 if size is None else size}")
        _run(*self.admin, "quota", "disable" if size is None else "enable", *scope)

    def stop(self) -> None:
        if self._process is not None:
            _end(self._process)


@contextmanager
def running(*, on_disk: bool = False) -> Iterator[Gateway]:
    """A gateway on the loopback that keeps its state in a folder of its own; 15 s to start."""
    folder = Path(tempfile.mkdtemp(prefix="mir-ceph-"))  # paths of its sockets have to be short
    try:
        with _running(folder, "bluestore" if on_disk else "memstore") as gateway:
            yield gateway
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, kept_in: str) -> Iterator[Gateway]:
    for name in ("mon", "osd", "run", "log"):
        (folder / name).mkdir(parents=True)
    first, second, gateway = _free_ports(3)
    fsid = str(uuid.uuid4())
    configuration = folder / "ceph.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            fsid=fsid,
            folder=folder,
            first=first,
            second=second,
            gateway=gateway,
            kept_in=kept_in,
            quiet="\n".join(f"debug {part} = 0/0" for part in _SILENT.split()),
        )
    )
    base = ["-c", str(configuration)]
    monitors = f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]"
    with ExitStack() as stack:
        _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, f"{folder}/monmap")
        monmap = ["--monmap", f"{folder}/monmap", "--keyring", "/dev/null"]
        _run("ceph-mon", "--mkfs", "-i", "a", *monmap, *base)
        stack.enter_context(_daemon("ceph-mon", "-f", "-i", "a", *base))
        _wait_for(lambda: _succeeds("ceph", *base, "-s"))
        disk = str(uuid.uuid4())
        _run("ceph", *base, "osd", "new", disk, "0")
        _run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk, *base)
        stack.enter_context(_daemon("ceph-osd", "-f", "-i", "0", *base))
        _wait_for(lambda: _succeeds("ceph", *base, "osd", "stat"))
        server = Gateway(
            endpoint=f"http://127.0.0.1:{gateway}",
            command=["radosgw", "-f", "-n", "client.rgw", "--no-mon-config", *base],
            admin=["radosgw-admin", *base],
        )
        stack.callback(server.stop)
        server.start()
        keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
        user = ["user", "create", "--uid", "test", "--display-name", "test"]
        _run(*server.admin, *user, *keys)
        yield server


@contextmanager
def _daemon(*command: str) -> Iterator[None]:
    process = _start(*command)
    try:
        yield
    finally:
        _end(process)


def _start(*command: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """Also when that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=5).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(endpoint, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("Ceph did not start")
        time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
