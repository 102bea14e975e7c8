"""Servers as child processes of a keeper, which ends them when this process ends, in any way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mir_ops.demo import keeper

GRACE_SECONDS: Final = 10.0


class Services:
    """Processes that log into one folder, a file each."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        cwd: Path,
        env: Mapping[str, str],
        first: Mapping[str, Sequence[str]] | None = None,
        abrupt: Sequence[str] = (),
    ) -> None:
        """Run the commands of `first` one after the other, then those of `commands` together.

        Those in `abrupt` hold nothing: they are killed without being asked first.
        """
        self.logs.mkdir(exist_ok=True)
        (self.logs / "ended.json").unlink(missing_ok=True)
        plan = {
            "parent": os.getpid(),
            "cwd": str(cwd),
            "logs": str(self.logs),
            "env": dict(env),
            "grace": GRACE_SECONDS,
            "abrupt": list(abrupt),
            "first": dict(first or {}),
            "services": dict(commands),
        }
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(json.dumps(plan).encode() + b"\n")
        self._keeper.stdin.flush()

    def stop(self) -> None:
        """End every process, asked first and killed after a grace time. Safe to call twice."""
        if self._keeper is None:
            return
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper = None

    def ended(self) -> tuple[str, str] | None:
        """Which process ended by itself, and its last words; None while all run."""
        if self._keeper is None or self._keeper.poll() is None:
            return None
        path = self.logs / "ended.json"
        name = json.loads(path.read_text())["name"] if path.exists() else "keeper"
        log = self.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return name, " / ".join(line.strip() for line in lines[-8:])


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
