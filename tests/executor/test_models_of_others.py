"""Packages that come from outside: YMIR's of both generations, ours, and hostile ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError
from mir_ops.executor import collect_training, run_job
from mir_ops.executor.importing import check_classes
from mir_ops.executor.models import choose_model, export_model, import_model, promote_model
from mir_ops.workspace import Workspace

YMIR_2: dict[str, Any] = {
    "executor_config": {"class_names": ["person", "cat"], "epochs": 3},
    "task_context": {"producer": "ymir", "mAP": 0.6, "executor": "yolo:1", "type": 1},
    "stages": {
        "epoch_10": {"stage_name": "epoch_10", "files": ["a.pt"], "timestamp": 1, "mAP": 0.3},
        "epoch_50": {"stage_name": "epoch_50", "files": ["a.pt", "a.onnx"], "timestamp": 2,
                     "mAP": 0.6, "mAR": 0, "tp": 0},
    },
    "best_stage_name": "epoch_50",
    "attachments": {"section_a": ["01"]},
    "evaluate_config": {"iou_thr": 0.5, "conf_thr": 0.005},
    "object_type": 0,
    "package_version": "2.0.0",
}  # fmt: skip
FILES = {
    "epoch_10/a.pt": b"ten",
    "epoch_50/a.pt": b"fifty",
    "a.onnx": b"graph",  # at the root, as YMIR allows
    "attachments/section_a/01": b"table",
}
YMIR_1: dict[str, Any] = {
    "executor_config": {"class_names": ["person"]},
    "models": ["model.params", "model.json"],
    "task_context": {"mAP": 0.4},
}


def write_tar(path: Path, info: object, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    members = {
        **files,
        **({} if info is None else {"ymir-info.yaml": yaml.safe_dump(info).encode()}),
    }
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    from mir_ops.store import Store

    Store.open((tmp_path / "store").as_uri(), create=True)
    return Workspace(
        store_url=(tmp_path / "store").as_uri(),
        catalog_url=f"sqlite:///{tmp_path}/catalog.db",
        work_dir=tmp_path / "work",
    )


def test_package_of_ymir_2_is_taken(workspace: Workspace, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "theirs", YMIR_2, FILES)

    package = import_model(workspace, path, project_classes=["cat", "person", "dog"])

    assert list(package.stages) == ["epoch_10", "epoch_50"]
    assert package.stages["epoch_50"] == {"mAP": 0.6, "mAR": 0.0, "tp": 0.0}
    assert (package.best_stage, package.object_type) == ("epoch_50", 2)
    assert package.origin["producer"] == "ymir"
    sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
    assert choose_model(workspace, f"{sha1}@epoch_10").stage == "epoch_10"
    assert choose_model(workspace, package.model_id[:8]).stage == "epoch_50"
    exported = export_model(workspace, package, tmp_path)
    assert exported == tmp_path / package.model_id
    with tarfile.open(exported) as archive:
        assert archive.getnames() == [
            "attachments/section_a/01",
            "epoch_10/a.pt",
            "epoch_50/a.onnx",
            "epoch_50/a.pt",
            "ymir-info.yaml",
        ]


def test_package_of_ymir_1_becomes_one_stage(workspace: Workspace, tmp_path: Path) -> None:
    files = {"model.params": b"weights", "model.json": b"{}"}

    package = import_model(workspace, write_tar(tmp_path / "old", YMIR_1, files, "w:"))

    assert package.stages == {"default_best_stage": {"mAP": 0.4}}


def test_exported_model_comes_back_as_the_same(
    workspace: Workspace, tmp_path: Path, prepare
) -> None:
    job = prepare()
    run_job(job)
    trained = collect_training(job)

    package = import_model(workspace, trained.package)

    assert package.model_id == trained.model_id
    again = export_model(workspace, package, tmp_path / "again")
    assert import_model(workspace, again) == package
    assert workspace.store.get_blob(package.package) == again.read_bytes()


def test_model_is_found_in_the_folder_of_models(workspace: Workspace, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0123456789abcdef", YMIR_2, FILES)

    chosen = choose_model(workspace, "0123456789abcdef", location=tmp_path)

    assert chosen.stage == "epoch_50"
    with pytest.raises(NotFoundError) as caught:
        choose_model(workspace, "fedcba9876543210", location=tmp_path)
    assert str(caught.value) == "No model `fedcba9876543210`"
    assert path.is_file()


def test_promoted_name_means_one_stage(workspace: Workspace, tmp_path: Path) -> None:
    import_model(workspace, write_tar(tmp_path / "m", YMIR_2, FILES))
    (package,) = workspace.catalog.packages.list()

    promote_model(workspace, choose_model(workspace, f"{package.model_id}@epoch_10"), "production")

    assert choose_model(workspace, "production").name == f"{package.model_id}@epoch_10"
    assert choose_model(workspace, "production@epoch_50").stage == "epoch_50"
    with pytest.raises(InvalidInputError, match="cannot be a model's name"):
        promote_model(workspace, choose_model(workspace, "production"), "feed")
    with pytest.raises(NotFoundError) as caught:
        choose_model(workspace, "production@never")
    assert caught.value.hint == "Its stages: epoch_10, epoch_50"


def without(info: dict[str, Any], *path: str) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {key: value for key, value in info.items() if key != head}
    return {**info, head: without(info[head], *rest)}


@pytest.mark.parametrize(
    ("info", "rule"),
    [
        (None, "is none of ours or YMIR's: it has no `ymir-info.yaml`"),
        (without(YMIR_2, "task_context", "producer"), "does not say who made it"),
        (without(YMIR_2, "executor_config"), "`executor_config.class_names` is not a list"),
        ({**YMIR_2, "executor_config": {"class_names": ["a", "A "]}}, "names a class twice"),
        ({**YMIR_2, "stages": {}}, "names no stage"),
        ({**YMIR_2, "object_type": 9}, "`object_type` 9 is not one of the contract's"),
        ({**YMIR_2, "best_stage_name": "x"}, "`best_stage_name` is `'x'`, which is not a stage"),
        (
            {**YMIR_2, "stages": {"a": {"files": ["../../etc/passwd"], "mAP": 0.1}}},
            "leaves `/out/models`",
        ),
        ({**YMIR_2, "stages": {"a": {"files": ["no"], "mAP": 0.1}}}, "file `no` does not exist"),
        ({**YMIR_2, "stages": {"a": {"files": ["a.onnx"], "mAP": 7}}}, "not a number from 0 to 1"),
        ([1, 2], "is not a mapping"),
    ],
)
def test_other_packages_are_refused(
    workspace: Workspace, tmp_path: Path, info: object, rule: str
) -> None:
    path = write_tar(tmp_path / "bad", info, FILES)

    with pytest.raises(MirError) as caught:
        import_model(workspace, path)
    assert str(caught.value).startswith("Model package ")
    assert rule in str(caught.value)
    assert not workspace.catalog.packages.list()
    assert not list(workspace.work_dir.iterdir())


def test_classes_that_the_project_lacks_are_told_with_both_lists(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "m", YMIR_2, FILES)

    with pytest.raises(InvalidInputError) as caught:
        import_model(workspace, path, project_classes=["cat", "dog"])
    assert str(caught.value) == (
        "The model's classes are not the project's: it finds `person`, `cat`; "
        "the project knows `cat`, `dog`"
    )
    assert not workspace.catalog.packages.list()
    check_classes(["Cat "], ["cat"])  # names compare without case


def test_missing_file_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No model package"):
        import_model(workspace, tmp_path / "nothing")


def test_what_a_failed_training_left_is_not_promoted(workspace: Workspace, tmp_path: Path) -> None:
    package = workspace.catalog.packages.add(
        model_id="ab" * 32, package="cd" * 32, classes=("cat",), object_type=2,
        stages={"first": {"mAP": 0.1}}, best_stage="first", origin={}, state="failed",
    )  # fmt: skip
    with pytest.raises((InvalidInputError, ConflictError), match="what a failed training left"):
        promote_model(workspace, choose_model(workspace, package.model_id), "production")
