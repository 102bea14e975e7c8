"""A model looks at one picture: by the DAG `model_verify`, or under `mir view` in this process.

The picture is a stranger's: it is bounded while it arrives, decoded before anything else sees it,
and lies for a day under a name that nobody can guess.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from starlette.concurrency import run_in_threadpool

from mir_ops.errors import InvalidInputError, MirError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import Executor
    from mir_ops.console.runs import Runs
    from mir_ops.console.sources import Sources
    from mir_ops.workspace import Workspace

LONGEST: Final = 32 << 20  # bytes of a picture
FOLDER: Final = "looked-at"
DAG: Final = "model_verify"
_TASK: Final = "verify_model"
_MOST_PIXELS: Final = 60_000_000
_SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp"}
TYPES: Final = {".jpg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp"}
_KEPT_SECONDS: Final = 24 * 3600
_BUNDLED: Final = ("detector", "torchvision", "sample")

State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that was sent, and decoded once."""

    name: str  # stands for it in addresses
    path: Path

    @property
    def media_type(self) -> str:
        return TYPES[self.path.suffix]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How far a look is. Boxes are as `infer-result.json` has them, in pixels."""

    state: State
    boxes: tuple[Mapping[str, Any], ...] = ()
    message: str | None = None
    address: str | None = None  # of the run in Airflow


class Looks(Protocol):
    """Who does the looking."""

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        ...

    def start(self, picture: Picture, *, model: str, executor: str) -> None: ...

    def read(self, name: str) -> Look: ...


async def take_picture(parts: AsyncIterator[bytes], folder: Path) -> Picture:
    """Write what arrives into the folder, and keep it if it is a picture that can be decoded."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_old(folder)
    name = secrets.token_hex(16)
    partial = folder / f".{name}.partial"
    try:
        await _write(parts, partial)
        path = folder / f"{name}{await run_in_threadpool(_decoded, partial)}"
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Picture(name=name, path=path)


def find_picture(folder: Path, name: str) -> Picture:
    """A picture that was sent, by its name; nothing else in the folder can be named."""
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        for suffix in TYPES:
            path = folder / f"{name}{suffix}"
            if path.is_file() and not path.is_symlink():
                return Picture(name=name, path=path)
    raise NotFoundError(
        "No such picture; they are kept for a day", code="no-such-picture", hint="Send it again"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LooksInAirflow:
    """Starts the DAG with the caller's own rights. `sharing` holds `folder`."""

    runs: Runs
    sharing: Path
    folder: Path

    def start(self, picture: Picture, *, model: str, executor: str) -> None:
        asked = {
            "model": model,
            "picture": str(picture.path.relative_to(self.sharing)),
            "executor": executor,
        }
        self.runs.start(DAG, asked, run_id=_run_of(picture.name))

    def read(self, name: str) -> Look:
        run = _run_of(name)
        address = self.runs.run_address(DAG, run)
        match self.runs.state(DAG, run):
            case "success":
                found = self.runs.result(DAG, run, _TASK)
                return Look(state="done", boxes=tuple(found["boxes"]), address=address)
            case "failed":
                return Look(state="failed", address=address)
            case _:
                return Look(state="waiting", address=address)


@dataclass(kw_only=True)
class LooksHere:
    """One after the other in a thread of this process, as `mir models verify` does it."""

    workspace: Workspace
    _one: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="look")
    )
    _begun: dict[str, Future[list[dict[str, Any]]]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.workspace.work_dir / FOLDER

    def start(self, picture: Picture, *, model: str, executor: str) -> None:
        self._begun[picture.name] = self._one.submit(
            _look, self.workspace, picture.path, model, executor
        )

    def read(self, name: str) -> Look:
        begun = self._begun.get(name)
        if begun is None:
            raise NotFoundError("Nobody looks at this picture", code="no-such-look")
        if not begun.done():
            return Look(state="waiting")
        try:
            return Look(state="done", boxes=tuple(begun.result()))
        except MirError as error:
            return Look(state="failed", message=str(error))


def looks_of(sources: Sources, runs: Runs | None, project: str) -> Looks | None:
    """Airflow's, those of this process, or None: then it takes the command line."""
    if runs is None:
        return sources.looks
    if sources.sharing_dir is None:
        return None
    folder = sources.sharing_dir / FOLDER / project
    return LooksInAirflow(runs=runs, sharing=sources.sharing_dir, folder=folder)


def executors_for(executors: list[Executor], image: object) -> list[str]:
    """Names of executors that may use a model, first the one that trained it."""
    names = [each.name for each in executors] + [
        name for name in _BUNDLED if name not in {each.name for each in executors}
    ]
    own = {each.name for each in executors if each.image == image}
    text = str(image or "")
    mine = [name for name in names if name in own or (not own and name in text)]
    return [*mine, *(name for name in names if name not in mine)]


def _look(ws: Workspace, path: Path, model: str, executor: str) -> list[dict[str, Any]]:
    from mir_ops.executor.jobs import Limits
    from mir_ops.executor.models import choose_model
    from mir_ops.executor.pictures import predict_on_files
    from mir_ops.executor.registered import find_known
    from mir_ops.executor.tasks import Desk

    chosen = choose_model(ws, model)
    image = find_known(ws.catalog, executor, chosen.package.object_type)
    desk = Desk(
        ws=ws,
        runner="docker" if image.folder is None else "process",
        jobs_dir=ws.jobs_dir,
        cache_dir=ws.cache_dir,
        limits=Limits(time_seconds=3600),
    )
    found = predict_on_files(desk, image, chosen, {}, picture=path)
    return found.pictures.get(path.name, [])


def _run_of(name: str) -> str:
    return f"console__{name}"


async def _write(parts: AsyncIterator[bytes], path: Path) -> None:
    size = 0
    with path.open("xb") as file:
        async for part in parts:
            size += len(part)
            if size > LONGEST:
                raise InvalidInputError(
                    f"The picture has more than {LONGEST >> 20} MB",
                    code="picture-too-large",
                    hint="Send a smaller one",
                )
            file.write(part)


def _decoded(path: Path) -> str:
    """The suffix of an image that really is one."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=tuple(_SUFFIXES)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise _not_a_picture("it has too many pixels")
                suffix = _SUFFIXES[str(image.format)]
                image.load()
                return suffix
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise _not_a_picture("it cannot be decoded") from None


def _not_a_picture(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"This is no picture that a model can look at: {why}",
        code="not-a-picture",
        hint="Send a JPEG, PNG or BMP file",
    )


def _forget_old(folder: Path) -> None:
    """Pictures of yesterday go when the next one comes."""
    oldest = time.time() - _KEPT_SECONDS
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                Path(entry.path).unlink(missing_ok=True)
