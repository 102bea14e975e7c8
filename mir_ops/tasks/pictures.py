"""A model looks at one picture, as a run asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.tasks.asking import JobAsked, Task, naming, read_model
from mir_ops.tasks.jobs import Entry

if TYPE_CHECKING:
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.pictures import Found, Look


@dataclass(frozen=True, kw_only=True)
class LookStep:
    """What the model finds is a JSON file and a drawn picture in the store; nothing is committed.

    A look that is asked for again is another look: it costs seconds.
    """

    task: Task
    build: Callable[[], Look] = field(repr=False)

    @cached_property
    def look(self) -> Look:
        return self.build()

    @property
    def entry(self) -> Entry:
        return Entry(op_id=self.look.op_id)

    @property
    def finished(self) -> dict[str, Any] | None:
        return None

    def prepare(self) -> Job:
        return self.look.prepare()

    def progress(self, percent: float, message: str) -> None:
        """It is in the task's log alone."""

    def fail(self, message: str) -> None:  # noqa: ARG002 - nothing is kept of a look
        self._forget()

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import remove_job

        result = self._keep(self.look.collect(job))
        remove_job(job)
        self._forget()
        return result

    def _keep(self, found: Found) -> dict[str, Any]:
        from mir_ops.executor.pictures import draw_boxes

        look, store = self.look, self.task.ws.store
        assert look.picture is not None
        boxes = found.pictures.get(look.picture.name, [])
        drawn, written = look.folder / "seen.png", look.folder / "seen.json"
        draw_boxes(look.picture, boxes, drawn)
        found.write(written)
        return {
            "model": look.model.package.model_id,
            "stage": look.model.stage,
            "boxes": boxes,
            "picture": store.put_blob(drawn),
            "result": store.put_blob(written),
        }

    def _forget(self) -> None:
        shutil.rmtree(self.look.folder, ignore_errors=True)


def look_step(task: Task, asked: JobAsked, *, model: str, picture: str) -> LookStep:
    """Look at a picture in the sharing folder or at a URL."""

    def build() -> Look:
        from mir_ops.executor.pictures import Look

        chosen = read_model(task.ws, model)
        image = asked.image(task.ws, chosen.package.object_type)
        op_id = task.part("look", {"model": chosen.name, "image": [image.image, image.digest]})
        folder = task.ws.jobs_dir / f"{op_id[:32]}-picture"
        return Look(
            desk=asked.desk(task),
            image=image,
            model=chosen,
            config=asked.config,
            op_id=op_id,
            folder=folder,
            picture=_placed(task, picture, folder),
        )

    return LookStep(task=task, build=build)


def _placed(task: Task, picture: str, folder: Path) -> Path:
    """A copy of the picture: what is looked at stays the same from try to try."""
    from mir_ops.dataset.sharing import shared_file

    name = Path(picture.partition("?")[0]).name or "picture"
    target = folder / "picture" / name
    if target.is_file():
        return target
    with ExitStack() as stack:
        with naming("picture"):
            source = stack.enter_context(shared_file(picture, task.ws))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    return target
