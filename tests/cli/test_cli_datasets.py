"""The commands on datasets, run as a user runs them, with YMIR's spellings and with ours."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mir_ops.cli.main import main


def picture(number: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (40, 30), (number, 0, 0)).save(written, "PNG")
    return written.getvalue()


def voc(*names: str) -> str:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    objects = "".join(f"<object><name>{n}</name><bndbox>{corners}</bndbox></object>" for n in names)
    return f"<annotation>{objects}</annotation>"


def source(path: Path, first: int, *classes: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(classes, first):
            archive.writestr(f"images/{number}.png", picture(number))
            archive.writestr(f"annotations/{number}.xml", voc(name))
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh repository that knows `cat`, and is the current folder."""
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    assert main(["init"]) == 0
    labels = tmp_path / "repo/.mir/labels.yaml"
    labels.write_text("labels:\n- {id: 0, name: cat, aliases: [kitten]}\n")
    return tmp_path / "repo"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capsys.readouterr()
    code = main(["--json", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return [json.loads(line) for line in captured.out.splitlines()]


def test_the_loop_of_ymirs_guide(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, first in (("training", 0), ("val", 10)):
        folder = tmp_path / name
        with zipfile.ZipFile(source(tmp_path / f"{name}.zip", first, "cat", "kitten")) as archive:
            archive.extractall(folder)
        index = tmp_path / f"{name}.tsv"
        index.write_text("\n".join(map(str, sorted((folder / "images").iterdir()))))
        assert main(["checkout", "master"]) == 0
        words = ["import", "--index-file", str(index), "--gt-dir", f"{folder}/annotations"]
        words += ["--gen-dir", f"{tmp_path}/assets", "--unknown-types-strategy", "stop"]
        (done,) = run(capsys, *words, "--anno-type", "det-box", "--dst-rev", f"{name}@import")
        assert (done["branch"], done["tag"], done["images"]) == (name, f"{name}@import", 2)

    sources = "tr:training@import;va:val@import"
    run(capsys, "merge", "--src-revs", sources, "--dst-rev", "tr-va@merged", "-s", "host")
    (shown,) = run(capsys, "show", "--src-revs", "HEAD")
    assert shown["splits"] == {"training": 2, "validation": 2, "test": 0, "others": 0}
    assert shown["classes"] == ["cat"]

    words = ["--src-revs", "tr-va@merged", "--dst-rev", "tr-va@filtered", "-p", "person;cat"]
    assert main(["filter", *words]) == 1  # nobody declared a person
    words[-1] = "cat"
    assert run(capsys, "filter", *words)[0]["images"] == 4
    words = ["--src-revs", "tr-va@filtered", "--dst-rev", "some@x", "--count", "1"]
    assert run(capsys, "sampling", *words)[0]["images"] == 1
    words = ["--src-revs", "some@x", "--asset-dir", f"{tmp_path}/out", "--gt-dir", f"{tmp_path}/gt"]
    run(capsys, "export", *words, "--media-location", "x", "--anno-format", "voc")
    (image,) = (tmp_path / "out").glob("??/*.png")
    assert (tmp_path / "gt" / image.parent.name / f"{image.stem}.xml").exists()

    listed = {row["branch"] for row in run(capsys, "branch")}
    assert listed == {"master", "training", "val", "tr-va", "some"}
    versions = [(row["version"], row["operation"]) for row in run(capsys, "log", "tr-va")]
    assert versions[:2] == [("V2", "filter"), ("V1", "merge")]


def test_the_simple_way(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = source(tmp_path / "a.zip", 0, "cat", "dog")

    assert main(["import", str(archive), "--to", "training"]) == 1
    said = capsys.readouterr().err
    assert "error: Nobody declared these classes: `dog` (1)" in said
    assert "\n\nhint: Declare them in `labels.yaml`" in said

    words = ["import", str(archive), "--to", "training", "--unknown-types-strategy", "add"]
    (first,) = run(capsys, *words, "--report", f"{tmp_path}/left.jsonl")
    assert first["new_classes"] == ["dog"]
    assert "dog" in (repository / ".mir/labels.yaml").read_text()
    taken = {"images": 2, "labelled_images": 2, "labelled_boxes": 2}
    assert first["report"]["taken"] == taken  # type: ignore[index]
    (line,) = (tmp_path / "left.jsonl").read_text().splitlines()
    assert json.loads(line)["code"] == "class-added"

    (again,) = run(capsys, *words)
    assert (again["again"], again["commit"]) == (True, first["commit"])
    assert len(run(capsys, "log", "training")) == 1

    run(capsys, "filter", "-P", "dog", "--to", "cats")
    assert main(["diff", "training", "cats"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "images: +0 -1, 0 changed, 0 moved to another split"
    assert table[3].split() == ["ground_truth", "dog", "0", "1", "0"]


def test_a_table_is_on_stdout_and_the_rest_on_stderr(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", str(source(tmp_path / "a.zip", 0, "cat")), "--to", "a", "-m", "First"])
    capsys.readouterr()

    assert main(["log"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == [
        *("VERSION", "COMMIT", "TIME", "AUTHOR", "OPERATION", "IMAGES"),
        *("BOXES", "TAGS", "MESSAGE"),
    ]
    assert captured.out.splitlines()[1].endswith("import          1      1  -     First")
    assert captured.err == ""
    assert main(["checkout", "-b", "b"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "On branch `b`\n")


def test_a_tag_is_never_moved(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(source(tmp_path / "a.zip", 0, "cat")), "--dst-rev", "a@x"]) == 0
    assert main(["import", str(source(tmp_path / "b.zip", 5, "cat")), "--dst-rev", "a@x"]) == 1

    assert "error: The tag `a@x` exists" in capsys.readouterr().err
    assert len(run(capsys, "log", "a")) == 1


def test_branches_are_created_and_deleted(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["branch", "work"]) == 0
    assert main(["branch", "work"]) == 1
    assert "The branch `work` exists" in capsys.readouterr().err
    assert main(["branch", "-D", "work"]) == 0
    assert main(["branch", "work"]) == 0
    assert main(["branch", "-D", "master"]) == 1
    assert main(["checkout", "nowhere"]) == 1
    names = [row["branch"] for row in run(capsys, "branch", "list")]
    assert names == ["master", "work"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["logg"], 2, "No command named `logg`"),
        (["sampling", "--to", "b"], 2, "one of the arguments --count --rate is required"),
        (["import", "x.zip"], 1, "No destination is given"),
        (["import", "--to", "b"], 1, "Give one source to import"),
        (["import", "x.zip", "--to", "b"], 1, "No file or folder `x.zip`"),
        (["import", "x.zip", "--to", "b@V3"], 1, "`b@V3` cannot be a destination"),
        (["import", "x", "--to", "b", "--anno-type", "seg-cloud"], 1, "type `seg-cloud` cannot be"),
        (["show", "mastre"], 1, "No branch, tag or commit is called `mastre`"),
        (["merge", "--to", "b", "x:y"], 1, "`x` in `x:y` is not a split"),
        (["export", "--to", "o", "--format", "csv"], 1, "Cannot export as `csv:raw`"),
        (["init"], 1, "is a mir repository already"),
        (["--root", "/nonexistent", "log"], 1, "No mir repository at `/nonexistent`"),
    ],
)
def test_mistakes_say_what_and_how(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    capsys.readouterr()

    assert main(words) == code

    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err.splitlines()[0]
    assert "\n\nhint: " in captured.err
    assert captured.out == ""


def test_a_store_named_by_the_environment_needs_no_repository(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MIR_STORE", (repository / ".mir/store").as_uri())
    monkeypatch.chdir(tmp_path)

    assert [row["branch"] for row in run(capsys, "branch")] == ["master"]
    assert main(["checkout", "master"]) == 1
    assert not (tmp_path / ".mir").exists()


def test_a_sub_folder_finds_the_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(repository / "deep/er")

    assert [row["branch"] for row in run(capsys, "branch")] == ["master"]


def test_help_loads_nothing_heavy() -> None:
    code = "import sys\nfrom mir_ops.cli.main import main\n"
    code += "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "heavy = {'pyarrow', 'boto3', 'sqlalchemy', 'PIL', 'numpy', 'yaml', 'google'}\n"
    code += "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    for words in (["--help"], ["--version"], ["import", "--help"], ["log", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout


def test_every_command_is_listed_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from mir_ops.cli.main import COMMANDS

    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out

    for name in COMMANDS:
        assert f"    {name} " in listed
        with pytest.raises(SystemExit) as left:
            main([name, "--help"])
        assert left.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: mir {name}")
