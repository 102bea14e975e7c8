from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml
from executor_jobs import image_bytes, op_id, sha1_name
from PIL import Image

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor import ExecutorImage, Limits, ModelFiles
from mir_ops.formats.voc import read_voc
from mir_ops.store import Operation, Store, Version


def test_training_folder_follows_the_contract(prepare) -> None:
    job = prepare(config={"seed": 7, "class_names": ["ignored"], "own_key": "kept"})

    environment = yaml.safe_load((job.inputs / "env.yaml").read_text())
    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    assert environment["protocol_version"] == "1.1.0"
    assert environment["task_id"] == job.op_id
    assert (environment["run_training"], environment["run_infer"]) == (True, False)
    assert environment["input"]["training_index_file"] == "/in/train-index.tsv"
    assert environment["output"]["infer_result_file"] == "/out/infer-result.json"
    assert config["class_names"] == ["dog", "cat"]
    assert (config["seed"], config["own_key"], config["expected_map"]) == (7, "kept", 0.6)
    assert (config["gpu_id"], config["gpu_count"], config["object_type"]) == ("", 0, 2)
    assert "pretrained_model_params" not in config


def test_index_lines_name_an_image_and_its_annotation(prepare) -> None:
    job = prepare()

    lines = (job.inputs / "train-index.tsv").read_text().splitlines()
    plain = sha1_name(image_bytes(1))
    assert f"/in/assets/{plain}\t/in/annotations/{plain[:-4]}.xml" in lines
    assert f"/in/assets/{sha1_name(image_bytes(4, kind='PNG'), 'png')}" in "\n".join(lines)
    assert len(lines) == 4
    assert len((job.inputs / "val-index.tsv").read_text().splitlines()) == 3
    for line in lines:
        for path in line.split("\t"):
            assert (job.folder / path.lstrip("/")).is_file()


def test_annotations_hold_only_the_classes_asked_for(prepare) -> None:
    job = prepare(class_names=("bird",))

    path = job.inputs / "annotations" / sha1_name(image_bytes(4, kind="PNG"), "xml")
    found = read_voc(path.read_bytes())
    assert [(entry.name, entry.box) for entry in found.objects] == [("bird", (3, 3, 5, 5))]
    assert (
        read_voc(
            (job.inputs / "annotations" / sha1_name(image_bytes(1), "xml")).read_bytes()
        ).objects
        == ()
    )


def test_ark_lines_count_classes_in_the_order_asked_for(prepare) -> None:
    job = prepare(config={"export_format": "ark:raw"})

    path = job.inputs / "annotations" / sha1_name(image_bytes(1), "txt")
    assert sorted(path.read_text().splitlines()) == [
        "0, 20, 8, 25, 14, -1.0000, 0.0000",
        "1, 4, 5, 13, 16, -1.0000, 0.0000",
    ]


@pytest.mark.parametrize("asked", ["none:raw", "voc:lmdb", "nonsense"])
def test_other_export_formats_are_refused(prepare, asked: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prepare(config={"export_format": asked})
    assert str(caught.value) == f"Setting `export_format` is `{asked}`, which is not written here"


def test_turned_image_is_written_upright(prepare) -> None:
    job = prepare()

    content = image_bytes(3, orientation=6)
    with Image.open(job.inputs / "assets" / sha1_name(content)) as image:
        assert image.size == (32, 48)
        assert image.getexif().get(0x0112, 1) == 1


def test_assets_are_linked_from_the_cache_not_copied(prepare, tmp_path: Path) -> None:
    job = prepare()

    path = job.inputs / "assets" / sha1_name(image_bytes(1))
    assert path.stat().st_nlink == 2
    assert path.read_bytes() == image_bytes(1)
    assert path.stat().st_mode & 0o222 == 0


def test_changed_cache_file_is_fetched_again(prepare) -> None:
    path = prepare().inputs / "assets" / sha1_name(image_bytes(1))
    path.chmod(0o644)
    path.write_bytes(b"changed by an executor")

    other = prepare(op_id=op_id("other"))

    path = other.inputs / "assets" / sha1_name(image_bytes(1))
    assert path.read_bytes() == image_bytes(1)


def test_turned_image_is_upright_in_the_job_alone(prepare, tmp_path: Path) -> None:
    prepare()

    content = image_bytes(3, orientation=6)
    digest = hashlib.sha256(content).hexdigest()
    assert (tmp_path / "cache" / digest[:2] / digest).read_bytes() == content


def test_prepared_again_it_is_the_same_folder(prepare) -> None:
    job = prepare()
    (job.outputs / "monitor.txt").write_text("a container is still writing")

    again = prepare()

    assert again == job
    assert (job.outputs / "monitor.txt").exists()


def test_other_settings_start_over(prepare) -> None:
    job = prepare()
    (job.outputs / "monitor.txt").write_text("of other settings")

    prepare(config={"seed": 1})

    assert not (job.outputs / "monitor.txt").exists()


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        (["dog", "wolf"], "Classes unknown to the dataset: `wolf`"),
        ([], "No classes to train"),
        (["dog", "DOG"], "A class is named twice, perhaps once by an alias"),
    ],
)
def test_wrong_classes_are_refused_before_anything_is_written(
    prepare, tmp_path: Path, class_names: list[str], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prepare(class_names=class_names)
    assert str(caught.value) == message
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("split", "code"), [("train", "empty-training-set"), ("val", "empty-validation-set")]
)
def test_split_without_labels_is_refused(
    store: Store, version: Version, prepare, split: str, code: str
) -> None:
    assets = version.assets()
    ids = assets.filter([value == split for value in assets["split"].to_pylist()])["asset_id"]
    with store.edit(
        f"without-{split}",
        op_id=op_id(f"without {split}"),
        operation=Operation(kind="test", parameters={}),
        message="Forget labels",
        base=version.commit,
    ) as edit:
        edit.clear_layer("ground_truth", ids)

    with pytest.raises(InvalidInputError) as caught:
        prepare(version=store.read(edit.commit))
    assert caught.value.code == code
    assert f"no labelled asset in split `{split}`, but {len(ids)} without" in str(caught.value)


def test_shm_size_of_the_image_wins(prepare) -> None:
    assert prepare(config={"shm_size": "128G"}).limits.shm_bytes == 128 << 30


def test_image_without_template_for_the_kind_is_refused(prepare, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    image = ExecutorImage(name="bare", image="x:1", folder=tmp_path / "bare")
    with pytest.raises(InvalidInputError) as caught:
        prepare(image=image)
    assert str(caught.value) == "Executor `bare` cannot train: it has no `training-template.yaml`"


def test_gpus_are_counted_from_zero_inside(prepare) -> None:
    job = prepare(limits=Limits(gpus=2, gpu_ids=("3", "5")))
    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    assert (config["gpu_id"], config["gpu_count"]) == ("0,1", 2)


def test_inference_gets_candidates_and_the_stage(prepare_candidates, model: ModelFiles) -> None:
    job = prepare_candidates(mine=True)

    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    lines = (job.inputs / "candidate-index.tsv").read_text().splitlines()
    assert len(lines) == 13
    assert all((job.folder / line.lstrip("/")).is_file() for line in lines)
    assert config["model_params_path"] == ["/in/models/best/model.json"]
    assert (config["run_infer"], config["run_mining"]) == (True, True)
    assert config["class_names"] == ["dog", "cat"]
    assert (job.inputs / "models" / "ymir-info.yaml").is_file()


def test_missing_stage_is_named(prepare_candidates, model: ModelFiles) -> None:
    other = ModelFiles(
        model_id=model.model_id, package=model.package, class_names=("a",), stage="never"
    )
    with pytest.raises(NotFoundError) as caught:
        prepare_candidates(model=other, op_id=op_id("other"))
    assert str(caught.value) == f"Model `{model.model_id[:12]}` has no files for stage `never`"


def test_training_can_start_from_a_model_in_the_store(
    store: Store, prepare, model: ModelFiles
) -> None:
    assert isinstance(model.package, Path)
    stored = ModelFiles(
        model_id=model.model_id,
        package=store.put_blob(model.package),
        class_names=model.class_names,
        stage="first",
    )

    job = prepare(model=stored, op_id=op_id("fine-tune"))

    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    assert config["pretrained_model_params"] == ["/in/models/first/model.json"]


def test_candidate_that_is_not_in_the_version_is_named(prepare_candidates) -> None:
    import pyarrow as pa

    with pytest.raises(NotFoundError, match="1 of 1 assets are not in version"):
        prepare_candidates(asset_ids=pa.array([b"\x07" * 32], pa.binary(32)), op_id=op_id("none"))
