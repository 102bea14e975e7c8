"""For authors of executors: read what the host prepared, report progress, write results.

from mir_executor import Task, run

def train(task: Task) -> None:
    for item in task.training_items():
        ...
    task.write_stage("best", {"model.npz": content}, mean_ap=0.6)

run(train=train, infer=infer)
"""

from __future__ import annotations

from mir_executor.contract import Candidate, ExecutorError, Item, Task, open_task
from mir_executor.entry import run
from mir_executor.voc import Box, read_voc

__all__ = [
    "Box",
    "Candidate",
    "ExecutorError",
    "Item",
    "Task",
    "open_task",
    "read_voc",
    "run",
]
