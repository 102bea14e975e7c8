"""Airflow's StatsD lines as a page that Prometheus reads; needs nothing but Python.

Lines have InfluxDB's tags, as Airflow sends them with `statsd_influxdb_enabled`:
`airflow.mir.rounds.closed,project=street:1|c` is `airflow_mir_rounds_closed{project="street"} 1`.
Counters add up, gauges keep their last value for a day, timers are seconds: `_sum` and `_count`.
Prometheus's own statsd_exporter documents the same reading of such lines; it was not run beside.
"""

from __future__ import annotations

import argparse
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

GAUGE_SECONDS = 86_400.0
MOST_SERIES = 20_000
LONGEST_DATAGRAM = 65_536
LINE = re.compile(
    r"(?P<name>[^,:|]+)(?P<tags>(?:,[^,:|=]+=[^,:|]*)*):(?P<value>[^|]+)"
    r"\|(?P<kind>c|g|ms|h|d)(?:\|@(?P<rate>[0-9.]+))?"
)
TYPES = {"c": "counter", "g": "gauge", "ms": "summary", "h": "summary", "d": "summary"}

Tags = tuple[tuple[str, str], ...]


@dataclass
class Series:
    """One name with one set of tags."""

    value: float = 0.0
    count: int = 0
    set_at: float = 0.0


@dataclass
class Metrics:
    """All that was sent so far. Many threads read it, one writes."""

    types: dict[str, str] = field(default_factory=dict)
    series: dict[str, dict[Tags, Series]] = field(default_factory=dict)
    lines: int = 0
    refused: int = 0
    lock: Lock = field(default_factory=Lock)

    def take(self, datagram: bytes, now: float) -> None:
        for line in datagram.decode("utf-8", "replace").splitlines():
            with self.lock:
                self.lines += 1
                if not self._take(line, now):
                    self.refused += 1

    def page(self, now: float) -> str:
        """What Prometheus reads, by its text format."""
        with self.lock:
            self._forget(now)
            out = [
                *_lines("statsd_lines", "counter", [("", (), self.lines)]),
                *_lines("statsd_lines_refused", "counter", [("", (), self.refused)]),
            ]
            for name, found in sorted(self.series.items()):
                kind = self.types[name]
                rows = [
                    row for tags, one in sorted(found.items()) for row in _rows(kind, tags, one)
                ]
                out += _lines(name, kind, rows)
        return "\n".join([*out, ""])

    def _take(self, line: str, now: float) -> bool:
        match = LINE.fullmatch(line)
        if match is None:
            return False
        try:
            value = float(match["value"])
            rate = float(match["rate"] or 1)
        except ValueError:
            return False
        kind, name = TYPES[match["kind"]], _clean(match["name"])
        pairs = (tag.split("=", 1) for tag in match["tags"].split(",")[1:])
        tags = tuple(sorted((_clean(key), said) for key, said in pairs))
        if not 0 < rate <= 1 or self.types.setdefault(name, kind) != kind:
            return False
        found = self.series.setdefault(name, {})
        if tags not in found and sum(map(len, self.series.values())) >= MOST_SERIES:
            return False
        one = found.setdefault(tags, Series())
        one.set_at = now
        if kind == "gauge":
            one.value = value + (one.value if match["value"][0] in "+-" else 0)
        elif kind == "counter":
            one.value += value / rate
        else:
            one.value += value / rate / (1000 if match["kind"] == "ms" else 1)
            one.count += round(1 / rate)
        return True

    def _forget(self, now: float) -> None:
        """Nobody says that a host or a file is gone: its gauges would stay for ever."""
        for name, found in self.series.items():
            if self.types[name] == "gauge":
                for tags in [t for t, one in found.items() if now - one.set_at > GAUGE_SECONDS]:
                    del found[tags]


def _clean(name: str) -> str:
    cleaned = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{cleaned}" if cleaned[:1].isdigit() else cleaned


def _rows(kind: str, tags: Tags, one: Series) -> list[tuple[str, Tags, float]]:
    if kind == "summary":
        return [("_sum", tags, one.value), ("_count", tags, one.count)]
    return [("", tags, one.value)]


def _lines(name: str, kind: str, rows: list[tuple[str, Tags, float]]) -> list[str]:
    if not rows:
        return []
    return [
        f"# TYPE {name} {kind}",
        *(f"{name}{suffix}{_labels(tags)} {value!r}" for suffix, tags, value in rows),
    ]


def _labels(tags: Tags) -> str:
    escape = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    said = ",".join(f'{key}="{value.translate(escape)}"' for key, value in tags)
    return f"{{{said}}}" if said else ""


def listen(ear: socket.socket, metrics: Metrics) -> None:
    while True:
        metrics.take(ear.recv(LONGEST_DATAGRAM), time.monotonic())


def serve(host: str, port: int, metrics: Metrics) -> ThreadingHTTPServer:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = metrics.page(time.monotonic()).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A line every few seconds would say nothing."""

    return ThreadingHTTPServer((host, port), Page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address of both ports")
    parser.add_argument("--statsd-port", type=int, default=8125)
    parser.add_argument("--page-port", type=int, default=9102)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    metrics = Metrics()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((asked.host, asked.statsd_port))
        page = serve(asked.host, asked.page_port, metrics)
        Thread(target=listen, args=(ear, metrics), daemon=True).start()
        print(f"statsd on {ear.getsockname()[1]}, page on {page.server_port}", flush=True)
        page.serve_forever()


if __name__ == "__main__":
    main()
