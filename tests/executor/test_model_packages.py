from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from executor_jobs import op_id

from mir_ops.errors import InvalidInputError
from mir_ops.executor import ModelFiles, collect_training, run_job
from mir_ops.executor.packages import StageFile, model_id_of


def stage_file(name: str, digest: bytes = b"\x01" * 32) -> StageFile:
    return StageFile(name=name, path=Path(name), size=1, sha256=digest)


def test_model_id_never_changes() -> None:
    # A new id here means that stored models would no longer be found by what they are.
    stages = {"best": [stage_file("b"), stage_file("a")], "first": [stage_file("a")]}
    assert model_id_of(stages, ["cat", "dog"]) == (
        "d285804bdabe76b246ee604a09b920537fe0797cb0040795e444b04a1bb91902"
    )


def test_model_id_depends_on_files_stages_and_class_order() -> None:
    stages = {"best": [stage_file("a")]}
    ids = {
        model_id_of(stages, ["cat", "dog"]),
        model_id_of(stages, ["dog", "cat"]),
        model_id_of(stages, ["catdog"]),
        model_id_of({"worst": stages["best"]}, ["cat", "dog"]),
        model_id_of({"best": [stage_file("b")]}, ["cat", "dog"]),
        model_id_of({"best": [stage_file("a", b"\x02" * 32)]}, ["cat", "dog"]),
    }
    assert len(ids) == 6


def test_package_has_ymir_s_layout_and_the_same_bytes_again(prepare) -> None:
    job = prepare()
    run_job(job)

    first = collect_training(job).package.read_bytes()
    second = collect_training(job).package.read_bytes()

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == [
            "best/model.json",
            "first/model.json",
            "results/metrics.jsonl",
            "ymir-info.yaml",
        ]
        member = archive.extractfile("ymir-info.yaml")
        assert member is not None
        info = yaml.safe_load(member.read())
    assert info["best_stage_name"] == "best"
    assert info["stages"]["best"]["mAP"] == 0.6
    assert info["executor_config"]["class_names"] == ["dog", "cat"]
    assert info["package_version"] == "2.0.0"


def test_same_training_gives_the_same_model_id(prepare) -> None:
    ids = set()
    for name in ("one", "two"):
        job = prepare(op_id=op_id(name))
        run_job(job)
        ids.add(collect_training(job).model_id)
    assert len(ids) == 1


Fill = Callable[[tarfile.TarFile], None]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Fill:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"x") if info.size else None)

    return add


def write_package(path: Path, *fill: Fill) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for add in fill:
            add(archive)
    return path


@pytest.mark.parametrize(
    ("fill", "rule"),
    [
        ([member("../../escaped")], "member `../../escaped` leaves the package"),
        ([member("/etc/escaped")], "member `/etc/escaped` leaves the package"),
        ([member("best/../../x")], "member `best/../../x` leaves the package"),
        (
            [member("best/a", tarfile.SYMTYPE, "/etc/passwd")],
            "member `best/a` is not a regular file",
        ),
        ([member("best/a", tarfile.LNKTYPE, "x")], "member `best/a` is not a regular file"),
        ([member("best/a", tarfile.CHRTYPE)], "member `best/a` is not a regular file"),
        ([member("best/a"), member("best/a")], "member `a` is there twice"),
    ],
)
def test_hostile_package_is_refused(
    prepare_candidates, tmp_path: Path, fill: list[Fill], rule: str
) -> None:
    package = write_package(tmp_path / "package.tar.gz", *fill)
    model = ModelFiles(model_id="0" * 64, package=package, class_names=("cat",), stage="best")
    with pytest.raises(InvalidInputError) as caught:
        prepare_candidates(model=model, op_id=op_id("hostile"))
    assert str(caught.value) == f"Model package {rule}"
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"x" * 1000, mtime=0)])
def test_bytes_that_are_no_package_are_refused(
    prepare_candidates, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "package").write_bytes(content)
    model = ModelFiles(
        model_id="0" * 64, package=tmp_path / "package", class_names=("cat",), stage="best"
    )
    with pytest.raises(InvalidInputError, match="Model package cannot be read"):
        prepare_candidates(model=model, op_id=op_id("broken"))
