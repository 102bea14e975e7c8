"""What an image says of itself, read from its files: nothing is run, nothing is believed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mir_ops.catalog import Catalog
from mir_ops.cli.jobs import find_executor
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor import ExecutorImage, bundled_image
from mir_ops.executor.images import (
    describe_folder,
    describe_image,
    described,
    executor_image,
    open_executor,
)
from mir_ops.executor.registered import with_registered
from mir_ops.executor.task_files import write_template


class Engine:
    """The calls of a Docker engine that has one image with these files in `/img-man`."""

    def __init__(self, files: Mapping[str, bytes] | None) -> None:
        self.files = files
        self.containers: list[str] = []
        self.started = False

    def inspect_image(self, image: str) -> dict[str, str]:
        from docker.errors import ImageNotFound

        if image == "nobody:1":
            raise ImageNotFound("no such image")
        return {"Id": "sha256:" + "a" * 64}

    def create_container(self, **_: object) -> dict[str, str]:
        self.containers.append("c")
        return {"Id": "c"}

    def get_archive(self, _container: str, path: str) -> tuple[Iterator[bytes], dict[str, Any]]:
        from docker.errors import NotFound

        if self.files is None:
            raise NotFound(f"no {path}")
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as archive:
            for name, content in self.files.items():
                member = tarfile.TarInfo(f"img-man/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("img-man/infer-template.yaml")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        content = written.getvalue()
        return iter([content[:700], content[700:]]), {}

    def remove_container(self, container: str, **_: object) -> None:
        self.containers.remove(container)


def test_templates_are_read_without_starting_the_image() -> None:
    engine = Engine({"training-template.yaml": b"epochs: 3\nexport_format: ark:raw\n"})

    found = describe_image("yolo:1", engine)

    assert found.templates == {2: {"train": {"epochs": 3, "export_format": "ark:raw"}}}
    assert found.digest == "sha256:" + "a" * 64
    assert engine.containers == []


def test_image_of_several_object_types_has_templates_for_each() -> None:
    files = {
        "manifest.yaml": b"object_type: [2, 3, 9]\nis_official: true\n",
        "det/training-template.yaml": b"a: 1\n",
        "semantic-seg/training-template.yaml": b"a: 2\n",
        "semantic-seg/infer-template.yaml": b"b: 3\n",
    }

    found = describe_image("all-in-one:1", Engine(files))

    assert found.object_types == (2, 3)
    assert found.templates == {2: {"train": {"a": 1}}, 3: {"train": {"a": 2}, "infer": {"b": 3}}}
    image = executor_image("x", description=found, image="x:1", object_type=3)
    assert image.template("train") == {"a": 2}
    assert yaml.safe_load(write_template(image, "infer")) == {"b": 3, "gpu_count": 0}
    with pytest.raises(InvalidInputError, match="does not find objects of type 4, but of: 2, 3"):
        executor_image("x", description=found, image="x:1", object_type=4)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"banner\nof an image: [", "is not YAML"),
        (b"- a\n- b\n", "is not a mapping"),
        (b"a: {b: 1}\n", "`a` is a mapping: templates have one level"),
        (b"!!python/object/apply:os.system [id]\n", "is not YAML"),
        (b"x" * (2 << 20), "has more than"),
    ],
)
def test_broken_template_is_a_finding(tmp_path: Path, content: bytes, finding: str) -> None:
    (tmp_path / "img-man").mkdir()
    (tmp_path / "img-man/training-template.yaml").write_bytes(content)

    found = describe_folder(tmp_path)

    assert found.templates == {}
    assert finding in found.findings[0]


def test_image_without_description_has_none() -> None:
    assert describe_image("alpine:3", Engine(None)).templates == {}


def test_image_that_a_project_names_gets_its_templates() -> None:
    named = ExecutorImage(name="yolo", image="yolo:1", network=True)
    engine = Engine({"manifest.yaml": b"object_type: 3", "training-template.yaml": b"a: 1"})

    image = described(named, engine)

    assert (image.template("train"), image.object_type, image.network) == ({"a": 1}, 3, True)
    assert image.digest is not None
    assert described(image) is image
    with pytest.raises(InvalidInputError) as caught:
        image.template("mine")
    assert str(caught.value) == "Executor `yolo` cannot mine: it has no `mining-template.yaml`"


def test_missing_image_says_how_to_get_it() -> None:
    with pytest.raises(NotFoundError) as caught:
        open_executor("nobody:1", engine=Engine({}))
    assert str(caught.value) == "The Docker engine has no image `nobody:1`"
    assert "docker pull nobody:1" in str(caught.value.hint)


def test_where_no_engine_is_templates_come_from_the_registration(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path}/catalog.db")
    image = ExecutorImage(name="yolo", image="yolo:1")

    with pytest.raises(NotFoundError, match="Nobody has registered image `yolo:1`") as caught:
        with_registered(catalog, image)

    assert "mir executor add yolo:1" in str(caught.value.hint)
    catalog.executors.add(
        name="old", image="yolo:1", folder=None, digest="sha256:1", network=False,
        run_as_root=False, protocol="1.1.0", templates={3: {"train": {"a": 1}}},
    )  # fmt: skip
    assert with_registered(catalog, image).template("train") == {"a": 1}
    assert with_registered(catalog, bundled_image("sample")) == bundled_image("sample")


def test_registered_executor_is_found_by_name_and_by_image(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path}/catalog.db")
    for network in (False, True):  # adding again replaces
        catalog.executors.add(
            name="old", image="yolo:1", folder=None, digest="sha256:1", network=network,
            run_as_root=True, protocol="0.0.0", templates={3: {"train": {"a": 1}}},
        )  # fmt: skip

    for name in ("old", "yolo:1"):
        image = find_executor(catalog, name)
        assert (image.name, image.image, image.network, image.run_as_root) == (
            "old", "yolo:1", True, True,
        )  # fmt: skip
        assert (image.protocol, image.object_type, image.digest) == ("0.0.0", 3, "sha256:1")
        assert image.template("train") == {"a": 1}
    assert len(catalog.executors.list()) == 1
