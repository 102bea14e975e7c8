"""The start of an executor: a folder that keeps the contract already, to be filled with a model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import bundled_folder

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

_START: Final = '''"""The executor @NAME@: replace what the three functions do by your model."""

from __future__ import annotations

import json
from collections import Counter

from mir_executor import ExecutorError, Task, read_voc, run


def train(task: Task) -> None:
    """Learn from the training images. This start counts classes instead."""
    items = task.training_items()
    if not items or not task.validation_items():
        raise ExecutorError("training and validation both need images", code=300002)
    counts: Counter[str] = Counter()
    for number, item in enumerate(items, start=1):
        counts.update(box.class_name for box in read_voc(item.annotation))
        task.report(number / len(items), f"{number} of {len(items)} images")
    task.write_metric(1, "objects", sum(counts.values()))
    content = json.dumps(dict(sorted(counts.items()))).encode()
    task.write_stage("last", {"model.json": content}, mean_ap=0.0)


def infer(task: Task) -> None:
    """Write the boxes of every candidate. This start finds none."""
    read_model(task)
    task.write_detections({candidate.name: [] for candidate in task.candidates()})


def mine(task: Task) -> None:
    """Write a score for every candidate, higher is more worth labelling."""
    read_model(task)
    task.write_scores((candidate.path, 0.0) for candidate in task.candidates())


def read_model(task: Task) -> dict[str, int]:
    for path in task.model_files():
        if path.name == "model.json":
            return json.loads(path.read_text())
    raise ExecutorError("no `model.json` among the model files", code=300004)


if __name__ == "__main__":
    run(train=train, mine=mine, infer=infer)
'''

_DOCKERFILE: Final = """# docker build -t @NAME@:1 .
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
RUN python3 -c "import yaml" 2>/dev/null || pip install --no-cache-dir pyyaml
COPY mir_executor /app/mir_executor
COPY start.py /app/start.py
COPY img-man /img-man
RUN echo "exec python3 /app/start.py" > /usr/bin/start.sh
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
LABEL mir.executor=@NAME@
USER 65534:65534
CMD ["bash", "/usr/bin/start.sh"]
"""

_FILES: Final = {
    "start.py": _START,
    "Dockerfile": _DOCKERFILE,
    "img-man/manifest.yaml": "object_type: 2\nenable_livecode: false\nis_official: false\n",
    "img-man/training-template.yaml": "export_format: voc:raw\nepochs: 10\nseed: 0\n",
    "img-man/mining-template.yaml": "conf_thres: 0.05\n",
    "img-man/infer-template.yaml": "conf_thres: 0.05\n",
    "img-man/readme.md": "# @NAME@\n\nWhat it does, and what each setting means.\n",
}


def write_scaffold(name: str, target: Path) -> list[str]:
    """Write the folder, with the SDK inside so that it needs nothing else; the files' names."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"`{name}` cannot be an image's name",
            code="bad-executor-name",
            hint="Use small letters and digits, with single `-`, `_` or `.` between them",
        )
    for path, content in _FILES.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(content.replace("@NAME@", name), encoding="utf-8")
    sdk = bundled_folder("sample").parent / "sdk" / "mir_executor"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(sdk, target / "mir_executor", ignore=ignored, dirs_exist_ok=True)
    return [*_FILES, "mir_executor/"]
