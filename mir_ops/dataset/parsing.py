"""Annotation files parsed by processes of their own, while this one stores the images.

A parent writes what to parse to the child's input and reads columns from its output. The parser
holds Python's lock: threads would wait for each other.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import IO, Any, Final

import pyarrow as pa

from mir_ops.dataset.pipes import must_receive, receive, send
from mir_ops.errors import InvalidInputError
from mir_ops.formats import FormatName
from mir_ops.formats.parsed import IMAGES, OBJECTS, Finding, Parsed, joined
from mir_ops.formats.reading import read_annotations
from mir_ops.formats.trees import DamagedEntryError, FileTree
from mir_ops.store.file_systems import read_file

_FROM_FILES: Final = 2500  # below, starting a process takes longer than parsing does
_MOST_PROCESSES: Final = 8
_COMMAND: Final = (
    "from mir_ops.arrow import load_rows; load_rows(); "
    "from mir_ops.dataset.parsing import serve; serve()"
)


class Parsing:
    """Annotation files on their way to columns."""

    def __init__(
        self, kind: FormatName, names: Sequence[str], tree: FileTree, *, boxes_only: bool
    ) -> None:
        self._here: Callable[[], Parsed] = lambda: read_annotations(
            kind, names, tree.read, boxes_only=boxes_only
        )
        cores = os.cpu_count() or 1
        wanted = cores > 1 and len(names) >= _FROM_FILES and bool(sys.executable)
        parts = _parts(kind, names, tree, min(cores - 1, _MOST_PROCESSES)) if wanted else []
        self._children = [_Child(kind, part, tree, boxes_only) for part in parts]

    @property
    def is_parallel(self) -> bool:
        return bool(self._children)

    @property
    def is_done(self) -> bool:
        """Whether the processes have ended."""
        return self.is_parallel and not any(child.is_running for child in self._children)

    def result(self) -> Parsed:
        """The columns; whatever the files are to blame for is raised here."""
        if not self._children:
            return self._here()
        found = [child.result() for child in self._children]
        parts = [part for part in found if part is not None]
        # A child that could not finish could not say why as well as this process can.
        return joined(parts) if len(parts) == len(found) else self._here()

    def stop(self) -> None:
        for child in self._children:
            child.stop()


class _Child:
    """One process that parses some of the files."""

    def __init__(
        self, kind: FormatName, names: Sequence[str], tree: FileTree, boxes_only: bool
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._output = b""
        self._order = {"kind": kind, "boxes_only": boxes_only}
        threads = (lambda: self._write(names, tree), self._read)
        self._threads = [threading.Thread(target=work, daemon=True) for work in threads]
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def result(self) -> Parsed | None:
        for thread in self._threads:
            thread.join()
        code = self._process.wait()
        if code < 0:
            raise InvalidInputError(
                f"The parser of annotation files was ended by signal {-code}",
                code="parser-ended",
                hint="If memory ran out, import fewer files at a time; else look for damaged files",
            )
        return _received(self._output) if code == 0 else None

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for thread in self._threads:
            thread.join()
        self._process.wait()

    def _write(self, names: Sequence[str], tree: FileTree) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                send(pipe, json.dumps(self._order).encode())
                for name in names:
                    send(pipe, name.encode())
                    file = tree.file(name)
                    if file is not None:
                        send(pipe, b"f" + os.fsencode(file))
                        continue
                    try:
                        send(pipe, b"d" + tree.read(name))
                    except DamagedEntryError:
                        send(pipe, b"x")
        except OSError:  # it ended early, and its exit code says so
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            self._output = pipe.read()


def serve() -> None:
    """What a child does: parse the files that its input names or holds, and write the columns."""
    gc.disable()  # what is made here is kept to the end, which is soon
    pipe = sys.stdin.buffer
    order = json.loads(must_receive(pipe))
    bodies: dict[str, bytes] = {}
    while (name := receive(pipe)) is not None:
        bodies[name.decode()] = must_receive(pipe)
    parsed = read_annotations(
        order["kind"], list(bodies), _reading(bodies), boxes_only=order["boxes_only"]
    )
    _send_parsed(parsed, sys.stdout.buffer)


def _reading(bodies: dict[str, bytes]) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        body = bodies[name]
        if body[:1] == b"d":
            return body[1:]
        try:
            if body[:1] == b"f":
                return read_file(os.fsdecode(body[1:]))
        except OSError as error:
            raise DamagedEntryError(f"Cannot read `{name}`: {error}") from None
        raise DamagedEntryError(f"Cannot read `{name}`")

    return read


def _parts(
    kind: FormatName, names: Sequence[str], tree: FileTree, processes: int
) -> list[Sequence[str]]:
    """Names for each process: all to one, where files explain each other."""
    suffixes = {name.rpartition(".")[2].lower() for name in names}
    if kind != "voc" or suffixes != {"xml"} or not tree.sizes:
        return [names]
    size = -(-len(names) // processes)
    return [names[start : start + size] for start in range(0, len(names), size)]


def _send_parsed(parsed: Parsed, pipe: IO[bytes]) -> None:
    """A message about everything, then both tables as streams, without their empty columns."""
    rest = {
        "relative": parsed.relative,
        "boxes_only": parsed.boxes_only,
        "classes": dict(parsed.classes),
        "findings": [asdict(finding) for finding in parsed.findings],
    }
    send(pipe, json.dumps(rest).encode())
    for table in (parsed.images, parsed.objects):
        stated = [name for name in table.column_names if table[name].null_count < len(table)]
        with pa.ipc.new_stream(pipe, table.select(stated).schema) as writer:
            writer.write_table(table.select(stated))


def _received(data: bytes) -> Parsed:
    source = pa.BufferReader(data)
    rest: dict[str, Any] = json.loads(must_receive(source))
    findings = tuple(Finding(**finding) for finding in rest.pop("findings"))
    images, objects = (
        _whole(pa.ipc.open_stream(source).read_all(), schema) for schema in (IMAGES, OBJECTS)
    )
    return Parsed(images=images, objects=objects, findings=findings, **rest)


def _whole(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    columns = [
        table[each.name] if each.name in table.column_names else pa.nulls(len(table), each.type)
        for each in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)
