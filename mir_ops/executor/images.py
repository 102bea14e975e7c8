"""What an executor image says of itself: `/img-man`, read without running the image.

Images print banners when they start, so nothing is read from their output: the folder comes out
of the image as an archive, which is not believed either.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.executor.files import printable
from mir_ops.executor.jobs import STEMS, ExecutorImage, bundled_folder, bundled_image

if TYPE_CHECKING:
    from docker import APIClient

OBJECT_TYPES: Final = {2: "det", 3: "semantic-seg", 4: "instance-seg", 50: "multi-modal"}

_FOLDER: Final = "/img-man"
_FILE_LIMIT: Final = 1 << 20
_ARCHIVE_LIMIT: Final = 8 << 20
_MEMBERS: Final = 1000

Read = Callable[[str], bytes | None]
Templates = Mapping[int, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The manifest and the templates. `templates`: object type to kind of job to settings."""

    object_types: tuple[int, ...]
    templates: Templates
    live_code: bool = False
    official: bool = False
    readme: str = ""
    digest: str | None = None
    findings: tuple[str, ...] = field(default=())  # what is there but cannot be read


def describe_folder(folder: Path) -> Description:
    """The description of an executor's folder, which has its own `img-man`."""

    def read(name: str) -> bytes | None:
        path = folder / "img-man" / name
        return path.read_bytes()[: _FILE_LIMIT + 1] if path.is_file() else None

    return _describe(read)


def describe_image(image: str, engine: Any = None) -> Description:
    """The description of an image that the Docker engine has."""
    files, digest = _read_image(image, engine)
    return replace(_describe(files.get), digest=digest)


def executor_image(
    name: str,
    *,
    description: Description,
    image: str,
    folder: Path | None = None,
    object_type: int | None = None,
    network: bool = False,
    run_as_root: bool = False,
    protocol: str = "1.1.0",
) -> ExecutorImage:
    """What a job needs of an image, for one of the object types that it knows."""
    chosen = object_type or description.object_types[0]
    if chosen not in description.object_types:
        known = ", ".join(map(str, description.object_types))
        raise InvalidInputError(
            f"Executor `{name}` does not find objects of type {chosen}, but of: {known}",
            code="object-type",
            hint="Set `object_type` to one of them, or choose another executor",
        )
    return ExecutorImage(
        name=name,
        image=image,
        folder=folder,
        network=network,
        run_as_root=run_as_root,
        templates=description.templates.get(chosen, {}),
        object_type=chosen,
        protocol=protocol,
        digest=description.digest,
    )


def open_executor(
    name: str, *, object_type: int | None = None, engine: Any = None
) -> ExecutorImage:
    """An executor by what a person calls it: one that comes with us, a folder, or an image."""
    if "/" not in name and ":" not in name:
        try:
            bundled = bundled_image(name)
        except NotFoundError:
            pass
        else:
            return executor_image(
                name,
                description=describe_folder(bundled_folder(name)),
                image=bundled.image,
                folder=bundled.folder,
                object_type=object_type,
            )
    folder = Path(name).absolute()
    if (folder / "start.py").is_file():
        return executor_image(
            folder.name,
            description=describe_folder(folder),
            image=f"{folder.name}:local",
            folder=folder,
            object_type=object_type,
        )
    return executor_image(
        name, description=describe_image(name, engine), image=name, object_type=object_type
    )


def described(image: ExecutorImage, engine: Any = None) -> ExecutorImage:
    """The image with its own templates and digest, where nobody has read them yet."""
    if image.folder is not None or image.templates:
        return image
    found = describe_image(image.image, engine)
    kind = found.object_types[0]
    return replace(
        image,
        templates=found.templates.get(kind, {}),
        object_type=kind,
        digest=found.digest,
    )


def find_digest(image: str, engine: APIClient | None = None) -> str | None:
    """What the engine has under this name: another digest after each build, None for nothing."""
    from docker.errors import ImageNotFound

    from mir_ops.executor.engine import open_engine

    with nullcontext(engine) if engine else closing(open_engine()) as client:
        try:
            return str(client.inspect_image(image)["Id"])  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return None


def code_digest(folder: Path) -> str:
    """One digest of an executor's code: its Python files and all of `img-man`.

    Other files may be what it writes when it runs: weights, caches, logs.
    """
    whole = hashlib.sha256()
    for path in sorted({*folder.rglob("*.py"), *folder.glob("img-man/**/*")}):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{name.as_posix()}\0{digest}\n".encode())
    return f"code:{whole.hexdigest()}"


def _describe(read: Read) -> Description:
    findings: list[str] = []

    def mapping(name: str) -> dict[str, Any] | None:
        raw = read(name)
        if raw is None:
            return None
        try:
            return _read_template(name, raw)
        except InvalidInputError as error:
            findings.append(str(error))
            return None

    manifest = mapping("manifest.yaml") or {}
    given = manifest.get("object_type", 2)
    listed = given if isinstance(given, list) else [given]
    types = tuple(dict.fromkeys(kind for kind in listed if kind in OBJECT_TYPES)) or (2,)
    templates: dict[int, dict[str, dict[str, Any]]] = {}
    for kind in types:
        below = f"{OBJECT_TYPES[kind]}/" if isinstance(given, list) else ""
        for job, stem in STEMS.items():
            if (found := mapping(f"{below}{stem}-template.yaml")) is not None:
                templates.setdefault(kind, {})[job] = found
    return Description(
        object_types=types,
        templates=templates,
        live_code=bool(manifest.get("enable_livecode")),
        official=bool(manifest.get("is_official")),
        readme=(read("readme.md") or b"").decode("utf-8", errors="replace"),
        findings=tuple(findings),
    )


def _read_template(name: str, raw: bytes) -> dict[str, Any]:
    """A mapping of one level, as the contract has it; lists of plain values are values."""
    if len(raw) > _FILE_LIMIT:
        raise _bad(name, f"has more than {_FILE_LIMIT} bytes")
    try:
        content = yaml.safe_load(raw) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(name, f"is not YAML: {printable(str(error).splitlines()[0])}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _bad(name, "is not a mapping from names to values")
    for key, value in content.items():
        if isinstance(value, dict):
            raise _bad(name, f"`{printable(key)}` is a mapping: templates have one level")
    return content


def _bad(name: str, rule: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{_FOLDER}/{name}` {rule}", code="bad-template", hint="Write one `key: value` per line"
    )


def _read_image(image: str, engine: Any) -> tuple[dict[str, bytes], str]:
    """The files of `/img-man`, and the image's digest. A container is made, but never started."""
    from docker.errors import APIError, DockerException, ImageNotFound, NotFound

    from mir_ops.executor.engine import open_engine

    client = engine or open_engine()
    try:
        digest = str(client.inspect_image(image)["Id"])
        container = client.create_container(image=image, command=["true"], network_disabled=True)
        try:
            stream, _ = client.get_archive(container["Id"], _FOLDER)
            return _files_of(stream), digest
        except NotFound:
            return {}, digest
        finally:
            client.remove_container(container["Id"], force=True, v=True)
    except ImageNotFound:
        raise NotFoundError(
            f"The Docker engine has no image `{image}`",
            code="no-such-image",
            hint=f"Pull it with `docker pull {image}`; `mir executor list` shows other executors",
        ) from None
    except (APIError, DockerException) as error:
        raise StoreError(
            f"The Docker engine does not answer: {printable(str(error))}",
            code="no-docker",
            hint="Start it, or use an executor that runs as a process: `sample`, `detector`",
        ) from None


def _files_of(stream: Any) -> dict[str, bytes]:
    content = bytearray()
    for chunk in stream:
        content += chunk
        if len(content) > _ARCHIVE_LIMIT:
            raise _bad("", f"has more than {_ARCHIVE_LIMIT} bytes")
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(bytes(content)), mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= _MEMBERS:
                    break
                if member.isreg() and member.size <= _FILE_LIMIT:
                    name = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                    file = archive.extractfile(member)
                    files[str(name)] = file.read() if file is not None else b""
    except tarfile.TarError as error:
        raise _bad("", f"cannot be read: {printable(str(error))}") from None
    return files
