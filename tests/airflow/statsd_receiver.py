"""A UDP receiver that keeps what is sent to StatsD, as the lines that came."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

PREFIX = "airflow."


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One value: a name without Airflow's prefix, its tags, and how StatsD counts it."""

    name: str
    tags: Mapping[str, str]
    kind: str
    value: float


@dataclass(kw_only=True)
class Receiver:
    port: int
    lines: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """What has an Airflow send here, as docker-compose.yaml sets it."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
        }

    def sent(self, start: str = "") -> list[Sent]:
        return [one for one in map(parse, self.lines) if one.name.startswith(start)]


def parse(line: str) -> Sent:
    named, _, rest = line.removeprefix(PREFIX).partition(":")
    value, kind, *_ = rest.split("|")
    name, *tags = named.split(",")
    return Sent(
        name=name, tags=dict(tag.split("=", 1) for tag in tags), kind=kind, value=float(value)
    )


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        receiver = Receiver(port=ear.getsockname()[1])
        thread = Thread(target=_listen, args=(ear, receiver), daemon=True)
        thread.start()
        yield receiver
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(b"", ("127.0.0.1", receiver.port))
        thread.join()


def _listen(ear: Any, receiver: Receiver) -> None:
    while said := ear.recv(65_536):
        receiver.lines += said.decode().splitlines()
