"""Model packages: YMIR's tar.gz, written reproducibly and read without trusting it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

import yaml

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import check_inside, printable
from mir_ops.executor.jobs import Job, ModelFiles

if TYPE_CHECKING:
    from mir_ops.executor.stages import StageResult
    from mir_ops.store import Store

INFO: Final = "ymir-info.yaml"
_UNPACKED_LIMIT: Final = 16 << 30
_MEMBERS: Final = 20_000
_CHUNK: Final = 1 << 20
_ATTACHABLE: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a package says about its model: `ymir-info.yaml`, as YMIR 2 reads it."""

    config: Mapping[str, Any]  # of its training: `config.yaml` as the executor got it
    task: Mapping[str, Any]
    stages: Sequence[StageResult]
    best: StageResult
    object_type: int
    attachments: Mapping[str, Sequence[StageFile]]
    evaluate_config: Mapping[str, float]
    environment: Mapping[str, Any]  # ours: the image and versions that it was trained with

    def to_mapping(self) -> dict[str, Any]:
        return {
            "executor_config": dict(self.config),
            "task_context": {
                "mAP": 0.0,
                **self.task,
                **self.best.metrics,
                "object_type": self.object_type,
            },
            "stages": {
                stage.name: {
                    "stage_name": stage.name,
                    "files": [file.name for file in stage.files],
                    "timestamp": stage.timestamp,
                    **stage.metrics,
                }
                for stage in self.stages
            },
            "best_stage_name": self.best.name,
            "model_hash": "",
            "stage_name": "",
            "attachments": {
                section: [file.name for file in files]
                for section, files in self.attachments.items()
            },
            "evaluate_config": dict(self.evaluate_config),
            "object_type": self.object_type,
            "package_version": "2.0.0",
            "environment": dict(self.environment),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFile:
    """One file of a stage where the executor left it."""

    name: str
    path: Path
    size: int
    sha256: bytes


def open_stage_file(path: Path, *, name: str, root: Path) -> StageFile:
    """Measure and hash a stage file, refusing links and devices."""
    digest = hashlib.sha256()
    size = 0
    with _opened(path, root=root) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return StageFile(name=name, path=path, size=size, sha256=digest.digest())


def model_id_of(stages: Mapping[str, Sequence[StageFile]], class_names: Sequence[str]) -> str:
    """The identity of a model: what its files are and what its outputs mean."""
    # Every id depends on every byte here: a change needs a new first line.
    digest = hashlib.sha256(b"mir-model 1\n")
    fields: list[bytes] = [name.encode() for name in class_names]
    digest.update(len(fields).to_bytes(8, "big"))
    for stage in sorted(stages):
        for file in sorted(stages[stage], key=lambda file: file.name):
            fields += [stage.encode(), file.name.encode(), file.sha256]
    for field in fields:
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest.hexdigest()


def write_package(
    path: Path, info: ModelInfo, *, root: Path, results: Sequence[StageFile] = ()
) -> Path:
    """Pack a model whose files lie below `root`: the same files and info give the same bytes."""
    members = [
        *((f"{stage.name}/{file.name}", file) for stage in info.stages for file in stage.files),
        *(
            (f"attachments/{section}/{file.name}", file)
            for section, files in info.attachments.items()
            for file in files
        ),
        *((f"results/{file.name}", file) for file in results),
    ]
    text = yaml.safe_dump(info.to_mapping(), sort_keys=True, allow_unicode=True).encode()
    with _packing(path) as archive:
        for name, file in sorted(members, key=lambda member: member[0]):
            with _opened(file.path, root=root) as content:
                _add(archive, name, file.size, content)
        _add(archive, INFO, len(text), io.BytesIO(text))
    return path


def pack_folder(folder: Path, path: Path, *, root: Path) -> Path | None:
    """Pack the regular files of a folder that an executor wrote; None where there are none."""
    found = []
    for directory, _, names in os.walk(folder):
        found += [Path(directory, name) for name in names]
        if len(found) > _MEMBERS:
            return None
    files = [file for name in sorted(found) if (file := find_attachable(name, str(name), root))]
    if not files:
        return None
    with _packing(path) as archive:
        for file in files:
            with _opened(file.path, root=root) as content:
                _add(archive, str(file.path.relative_to(folder)), file.size, content)
    return path


def find_attachable(path: Path, name: str, root: Path) -> StageFile | None:
    """A file that may come along, or None where it is missing, large, or not a plain file."""
    try:
        status = path.lstat()
        plain = stat.S_ISREG(status.st_mode) and status.st_size <= _ATTACHABLE
        return open_stage_file(path, name=name, root=root) if plain else None
    except (OSError, ExecutorOutputError):
        return None


@contextmanager
def _packing(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar.gz that appears complete or not at all, with nothing in it of this moment."""
    partial = path.with_name(f"{path.name}.partial")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield archive
    os.replace(partial, path)


def unpack_stage(store: Store, model: ModelFiles, job: Job) -> list[str]:
    """Put one stage of a package under `in/models`; returns the paths that the executor sees."""
    package = model.package
    if isinstance(package, str):
        fetched = job.folder / "package.tar.gz"
        store.fetch_blob(package, fetched)
        package = fetched
    target = job.inputs / "models"
    names = [
        name.removeprefix(f"{model.stage}/")
        for name in unpack(package, target, wanted=lambda path: path.parts[0] == model.stage)
    ]
    if not names:
        raise NotFoundError(
            f"Model `{model.model_id[:12]}` has no files for stage `{model.stage}`",
            code="no-such-stage",
            hint="Choose one of the model's stages",
        )
    if job.image.protocol.startswith("0."):  # YMIR 1.1.0 knew no stages
        for child in (target / model.stage).iterdir():
            child.rename(target / child.name)
        (target / model.stage).rmdir()
        return [f"/in/models/{name}" for name in sorted(names)]
    return [f"/in/models/{model.stage}/{name}" for name in sorted(names)]


def unpack(
    package: Path, target: Path, *, wanted: Callable[[PurePosixPath], bool] = lambda _: True
) -> list[str]:
    """Unpack what is wanted, and `ymir-info.yaml`; returns the other files, as they are named.

    Nothing of the archive is believed: no links, no devices, no way out of `target`, bounds.
    """
    try:
        return _unpack(package, target, wanted)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise refused(f"cannot be read: {printable(str(error))}") from None


def _unpack(package: Path, target: Path, wanted: Callable[[PurePosixPath], bool]) -> list[str]:
    names: list[str] = []
    room = _UNPACKED_LIMIT
    with tarfile.open(package, mode="r|gz" if _is_gzip(package) else "r|") as archive:
        for number, member in enumerate(archive):
            path = _check_member(number, member)
            if path is None or not (str(path) == INFO or wanted(path)):
                continue
            room -= member.size
            if room < 0:
                raise refused(f"has more than {_UNPACKED_LIMIT} bytes")
            content = archive.extractfile(member)
            assert content is not None
            _write_member(target / path, content)
            if str(path) != INFO:
                names.append(str(path))
    return names


def _is_gzip(package: Path) -> bool:
    """YMIR's are; one that somebody packed again may be a plain tar."""
    with package.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_member(number: int, member: tarfile.TarInfo) -> PurePosixPath | None:
    """The member's path inside the package; None for a folder."""
    if number >= _MEMBERS:
        raise refused(f"has more than {_MEMBERS} members")
    if member.isdir():
        return None
    path = PurePosixPath(member.name)
    if not member.isreg():
        raise refused(f"member `{printable(member.name)}` is not a regular file")
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in member.name:
        raise refused(f"member `{printable(member.name)}` leaves the package")
    return path


def _write_member(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
    except FileExistsError:
        raise refused(f"member `{printable(path.name)}` is there twice") from None


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    archive.addfile(member, content)


@contextmanager
def _opened(path: Path, *, root: Path) -> Iterator[IO[bytes]]:
    check_inside(path, root=root)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _not_a_file(path, root, error.strerror or "") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _not_a_file(path, root, "not a regular file")
        yield file


def _not_a_file(path: Path, root: Path, reason: str) -> ExecutorOutputError:
    return ExecutorOutputError(
        f"Output `{printable(str(path.relative_to(root)))}` cannot be taken: {reason}",
        hint="The executor breaks the contract: report it to the author of its image",
    )


def refused(rule: str) -> InvalidInputError:
    """A package that cannot be taken, and why."""
    return InvalidInputError(
        f"Model package {rule}",
        code="bad-model-package",
        hint="Import or train the model again",
    )
