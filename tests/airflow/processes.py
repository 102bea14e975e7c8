"""What runs on this machine, as far as /proc says."""

from __future__ import annotations

import os
from pathlib import Path

LISTENING = "0A"


def processes_below(folder: Path) -> dict[int, str]:
    """Processes that work in a folder, or name it in their command line or environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            # A process that sets its title overwrites its environment, but not where it works.
            told = command + (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
        except OSError:
            continue
        if os.fsencode(folder) in told:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def task_processes(home: Path) -> list[int]:
    """The processes of an Airflow that run a task just now."""
    return [
        pid
        for pid, command in processes_below(home).items()
        if command.startswith("airflow worker -- ") and "LocalExecutor" not in command
    ]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def listening_addresses(pids: set[int]) -> set[str]:
    """The local IPv4 and IPv6 addresses, in hex, on which these processes wait for others."""
    inodes = {inode for pid in pids for inode in _socket_inodes(pid)}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def _socket_inodes(pid: int) -> list[str]:
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(descriptor))
        except OSError:
            continue
    return [link[8:-1] for link in links if link.startswith("socket:[")]
