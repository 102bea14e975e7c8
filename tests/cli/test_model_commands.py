"""`mir train`, `models` and `executor` where a person gets something wrong, or looks around."""

from __future__ import annotations

import json
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from PIL import Image
from test_guide_sequence import write_set

from mir_ops.cli.main import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a trained model, and a picture beside it."""
    folder = tmp_path_factory.mktemp("models")
    repository = folder / "repo"
    repository.mkdir()
    root = ["--root", str(repository)]
    assert main(["init", *root]) == 0
    labels = "labels:\n- {id: 0, name: person}\n- {id: 1, name: cat}\n"
    (repository / ".mir/labels.yaml").write_text(labels)
    for split, first in (("train", 0), ("val", 50)):
        index = write_set(folder / split, first, 4)
        words = ["import", "--index-file", str(index), "--gt-dir", f"{folder / split}/annotations"]
        assert main([*words, "--split", split, "--to", "data", *root]) == 0
    words = ["train", "--src-revs", "data", "--to", "m0", "--executor", "sample", *root]
    assert main([*words, "--tensorboard-dir", f"{folder}/boards"]) == 0
    return folder


@pytest.fixture
def at(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world / "repo")
    return world


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main([*words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def records(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in said(capsys, "--json", *words)[0].splitlines()]


def test_models_are_described_deleted_and_restored(at: Path, capsys) -> None:
    (before,) = records(capsys, "models", "list")
    id_ = str(before["model"])

    (described,) = records(
        capsys, "models", "describe", id_[:8], "--title", "First", "--best-stage", "first"
    )
    (deleted,) = records(capsys, "models", "delete", id_)

    assert (described["title"], described["best_stage"]) == ("First", "first")
    assert deleted["deleted"] is not None
    assert records(capsys, "models", "list") == []
    (gone,) = records(capsys, "models", "list", "--deleted")
    assert (gone["model"], gone["title"]) == (id_, "First")
    _, told = said(capsys, "models", "export", id_, "--to", "x", code=1)
    assert f"Model `{id_[:12]}` was deleted" in told
    records(capsys, "models", "restore", id_[:8])
    records(capsys, "models", "describe", id_, "--title", "", "--best-stage", "best")
    assert records(capsys, "models", "list") == [before]


def test_models_are_listed_shown_and_promoted(at: Path, capsys) -> None:
    (listed,) = records(capsys, "models", "list")
    assert (listed["stages"], listed["best"]) == (["first", "best"], "best")
    assert listed["metric"] == "mAP 0.6"
    said(capsys, "models", "promote", str(listed["model"])[:10])

    (shown,) = records(capsys, "models", "show", "production")

    assert shown["model"] == listed["model"]
    assert shown["classes"] == ["person", "cat"]
    assert records(capsys, "models", "list")[0]["name"] == "production"


def test_verify_writes_the_picture_with_boxes_and_json(at: Path, capsys) -> None:
    picture = at / "look.jpg"
    Image.new("RGB", (80, 60), (9, 9, 9)).save(picture)
    (listed,) = records(capsys, "models", "list")
    words = ["models", "verify", str(listed["model"]), str(picture), "--executor", "sample"]

    (found,) = records(capsys, *words, "--to", f"{at}/seen.png")

    assert len(found["boxes"]) == 2  # type: ignore[arg-type]
    with Image.open(at / "seen.png") as drawn:
        assert drawn.size == (80, 60)
        assert len(drawn.getcolors(10_000) or []) > 1
    content = json.loads((at / "seen.json").read_text())
    assert content["detection"]["look.jpg"]["boxes"] == found["boxes"]
    more = {"executor_config": {"boxes_per_image": 5}}
    (at / "more.yaml").write_text(yaml.safe_dump(more))
    (found,) = records(
        capsys, *words, "--to", f"{at}/p.png", "--task-config-file", f"{at}/more.yaml"
    )
    assert len(found["boxes"]) == 5  # type: ignore[arg-type]
    (at / "text.jpg").write_text("no picture")
    words[3] = str(at / "text.jpg")
    assert "hint: " in said(capsys, *words, code=1)[1]


def test_infer_on_files_writes_a_result(at: Path, capsys) -> None:
    (listed,) = records(capsys, "models", "list")
    words = ["infer", "--index-file", f"{at}/val/index.tsv", "-w", f"{at}/work"]

    (found,) = records(capsys, *words, "--model-hash", str(listed["model"]), "--executor", "sample")

    assert found["images"] == 4
    content = json.loads(Path(str(found["file"])).read_text())
    assert set(content["detection"]) == {"050.png", "051.png", "052.png", "053.png"}


def test_model_travels_to_another_repository(at: Path, tmp_path: Path, capsys) -> None:
    (listed,) = records(capsys, "models", "list")
    (written,) = records(
        capsys, "models", "export", str(listed["model"]), "--to", str(tmp_path / "p")
    )
    (tmp_path / "other").mkdir()
    root = ["--root", str(tmp_path / "other")]
    assert main(["init", *root]) == 0

    error = said(capsys, "models", "import", str(written["file"]), *root, code=1)[1]
    assert "it finds `person`, `cat`; the project knows none" in error

    words = ["models", "--package-path", str(written["file"]), "--unknown-types-strategy", "add"]
    (taken,) = records(capsys, *words, "--model-location", f"{tmp_path}/models", *root)
    assert taken["model"] == listed["model"]
    assert (tmp_path / "models" / str(taken["model"])).is_file()
    assert "person" in (tmp_path / "other/.mir/labels.yaml").read_text()


def test_a_copied_version_brings_its_models_whatever_store_the_environment_names(
    at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (listed,) = records(capsys, "models", "list")
    (written,) = records(capsys, "models", "export", str(listed["model"]), "--to", f"{tmp_path}/a")
    words = [
        "infer",
        "--src-revs",
        "data",
        "--to",
        "predicted",
        "--model-hash",
        str(listed["model"]),
    ]
    said(capsys, *words, "--executor", "sample")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    said(capsys, "init")
    monkeypatch.setenv("MIR_STORE", (tmp_path / "other/.mir/store").as_uri())
    copy = ["copy", "--src-root", str(at / "repo"), "--unknown-types-strategy", "add"]

    (trained,) = records(capsys, *copy, "m0", "--to", "m0")
    (predicted,) = records(capsys, *copy, "predicted", "--to", "predicted")

    (taken,) = records(capsys, "models", "list")
    assert {key: taken[key] for key in listed if key not in ("name", "created")} == {
        key: listed[key] for key in listed if key not in ("name", "created")
    }
    assert trained["models"] == predicted["models"] == [listed["model"]]
    (again,) = records(capsys, "models", "export", str(listed["model"]), "--to", f"{tmp_path}/b")
    assert Path(str(again["file"])).read_bytes() == Path(str(written["file"])).read_bytes()
    store = (at / "repo/.mir/store").as_uri()
    bare = ["copy", "--src-root", store, "--unknown-types-strategy", "add", "m0", "--to", "m1"]
    assert "Models stay behind" in said(capsys, *bare)[1]
    assert main(["store", "fsck", "deep"]) == 0


def test_model_is_imported_from_a_url(at: Path, tmp_path: Path, capsys) -> None:
    (listed,) = records(capsys, "models", "list")
    said(capsys, "models", "export", str(listed["model"]), "--to", str(tmp_path / "package"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/package"

        assert said(capsys, "models", "import", url, code=1)[1].startswith("error: ")
        (taken,) = records(capsys, "models", "import", url, "--allow-private")
        server.shutdown()

    assert taken["model"] == listed["model"]


def test_failed_training_keeps_the_stages_it_wrote(at: Path, tmp_path: Path, capsys) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"executor_config": {"misbehave": "dies_after_stage"}}))
    dying = executor_that(
        tmp_path / "dying",
        "task.write_stage('early', {'w': b'1'}, mean_ap=0.2)",
        "raise MemoryError",
    )

    words = ["train", "--src-revs", "data", "--to", "m1", "--executor", str(dying)]
    error = said(capsys, *words, code=1)[1]

    assert "code 300103: out of memory" in error
    assert "stages: early" in error
    failed = [row for row in records(capsys, "models", "list") if row["state"] == "failed"]
    assert [row["stages"] for row in failed] == [["early"]]
    assert "m1" not in {row["branch"] for row in records(capsys, "branch")}


def test_attachments_and_tensorboard_travel_with_the_model(
    at: Path, tmp_path: Path, capsys
) -> None:
    showing = executor_that(
        tmp_path / "showing",
        "task.write_stage('only', {'w': b'1'}, mean_ap=0.4)",
        "task.attach('errors', 'table.csv', b'cat,3')",
        "board = task.outputs / 'tensorboard/run'",
        "board.mkdir(parents=True)",
        "(board / 'events.1').write_bytes(b'curves')",
        "(board / 'linked').symlink_to('/etc/passwd')",
    )
    words = ["train", "--src-revs", "data", "--to", "shown", "--executor", str(showing)]
    words += ["--tensorboard-dir", f"{tmp_path}/boards", "--model-location", f"{tmp_path}/models"]

    (trained,) = records(capsys, *words)

    boards = [path for path in (tmp_path / "boards").rglob("*") if not path.is_dir()]
    assert [(path.name, path.read_bytes()) for path in boards] == [("events.1", b"curves")]
    with tarfile.open(str(trained["file"])) as archive:
        table = archive.extractfile("attachments/errors/table.csv")
        assert table is not None
        assert table.read() == b"cat,3"
    (shown,) = records(capsys, "models", "show", str(trained["model"]))
    assert shown["origin"]["tensorboard"]  # type: ignore[index]


def executor_that(folder: Path, *lines: str) -> Path:
    """An executor whose training does this."""
    (folder / "img-man").mkdir(parents=True)
    from_sdk = Path(__file__).parents[2] / "executors/sdk/mir_executor"
    (folder / "mir_executor").symlink_to(from_sdk)
    (folder / "img-man/training-template.yaml").write_text("seed: 0\n")
    body = "".join(f"    {line}\n" for line in lines)
    text = f"from mir_executor import run\ndef train(task):\n{body}run(train=train)\n"
    (folder / "start.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"class_names": ["wolf"], "executor_config": {}}, None),
        ({"executor_config": {"class_names": ["wolf"]}}, "does not know: `wolf`"),
        ({"executor_config": {"class_names": ["cat", "cat"]}}, "A class is named twice"),
        ({"executor_config": {"class_names": 3}}, "not a list of names"),
        ({"task_context": {}}, "has no `executor_config`"),
        ({"seed": 1}, "lacks keys of the template of `sample`"),
        ({"seed": 1}, "with `mir executor templates sample --type training`"),
        ({"executor_config": {"seed": None}}, "empties keys of the template"),
        (["a"], "is not a mapping"),
    ],
)
def test_wrong_settings_are_refused(
    at: Path, tmp_path: Path, capsys, content: object, rule: str | None
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    words = ["train", "--src-revs", "data", "--executor", "sample"]
    words += ["--task-config-file", str(tmp_path / "c.yaml"), "--to", f"m-{tmp_path.name}"]
    if rule is None:  # keys beside `executor_config` mean nothing
        assert said(capsys, *words)[0]
        return
    error = said(capsys, *words, code=1)[1]
    assert rule in error
    assert "hint: " in error


def test_settings_train_as_they_were_written(at: Path, tmp_path: Path, capsys) -> None:
    said(capsys, "executor", "templates", "sample", "--type", "training", "--output", "t.yaml")
    words = ["train", "--src-revs", "data", "--executor", "sample", "--task-config-file", "t.yaml"]

    (trained,) = records(capsys, *words, "--to", "as-written")

    (shown,) = records(capsys, "models", "show", str(trained["model"]))
    assert shown["classes"] == ["person", "cat"]


def test_a_package_goes_into_a_folder_that_is_named_as_one(
    at: Path, tmp_path: Path, capsys
) -> None:
    model = str(records(capsys, "models", "list")[0]["model"])

    said(capsys, "models", "export", model, "--to", f"{tmp_path}/new/")
    said(capsys, "models", "export", model, "--to", f"{tmp_path}/file")

    assert [path.name for path in (tmp_path / "new").iterdir()] == [model]
    assert (tmp_path / "file").is_file()


def test_more_gpus_than_are_visible_are_refused(
    at: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    words = ["train", "--src-revs", "data", "--executor", "sample", "--to", "visible"]

    error = said(capsys, *words, "--gpus", "2", code=1)[1]

    assert "2 GPUs are asked for, and CUDA_VISIBLE_DEVICES is `3`" in error
    assert said(capsys, *words, "--gpus", "1")[0]


def test_template_is_written_and_may_gain_keys(at: Path, tmp_path: Path, capsys) -> None:
    text = said(capsys, "executor", "templates", "sample", "--type", "training")[0]
    content = yaml.safe_load(text)
    assert content["class_names"] == []
    content |= {"class_names": ["cat"], "seed": 7, "own_key": "kept"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    words = ["train", "--src-revs", "data", "--executor", "sample", "-w", str(tmp_path / "w")]

    said(capsys, *words, "--task-config-file", str(tmp_path / "c.yaml"), "--to", "own")

    (config,) = (tmp_path / "w").glob("*/in/config.yaml")
    written = yaml.safe_load(config.read_text())
    assert (written["class_names"], written["seed"], written["own_key"]) == (["cat"], 7, "kept")


def test_executors_are_listed_and_added(at: Path, tmp_path: Path, capsys) -> None:
    said(capsys, "executor", "new", "mine", "--to", str(tmp_path / "mine"))
    (added,) = records(capsys, "executor", "add", str(tmp_path / "mine"), "--network")
    assert added["does"] == "training, mining, infer"

    listed = {row["executor"]: row for row in records(capsys, "executor", "list")}

    assert {"sample", "detector", "mine"} <= listed.keys()
    assert listed["mine"]["notes"] == "network"
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/start.py").write_text("")
    assert "it is no executor" in said(capsys, "executor", "add", str(tmp_path / "bare"), code=1)[1]


def test_scaffold_passes_the_conformance_kit(tmp_path: Path, capsys) -> None:
    said(capsys, "executor", "new", "mine", "--to", str(tmp_path / "mine"))

    clauses = records(capsys, "executor", "check", str(tmp_path / "mine"))

    states = {str(clause["clause"]): clause["state"] for clause in clauses}
    assert "failed" not in states.values()
    assert [name for name, state in states.items() if state == "not claimed"] == [
        "infer-probs",
        "infer-embeddings",
    ]
    assert (
        "is not empty"
        in said(capsys, "executor", "new", "mine", "--to", str(tmp_path / "mine"), code=1)[1]
    )


@pytest.mark.docker
def test_scaffold_s_image_passes_the_conformance_kit(
    engine: Any, sample_image: str, tmp_path: Path, capsys
) -> None:
    said(capsys, "executor", "new", "mine", "--to", str(tmp_path / "mine"))
    image = f"mir-tests/mine:{tmp_path.name.replace('_', '-')}"
    base = {"BASE_IMAGE": "mir-ops/base:bookworm"}
    engine.images.build(path=str(tmp_path / "mine"), tag=image, buildargs=base, rm=True)
    try:
        clauses = records(capsys, "executor", "check", image)
    finally:
        engine.images.remove(image, force=True)

    assert "failed" not in {clause["state"] for clause in clauses}
    assert sum(clause["state"] == "passed" for clause in clauses) == 24


@pytest.mark.parametrize("name", ["Bad", "a/b", "a--", "-a", ""])
def test_a_name_that_no_image_can_have_is_refused(tmp_path: Path, capsys, name: str) -> None:
    words = ["executor", "new", "--to", str(tmp_path / "new"), "--", name]

    assert "cannot be an image's name" in said(capsys, *words, code=1)[1]
    assert not (tmp_path / "new").exists()


def test_kit_names_the_clauses_that_a_bad_image_breaks(tmp_path: Path, capsys) -> None:
    said(capsys, "executor", "new", "bad", "--to", str(tmp_path / "bad"))
    start = tmp_path / "bad/start.py"
    text = start.read_text()
    text = text.replace("(candidate.path, 0.0) for", "(candidate.path, float('nan')) for")
    text = text.replace("if not items or not task.validation_items():", "if False:")
    start.write_text(text.replace("candidate.name: [] for", "candidate.name[1:]: [] for"))

    clauses = [
        json.loads(line)
        for line in said(capsys, "--json", "executor", "check", str(tmp_path / "bad"), code=1)[
            0
        ].splitlines()
    ]

    failed = {
        clause["clause"]: clause["detail"] for clause in clauses if clause["state"] == "failed"
    }
    assert failed.keys() == {"train-nothing", "infer-result", "mine-result"}
    assert "was not a candidate" in failed["infer-result"]
    assert "has no finite score" in failed["mine-result"]
