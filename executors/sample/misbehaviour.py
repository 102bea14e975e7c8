"""What a broken or hostile executor does, by name: the setting `misbehave` picks one.

Each runs when the good results are written already, and knows their path.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from mir_executor import Task

Misbehaviour = Callable[[Task, Path], None]

_SECRET = "/etc/passwd"
_MIB = 1 << 20
_SLEEPER = ["sleep", "600"]


def misbehave(task: Task, path: str) -> None:
    """Do what the settings say, if they say something; `path` is the result below `/out`."""
    if name := str(task.config.get("misbehave") or ""):
        print(f"misbehaving: {name}", flush=True)
        BEHAVIOURS[name](task, task.outputs / path)


# How it ends


def _raise(task: Task, path: Path) -> None:
    raise RuntimeError("lost my way")


def _crash_silently(task: Task, path: Path) -> None:
    os._exit(9)


def _segfault(task: Task, path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang(task: Task, path: Path) -> None:
    time.sleep(600)


def _ignore_sigterm(task: Task, path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _leave_children(task: Task, path: Path) -> None:
    subprocess.Popen(_SLEEPER)
    subprocess.Popen(_SLEEPER, start_new_session=True)


def _leave_children_and_hang(task: Task, path: Path) -> None:
    _leave_children(task, path)
    time.sleep(600)


def _fork_without_end(task: Task, path: Path) -> None:
    for _ in range(200):
        subprocess.Popen(_SLEEPER)
    time.sleep(600)


# What it uses


def _flood_the_log(task: Task, path: Path) -> None:
    line = "x" * 1023 + "\n"
    for _ in range(80):
        sys.stdout.write(line * 1024)
    sys.stdout.flush()
    time.sleep(1.5)
    raise RuntimeError("said enough")


def _endless_line(task: Task, path: Path) -> None:
    for _ in range(8):
        sys.stdout.write("x" * _MIB)
    print()
    raise RuntimeError("out of breath")


def _terminal_codes(task: Task, path: Path) -> None:
    raise RuntimeError("\x1b[2J\x1b]0;owned\x07gone\r\x00")


def _fill_the_disk(task: Task, path: Path) -> None:
    for number in range(400):
        (task.outputs / f"filler-{number}").write_bytes(b"x" * _MIB)
        time.sleep(0.1)


def _one_huge_file(task: Task, path: Path) -> None:
    with (task.outputs / "filler").open("wb") as file:
        for _ in range(600):
            file.write(b"x" * _MIB)
            time.sleep(0.02)


def _eat_memory(task: Task, path: Path) -> None:
    kept = [bytearray(os.urandom(_MIB)) for _ in range(2000)]
    print(len(kept))


# What it says about itself


def _garbled_monitor(task: Task, path: Path) -> None:
    (task.outputs / "monitor.txt").write_bytes(b"\xff\xfe\x00not\ta\tmonitor\n")
    os._exit(0)


def _report_failure_and_exit_well(task: Task, path: Path) -> None:
    task.report_failure(300002, "half of the images are black")
    os._exit(0)


def _linked_monitor(task: Task, path: Path) -> None:
    (task.outputs / "monitor.txt").unlink()
    (task.outputs / "monitor.txt").symlink_to(_SECRET)
    os._exit(0)


def _linked_log(task: Task, path: Path) -> None:
    log = task.outputs / "ymir-executor-out.log"
    log.unlink(missing_ok=True)
    log.symlink_to(_SECRET)


# What it leaves


def _write(content: bytes) -> Misbehaviour:
    return lambda _, path: _replace(path, content)


def _no_result(task: Task, path: Path) -> None:
    path.unlink()


def _linked_result(task: Task, path: Path) -> None:
    path.unlink()
    path.symlink_to(_SECRET)


def _linked_folder(task: Task, path: Path) -> None:
    os.rename(task.outputs / "models" / "best", task.outputs / "models" / "moved")
    (task.outputs / "models" / "best").symlink_to("/etc")


def _linked_model(task: Task, path: Path) -> None:
    file = task.outputs / "models" / "best" / "model.json"
    file.unlink()
    file.symlink_to(_SECRET)


def _pipe_for_a_result(task: Task, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder_for_a_result(task: Task, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _huge_result(task: Task, path: Path) -> None:
    os.truncate(path, 6 << 30)  # sparse: it costs nothing


def _change(change: Callable[[dict[str, Any]], None]) -> Misbehaviour:
    """A change of what the training says of itself."""

    def apply(task: Task, path: Path) -> None:
        content = yaml.safe_load(path.read_text())
        change(content)
        _replace(path, yaml.safe_dump(content).encode())

    return apply


def _missing_stage(content: dict[str, Any]) -> None:
    content["best_stage_name"] = "the_best"


def _missing_file(content: dict[str, Any]) -> None:
    content["model_stages"]["best"]["files"] = ["nothing.json"]


def _file_outside(content: dict[str, Any]) -> None:
    content["model_stages"]["best"]["files"] = ["../../../../../../etc/passwd"]


def _stage_outside(content: dict[str, Any]) -> None:
    stages = content["model_stages"]
    stages["../../x"] = {**stages.pop("best"), "stage_name": "../../x"}
    content["best_stage_name"] = "../../x"


def _metric(value: Any) -> Misbehaviour:
    def change(content: dict[str, Any]) -> None:
        content["model_stages"]["best"]["mAP"] = value

    return _change(change)


def _boxes(change: Callable[[dict[str, Any]], Any]) -> Misbehaviour:
    """A change of the entry of the first image; None takes it away."""

    def apply(task: Task, path: Path) -> None:
        content = json.loads(path.read_text())
        change(content["detection"])
        _replace(path, json.dumps(content).encode())

    return apply


def _of_first(**values: Any) -> Misbehaviour:
    def change(detection: dict[str, Any]) -> None:
        box = next(iter(detection.values()))["boxes"][0]
        for name, value in values.items():
            (box["box"] if name in box["box"] else box)[name] = value

    return _boxes(change)


def _scores(change: Callable[[list[str]], list[str]]) -> Misbehaviour:
    def apply(task: Task, path: Path) -> None:
        lines = change(path.read_text().splitlines())
        _replace(path, "".join(f"{line}\n" for line in lines).encode())

    return apply


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


_GARBAGE = b"\x00{[garbage: \xff\n" * 10
_PYTHON = b"!!python/object/apply:os.system ['touch /tmp/owned']\n"

BEHAVIOURS: dict[str, Misbehaviour] = {
    "raise": _raise,
    "crash-silently": _crash_silently,
    "segfault": _segfault,
    "hang": _hang,
    "ignore-sigterm": _ignore_sigterm,
    "leave-children": _leave_children,
    "leave-children-and-hang": _leave_children_and_hang,
    "fork-without-end": _fork_without_end,
    "flood-the-log": _flood_the_log,
    "endless-line": _endless_line,
    "terminal-codes": _terminal_codes,
    "fill-the-disk": _fill_the_disk,
    "one-huge-file": _one_huge_file,
    "eat-memory": _eat_memory,
    "garbled-monitor": _garbled_monitor,
    "report-failure-and-exit-well": _report_failure_and_exit_well,
    "linked-monitor": _linked_monitor,
    "linked-log": _linked_log,
    "garbage": _write(_GARBAGE),
    "empty-result": _write(b""),
    "other-encoding": _write("{'detection': {}}".encode("utf-16")),
    "python-object": _write(_PYTHON),
    "deep-result": _write(b"[" * 20_000),
    "list-for-a-result": _write(b"[1, 2, 3]\n"),
    "no-result": _no_result,
    "linked-result": _linked_result,
    "linked-folder": _linked_folder,
    "linked-model": _linked_model,
    "pipe-for-a-result": _pipe_for_a_result,
    "folder-for-a-result": _folder_for_a_result,
    "huge-result": _huge_result,
    "missing-stage": _change(_missing_stage),
    "missing-file": _change(_missing_file),
    "file-outside": _change(_file_outside),
    "stage-outside": _change(_stage_outside),
    "no-stages": _change(lambda content: content.pop("model_stages")),
    "nan-metric": _metric(math.nan),
    "metric-above-one": _metric(1.5),
    "metric-of-text": _metric("good"),
    "nan-score": _of_first(score=math.nan),
    "score-above-one": _of_first(score=7.5),
    "negative-box": _of_first(w=-4),
    "endless-box": _of_first(w=1e300),
    "text-box": _of_first(x="left"),
    "unknown-class": _of_first(class_name="unicorn"),
    "unknown-image": _boxes(lambda detection: detection.update({"other.jpg": {"boxes": []}})),
    "missing-image": _boxes(lambda detection: detection.pop(next(iter(detection)))),
    "boxes-of-text": _boxes(lambda detection: detection.update({next(iter(detection)): "none"})),
    "nan-mining-score": _scores(lambda lines: [lines[0].split("\t")[0] + "\tnan", *lines[1:]]),
    "twice-scored": _scores(lambda lines: [lines[0], *lines]),
    "unknown-candidate": _scores(lambda lines: ["/in/assets/other.jpg\t0.5", *lines]),
    "missing-score": _scores(lambda lines: lines[1:]),
    "no-scores": _no_result,
}
