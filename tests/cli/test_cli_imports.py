"""`mir import` as a user runs it: sources of every kind, reports, and an import that was killed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from mir_ops.cli.main import main
from mir_ops.store import Store


def picture(number: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, number // 256, 0)).save(written, "PNG")
    return written.getvalue()


def voc(*names: str) -> bytes:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    objects = "".join(f"<object><name>{n}</name><bndbox>{corners}</bndbox></object>" for n in names)
    return f"<annotation>{objects}</annotation>".encode()


FILES = {
    "images/a.png": picture(1),
    "images/b.png": picture(2),
    "annotations/a.xml": voc("cat"),
}


def folder_of(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, body in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(body)
    return path


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh repository that knows `cat`, and is the current folder."""
    return new_repository(tmp_path / "repo", monkeypatch)


def new_repository(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path.mkdir()
    monkeypatch.chdir(path)
    assert main(["init"]) == 0
    (path / ".mir/labels.yaml").write_text("labels:\n- {id: 0, name: cat, aliases: [kitten]}\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    capsys.readouterr()
    code = main(["--json", *map(str, words)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    (line,) = captured.out.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(list(map(str, words))) == 1
    return capsys.readouterr().err


def store_of(repository: Path) -> Store:
    return Store.open((repository / ".mir/store").as_uri())


def test_a_tar_archive_imports_as_a_zip_does(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "data", FILES)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "data")

    done = run(capsys, "import", tmp_path / "a.tar.gz", "--to", "b")

    assert done["report"]["taken"] == {  # type: ignore[index]
        "images": 2,
        "labelled_images": 1,
        "labelled_boxes": 1,
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({f"a/b/c/d/{name}": body for name, body in FILES.items()}, "lies too deep"),
        ({"photos/a.png": picture(1), "annotations/a.xml": voc()}, "no folder `images` beside it"),
        (None, "it is a RAR archive"),
    ],
)
def test_an_archive_of_the_wrong_shape_shows_the_right_one(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: Mapping[str, bytes] | None,
    said: str,
) -> None:
    path = tmp_path / "a.rar"
    if files is None:
        path.write_bytes(b"Rar!\x1a\x07\x00" + bytes(100))
    else:
        zip_of(path, files)

    text = refused(capsys, "import", path, "--to", "b")

    assert said in text
    assert "images/         JPEG, PNG or BMP files" in text
    assert "annotations/    a file for each labelled image" in text
    assert not store_of(repository).branch("b").exists


def test_a_url_is_fetched_and_a_private_one_only_when_allowed(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "www").mkdir()
    zip_of(tmp_path / "www/a.zip", FILES)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{serving.server_port}/a.zip"
        text = refused(capsys, "import", url, "--to", "b")
        done = run(capsys, "import", url, "--to", "b", "--allow-private")
        monkeypatch.setenv("MIR_ALLOW_PRIVATE", "1")
        again = run(capsys, "import", url, "--to", "b")
        serving.shutdown()
        thread.join()

    assert "is the private address 127.0.0.1" in text
    assert (done["images"], again["again"]) == (2, True)
    tip = store_of(repository).branch("b").tip()
    assert tip.message == "Import a.zip"


def test_a_published_dataset_is_copied_with_its_labels_or_without(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "import", zip_of(tmp_path / "a.zip", FILES), "--to", "street")
    text = refused(capsys, "import", "public:street", "--to", "mine")
    assert "No dataset is published as `street`" in text
    assert "mir publish" in text
    blobs = sorted((repository / ".mir/store/blobs").rglob("*"))

    published = run(capsys, "publish", "street", "street")
    assert run(capsys, "publish", "street", "street") == published
    mine = run(capsys, "import", "public:street", "--to", "mine@copied")
    bare = run(capsys, "import", "public:street", "--to", "bare", "--anno-type", "no-annos")
    more = zip_of(tmp_path / "more.zip", {"images/c.png": picture(3)})
    run(capsys, "import", more, "--to", "more")
    joined = run(capsys, "import", "public:street", "--to", "more", "--split", "train")

    assert (mine["images"], mine["layers"]) == (2, {"ground_truth": 1})
    assert (bare["images"], bare["layers"]) == (2, {})
    assert (joined["images"], joined["layers"]) == (3, {"ground_truth": 1})
    store = store_of(repository)
    assert store.branch("more").tip().stats.splits["train"] == 2
    assert store.read("mine").assets().equals(store.read("street").assets())
    new = set(repository.glob(".mir/store/blobs/**/*")) - set(blobs)
    assert len([path for path in new if path.is_file()]) == 1  # of the other import
    assert "`public:street`" in refused(capsys, "import", "public:stret", "--to", "x")


def test_all_that_was_not_taken_is_in_a_file(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {f"images/{n}.jpg": b"no image" for n in range(1500)}
    source = zip_of(tmp_path / "a.zip", {**FILES, **broken, "annotations/z.xml": b"<annotation/>"})

    done = run(capsys, "import", source, "--to", "b")

    lines = Path(str(done["report_file"])).read_text().splitlines()
    listed = [json.loads(line) for line in lines]
    assert {line["what"] for line in listed if line["code"] == "image-format"} == set(broken)
    assert [line["what"] for line in listed if line["code"] == "annotation-without-image"] == [
        "annotations/z.xml"
    ]
    assert all(line["reason"] for line in listed)
    main(["import", str(source), "--to", "c"])
    assert "each of them: " in capsys.readouterr().out


def test_the_file_is_there_wherever_the_store_is_and_when_the_import_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["init", "--store", str(tmp_path / "store")]) == 0
    bad = zip_of(tmp_path / "bad.zip", {"images/a.jpg": b"none", "images/b.jpg": b"none"})

    assert main(["import", str(bad), "--to", "b"]) == 1

    (listed,) = (tmp_path / "here/.mir/reports").iterdir()
    assert len(listed.read_text().splitlines()) == 2
    assert f"Listed one by one: {listed}" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIR_STORE", str(tmp_path / "store"))
    mixed = zip_of(tmp_path / "mixed.zip", {"images/a.jpg": b"none", "images/b.png": picture(1)})
    assert main(["import", str(mixed), "--to", "b"]) == 0
    assert "each of them: import with `--report FILE`" in capsys.readouterr().out
    assert main(["import", str(mixed), "--to", "c", "--report", "r/left.jsonl"]) == 0
    assert len((tmp_path / "r/left.jsonl").read_text().splitlines()) == 1


def test_an_import_that_takes_everything_leaves_no_list(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(capsys, "import", zip_of(tmp_path / "a.zip", FILES), "--to", "b")

    assert done["report_file"] is None
    assert list((repository / ".mir/reports").iterdir()) == []


def test_images_lie_where_gen_dir_says_and_two_repositories_share_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zip_of(tmp_path / "a.zip", FILES)
    repositories = []
    for name in ("one", "two"):
        repositories.append(new_repository(tmp_path / name, monkeypatch))
        words = ("--gen-dir" if name == "one" else "--media-location", tmp_path / "assets")
        run(capsys, "import", source, "--to", "b", *words)

    held = [path for path in (tmp_path / "assets/blobs").rglob("*") if path.is_file()]
    assert len(held) == 2
    for repository in repositories:
        assert not [p for p in (repository / ".mir/store/blobs").rglob("*") if p.is_file()]
        version = store_of(repository).read("b")
        assert store_of(repository).get_blob(version.assets()["asset_id"][0].as_py().hex())


def test_files_are_linked_when_that_is_allowed(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "data", FILES)

    run(capsys, "import", source, "--to", "b", "--link")

    assert [(source / name).stat().st_nlink for name in FILES] == [2, 2, 1]


def test_splits_come_from_image_sets_when_asked_for(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "VOC/JPEGImages/a.png": picture(1),
        "VOC/JPEGImages/b.png": picture(2),
        "VOC/JPEGImages/c.png": picture(3),
        "VOC/Annotations/a.xml": voc("cat"),
        "VOC/ImageSets/Main/train.txt": b"a\n",
        "VOC/ImageSets/Main/val.txt": b"b 1\na\ngone\n",
        "VOC/ImageSets/Main/trainval.txt": b"a\nb\n",
        "VOC/ImageSets/Main/cat_train.txt": b"a 1\n",
    }
    source = zip_of(tmp_path / "a.zip", files)

    plain = run(capsys, "import", source, "--to", "plain")
    done = run(capsys, "import", source, "--to", "b", "--image-sets")

    store = store_of(repository)
    assert store.branch("plain").tip().stats.splits.get("train") is None
    assert store.branch("b").tip().stats.splits == {"train": 1, "val": 1, "": 1}
    issues = {issue["code"]: issue["examples"] for issue in done["report"]["issues"]}  # type: ignore[index]
    assert issues["set-without-image"] == ["VOC/ImageSets/Main/val.txt: gone"]
    assert issues["set-repeated"] == ["VOC/ImageSets/Main/val.txt: a is in train as well"]
    assert plain["commit"] != done["commit"]


def test_the_example_archive_imports_without_a_complaint(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sample-zip", "s.zip")
    first = Path("s.zip").read_bytes()
    assert "`s.zip` exists" in refused(capsys, "sample-zip", "s.zip")
    Path("s.zip").unlink()
    run(capsys, "sample-zip", "s.zip")

    done = run(capsys, "import", "s.zip", "--to", "b", "--unknown-types-strategy", "add")

    assert Path("s.zip").read_bytes() == first
    report = done["report"]
    assert report["taken"] == {"images": 4, "labelled_images": 3, "labelled_boxes": 5}  # type: ignore[index]
    assert [issue["code"] for issue in report["issues"]] == ["class-added"]  # type: ignore[index]


def test_a_repository_s_own_folder_is_imported_without_the_repository(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of(repository, FILES)

    done = run(capsys, "import", ".", "--to", "a")
    again = run(capsys, "import", ".", "--to", "a")

    assert (done["images"], again["again"]) == (2, True)
    ignored = [issue["examples"] for issue in done["report"]["issues"]]  # type: ignore[index]
    assert ignored == [["labels.csv"]]
    assert store_of(repository).read("a").commit.message == f"Import {repository.name}"


def test_a_report_reads_the_same_when_the_import_is_repeated(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", str(folder_of(tmp_path / "data", FILES)), "--to", "a"]
    capsys.readouterr()

    first, second = (main(words) or capsys.readouterr().out for _ in range(2))

    assert first == second
    assert "labelled images: 1\nlabelled boxes: 1\n" in str(first)


def test_an_archive_that_was_cut_short_is_to_be_fetched_again(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = zip_of(tmp_path / "a.zip", FILES).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])

    error = refused(capsys, "import", tmp_path / "cut.zip", "--to", "a")

    assert "is cut short" in error
    assert "hint: Copy or download it again" in error


def test_what_was_ignored_is_taken_once_the_label_file_names_it(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = zip_of(tmp_path / "a.zip", {**FILES, "annotations/b.xml": voc("dog")})
    words = ("import", source, "--to", "b", "--unknown-types-strategy", "ignore")

    assert run(capsys, *words)["layers"] == {"ground_truth": 1}
    (repository / ".mir/labels.yaml").write_text("labels:\n- {id: 0, name: cat}\n- {name: dog}\n")

    assert run(capsys, *words)["layers"] == {"ground_truth": 2}


IMAGES = 600


def blobs(store: Path) -> int:
    return sum(path.is_file() for path in store.glob("blobs/sha256/*/*"))


# A shell lets what it starts in the background be deaf to Ctrl-C, and so this.
_MIR = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mir_ops.cli.main import main
sys.exit(main())
"""


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _MIR, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


POINTS = {
    "before it began": lambda _: True,
    "when the first image was written": lambda store: blobs(store) > 0,
    "when half of the images were named": lambda store: blobs(store) > IMAGES // 2,
    "when all images were there": lambda store: blobs(store) >= IMAGES,
    "when the rows were written": lambda store: any(store.glob("seg/sha256/*/*")),
    "when the branch had moved": lambda store: any(store.glob("refs/heads/b*")),
}


@pytest.mark.parametrize("point", POINTS)
def test_an_import_that_was_killed_finishes_when_it_is_run_again(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], point: str
) -> None:
    files = {f"images/{n}.png": picture(n) for n in range(IMAGES)}
    files |= {f"annotations/{n}.xml": voc("cat") for n in range(IMAGES)}
    source = folder_of(tmp_path / "data", files)
    words = ["import", str(source), "--to", "b@first", "--json"]
    child = start(*words)
    while child.poll() is None and not POINTS[point](repository / ".mir/store"):
        time.sleep(0.001)
    child.kill()
    child.wait()

    done = run(capsys, *words)
    again = run(capsys, *words)

    store = store_of(repository)
    assert (done["images"], done["layers"]) == (IMAGES, {"ground_truth": IMAGES})
    assert (again["again"], again["commit"]) == (True, done["commit"])
    assert store.branch("b").seq == 1
    assert store.resolve("b@first").id == done["commit"]
    assert main(["store", "fsck"]) == 0


def test_ctrl_c_leaves_no_version_and_no_files_and_the_same_command_finishes(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"images/{n}.png": picture(n) for n in range(IMAGES)}
    source = folder_of(tmp_path / "data", files)
    for words, begun in (
        (("import", str(source), "--to", "b"), lambda: blobs(repository / ".mir/store") > 0),
        (("export", "b", "--to", "out"), lambda: any((repository / "out").glob("images/*.png"))),
    ):
        child = start(*words)
        while child.poll() is None and not begun():
            time.sleep(0.001)
        child.send_signal(signal.SIGINT)

        assert child.wait() == 130, words
        assert not store_of(repository).branch("b").exists or words[0] == "export"
        assert not (repository / "out").exists()
        assert main(list(words)) == 0

    assert len(list((repository / "out/images").glob("*.png"))) == IMAGES
