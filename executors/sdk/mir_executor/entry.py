"""The way in and the way out of an executor."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from mir_executor.contract import ExecutorError, Task, open_task

Step = Callable[[Task], None]

_OUT_OF_MEMORY = 300103
_UNSUPPORTED = 300001


def run(*, train: Step | None = None, mine: Step | None = None, infer: Step | None = None) -> None:
    """Do what the host asks, in the contract's order, and end with a code that says why not."""
    task = open_task()
    try:
        task.report(0.0, "started")
        asked = [("training", task.trains, train), ("mining", task.mines, mine)]
        asked.append(("inference", task.infers, infer))
        for name, wanted, step in asked:
            if wanted and step is None:
                raise ExecutorError(f"this executor does not do {name}", code=_UNSUPPORTED)
            if wanted and step is not None:
                step(task)
    except ExecutorError as error:
        task.report_failure(error.code, str(error))
        print(f"error {error.code}: {error}", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        _end(task, _OUT_OF_MEMORY, "out of memory")
    except Exception as error:  # noqa: BLE001 - the boundary: the host must learn of it
        _end(task, 0, f"{type(error).__name__}: {error}")
    task.report(1.0, "done")


def _end(task: Task, code: int, message: str) -> None:
    details = traceback.format_exc()
    print(details, file=sys.stderr)
    task.report_failure(code, message, details)
    sys.exit(1)
