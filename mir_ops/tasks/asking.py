"""What a run of one step asks for, and the names that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError, MirError
from mir_ops.rounds.place import Place
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor.jobs import ExecutorImage
    from mir_ops.executor.models import ChosenModel
    from mir_ops.executor.tasks import Desk
    from mir_ops.store import Version

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run's one operation, kept on a branch.

    `params` are what the run asks for as it was asked. They and the place make the operation's
    id: however the branches that they name move meanwhile, a run is one operation.
    """

    ws: Workspace
    place: Place
    branch: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def op_id(self) -> str:
        return self.part("result")

    def part(self, name: str, inputs: Mapping[str, Any] | None = None) -> str:
        """The id of one part of the operation; `inputs` are what it was found to depend on."""
        return self.place.op_id(
            {"part": name, "branch": self.branch, "params": dict(self.params), **(inputs or {})}
        )

    @property
    def project(self) -> str | None:
        """The project that the branch is one of, whose people see it in the console."""
        return project_of(self.ws, self.branch)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the commit says of where it comes from."""
        return {"project": self.project, "run": self.place.run_id}


def project_of(ws: Workspace, branch: str) -> str | None:
    """The key of the project that a branch is one of."""
    key, slash, _ = branch.partition("/")
    known = {each.key for each in ws.catalog.projects.list()} if slash else set()
    return key if key in known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAsked:
    """Which executor does the work, with which settings, and what it may use."""

    executor: str
    config: Mapping[str, Any] = field(default_factory=dict)
    gpus: int = 0
    memory_gib: float = 8.0
    hours: float = 24.0

    def image(self, ws: Workspace, object_type: int | None = None) -> ExecutorImage:
        from mir_ops.executor.images import find_digest
        from mir_ops.executor.registered import find_known

        with naming("executor"):
            image = find_known(ws.catalog, self.executor, object_type)
        if ws.runner == "docker":  # it may have been built anew since it was registered
            return replace(image, digest=find_digest(image.image, ws.engine))
        if ws.runner == "process" and image.folder is None:
            raise InvalidInputError(
                f"`executor`: `{self.executor}` is an image, and this deployment runs executors "
                "as processes",
                code="executor-needs-containers",
                hint="Set the runner `docker` in the connection, or name another executor",
            )
        return image

    def desk(self, task: Task) -> Desk:
        from mir_ops.executor.jobs import Limits
        from mir_ops.executor.tasks import Desk

        return Desk(
            ws=task.ws,
            runner=task.ws.runner,
            jobs_dir=task.ws.jobs_dir,
            cache_dir=task.ws.cache_dir,
            limits=Limits(
                time_seconds=self.hours * 3600,
                memory_bytes=int(self.memory_gib * _GIB),
                gpus=self.gpus,
            ),
            labels=task.place.labels(),
        )


@contextmanager
def naming(param: str, *, hint: str | None = None) -> Iterator[None]:
    """Say of an error which parameter it is about; `hint` replaces one that is for a command."""
    try:
        yield
    except MirError as error:
        error.args = (f"`{param}`: {error}",)
        error.hint = hint or error.hint
        raise


def read_version(ws: Workspace, rev: str, *, param: str = "dataset") -> Version:
    """The dataset version that a parameter names: a branch, `branch@tag`, or a commit."""
    with naming(param):
        return ws.store.read(rev)


def read_model(ws: Workspace, name: str, *, param: str = "model") -> ChosenModel:
    """The model that a parameter names: an id, which may be cut short, `id@stage`, or a name."""
    from mir_ops.executor.models import choose_model

    with naming(param, hint="The models are in `mir models list`; import one with `model_import`"):
        return choose_model(ws, name)
