"""Model packages: YMIR's tar.gz, written reproducibly and read without trusting it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
    from mir_ops.store import Store

_INFO: Final = "ymir-info.yaml"
_STAGE_LIMIT: Final = 16 << 30
_MEMBERS: Final = 20_000
_CHUNK: Final = 1 << 20


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
    job: Job, stages: Mapping[str, Sequence[StageFile]], *, info: Mapping[str, Any]
) -> Path:
    """Pack the stages: the same files and info give the same bytes."""
    path = job.folder / "model.tar.gz"
    partial = path.with_suffix(".partial")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for stage in sorted(stages):
            for file in sorted(stages[stage], key=lambda file: file.name):
                with _opened(file.path, root=job.outputs) as content:
                    _add(archive, f"{stage}/{file.name}", file.size, content)
        text = yaml.safe_dump(dict(info), sort_keys=True, allow_unicode=True).encode()
        _add(archive, _INFO, len(text), io.BytesIO(text))
    os.replace(partial, path)
    return path


def unpack_stage(store: Store, model: ModelFiles, job: Job) -> list[str]:
    """Put one stage of a package under `in/models`; returns the paths that the executor sees."""
    package = model.package
    if isinstance(package, str):
        fetched = job.folder / "package.tar.gz"
        store.fetch_blob(package, fetched)
        package = fetched
    target = job.inputs / "models"
    try:
        names = _unpack(package, model.stage, target)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refused(f"cannot be read: {printable(str(error))}") from None
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


def _unpack(package: Path, stage: str, target: Path) -> list[str]:
    names: list[str] = []
    room = _STAGE_LIMIT
    with tarfile.open(package, mode="r|gz") as archive:
        for number, member in enumerate(archive):
            path = _check_member(number, member)
            if path is None or not (str(path) == _INFO or path.parts[0] == stage):
                continue
            room -= member.size
            if room < 0:
                raise _refused(f"stage `{stage}` has more than {_STAGE_LIMIT} bytes")
            content = archive.extractfile(member)
            assert content is not None
            _write_member(target / path, content)
            if str(path) != _INFO:
                names.append(str(path.relative_to(stage)))
    return names


def _check_member(number: int, member: tarfile.TarInfo) -> PurePosixPath | None:
    """The member's path inside the package; None for a folder."""
    if number >= _MEMBERS:
        raise _refused(f"has more than {_MEMBERS} members")
    if member.isdir():
        return None
    path = PurePosixPath(member.name)
    if not member.isreg():
        raise _refused(f"member `{printable(member.name)}` is not a regular file")
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in member.name:
        raise _refused(f"member `{printable(member.name)}` leaves the package")
    return path


def _write_member(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
    except FileExistsError:
        raise _refused(f"member `{printable(path.name)}` is there twice") from None


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


def _refused(rule: str) -> InvalidInputError:
    return InvalidInputError(
        f"Model package {rule}",
        code="bad-model-package",
        hint="Import or train the model again",
    )
