"""Versions on the command line: going to any, tags, words, classes, restored branches."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from test_cli_datasets import picture, run, source

from mir_ops.cli.main import main


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A branch `street`: V1 has two cats, V2 a dog besides."""
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    monkeypatch.setenv("MIR_AUTHOR", "alice")
    assert main(["init"]) == 0
    assert main(["classes", "add", "cat,kitten", "dog"]) == 0
    for number, classes in enumerate((["cat", "cat"], ["dog"])):
        archive = source(tmp_path / f"{number}.zip", 10 * number, *classes)
        assert main(["import", str(archive), "--dst-rev", f"street@part{number}"]) == 0
    return tmp_path / "repo"


def fails(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    return capsys.readouterr().err


def test_any_version_can_be_checked_out(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = run(capsys, "log", "street")
    assert [(row["version"], row["tags"]) for row in versions] == [
        ("V2", ["street@part1"]),
        ("V1", ["street@part0"]),
    ]
    for rev in ("street@V1", "street@part0", str(versions[1]["commit"])[:10]):
        (moved,) = run(capsys, "checkout", rev)
        assert moved["commit"] == versions[1]["commit"]
        assert run(capsys, "show")[0]["images"] == 2
        assert len(run(capsys, "log")) == 1
    run(capsys, "checkout", "street")
    assert run(capsys, "show", "HEAD@V1")[0]["images"] == 2

    run(capsys, "checkout", "-b", "old", "street@V1")
    assert run(capsys, "show")[0]["images"] == 2
    assert [row["version"] for row in run(capsys, "log")] == ["V1", None]
    assert "No branch, tag or commit is called `stret`" in fails(capsys, "checkout", "stret")
    assert "Did you mean `street`" in fails(capsys, "checkout", "stret")


def test_what_alice_committed_says_so(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["author"] for row in run(capsys, "log", "street")} == {"alice"}


def test_a_deleted_branch_comes_back_with_its_history(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "checkout", "master")
    run(capsys, "branch", "-D", "street")
    assert "street" not in [row["branch"] for row in run(capsys, "branch")]
    assert "No branch" in fails(capsys, "log", "street")

    run(capsys, "branch", "--restore", "street")

    assert run(capsys, "show", "street")[0]["images"] == 3
    assert [row["operation"] for row in run(capsys, "log", "street")] == [
        *("restore", "import", "import")
    ]
    assert "is not deleted" in fails(capsys, "branch", "--restore", "street")


def test_a_tag_is_given_to_any_version_once(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "tag", "street@good", "street@V1")
    run(capsys, "tag", "release")

    assert [row["tag"] for row in run(capsys, "tag")] == [
        *("release", "street@good", "street@part0", "street@part1")
    ]
    assert run(capsys, "show", "street@good")[0]["images"] == 2
    assert run(capsys, "show", "release")[0]["tags"] == ["release"]
    assert "names another commit" in fails(capsys, "tag", "street@good", "street@V2")


def test_show_begins_as_ymir_did(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "keywords", "add", "rain;night", "--to", "street")
    capsys.readouterr()

    assert main(["show", "--src-rev", "street@part1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "cat;dog\n"
        "\n"
        "metadatas.mir: 3 assets, tr: 0, va: 0, te: 0, unknown: 3\n"
        "annotations.mir: hid: part1, 3 assets\n"
        "tasks.mir: hid: part1\n"
        "\n"
        "street@V2 "
    )
    assert main(["show", "street", "--verbose"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1] == "rain;night"
    assert "width: 40 to 40 pixels\n" in printed


def test_diff_says_everything_that_changed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "merge", "tr:street@V1", "--to", "training")
    run(capsys, "classes", "rename", "dog", "hound")
    run(capsys, "classes", "add", "bird")
    run(capsys, "classes", "record", "--to", "training")

    (diff,) = run(capsys, "diff", "street@V2", "training")

    assert (diff["images_added"], diff["images_removed"], diff["split_moved"]) == (0, 1, 2)
    assert diff["splits"] == [{"from": None, "to": "train", "images": 2}]
    assert (diff["classes_added"], diff["classes_removed"]) == (["bird"], [])
    assert diff["classes_renamed"] == [["dog", "hound"]]
    assert diff["covered"] == {"ground_truth": {"added": 0, "removed": 1, "changed": 0}}
    assert main(["diff", "street@V2", "training"]) == 0
    printed = capsys.readouterr().out
    assert "split none to train: 2 images\n" in printed
    assert "class renamed: dog to hound\n" in printed
    assert run(capsys, "diff", "--src-revs", "street@V2;training") == [diff]
    assert "needs two revisions, not 3" in fails(capsys, "diff", "a", "b", "c")


def test_a_renamed_class_keeps_its_boxes(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "labels.csv").write_text("0,,cat,kitten\n1,,hound\n")
    run(capsys, "classes", "record", "--to", "street")

    (shown,) = run(capsys, "show", "street")
    assert shown["layers"]["ground_truth"]["classes"]["hound"] == {"boxes": 1, "images": 1}  # type: ignore[index]
    assert run(capsys, "show", "street@V2")[0]["classes"] == ["cat", "dog"]
    assert [row["class"] for row in run(capsys, "classes", "list", "street")] == ["cat", "hound"]
    assert "has these classes already" in fails(
        capsys, "classes", "record", "--to", "street", code=0
    )
    # The name stays with its class in this store.
    run(capsys, "classes", "add", "bird")
    run(capsys, "classes", "record", "--to", "street")
    assert "`dog` is the name of another class" in fails(capsys, "classes", "rename", "bird", "dog")


def test_a_broken_label_file_stops_every_command(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".mir/labels.yaml").write_text("labels: [{id: 3, name: cat}]")

    for words in (["log"], ["show"], ["branch"], ["filter", "-p", "cat", "--to", "x"]):
        assert "entry 0 has the id 3, expected 0" in fails(capsys, *words)


def test_two_repositories_share_labels_through_a_link(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two/.mir").mkdir(parents=True)
    link = tmp_path / "two/.mir/labels.yaml"
    link.symlink_to(repository / ".mir/labels.yaml")

    run(capsys, "--root", str(tmp_path / "two"), "init")
    run(capsys, "--root", str(tmp_path / "two"), "classes", "add", "bird")

    assert link.is_symlink()
    assert [row["class"] for row in run(capsys, "classes")] == ["cat", "dog", "bird"]


def test_two_repositories_share_their_images(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assets = tmp_path / "assets"
    for name in ("two", "three"):
        root = ["--root", str(tmp_path / name)]
        run(capsys, *root, "init", "--media-location", str(assets))
        run(
            capsys, *root, "import", str(tmp_path / "0.zip"), "--to", "a", "--anno-type", "no-annos"
        )
        assert not (tmp_path / name / ".mir/store/blobs").exists()

    assert len([path for path in assets.rglob("blobs/**/*") if path.is_file()]) == 2
    out = tmp_path / "out"
    run(capsys, "--root", str(tmp_path / "three"), "export", "a", "--to", str(out))
    assert len(list((out / "images").glob("*.png"))) == 2


def test_classes_go_in_and_out_as_files(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "classes", "export", f"{tmp_path}/out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["0,,cat,kitten", "1,,dog"]
    run(capsys, "classes", "export", f"{tmp_path}/out.yaml", "--rev", "street@V1")
    (tmp_path / "more.csv").write_text("0,,bird,parrot\n1,,dog,hound\n")

    dry = run(capsys, "classes", "import", f"{tmp_path}/more.csv", "--check-only")
    assert [row["class"] for row in run(capsys, "classes")] == ["cat", "dog"]
    assert run(capsys, "classes", "import", f"{tmp_path}/more.csv") == dry
    assert [(row["class"], row["state"]) for row in dry] == [("dog", "changed"), ("bird", "added")]
    (tmp_path / "more.csv").write_text("0,,fish\n1,,wolf,cat\n")
    assert "`cat` is used twice" in fails(capsys, "classes", "import", f"{tmp_path}/more.csv")
    assert [row["class"] for row in run(capsys, "classes")] == ["cat", "dog", "bird"]


def test_a_colleague_starts_with_the_classes_of_the_store(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "classes", "rename", "dog", "hound")
    run(capsys, "classes", "record", "--to", "street")

    store = (repository / ".mir/store").as_uri()
    run(capsys, "--root", str(tmp_path / "bob"), "init", "--store", store)

    (tmp_path / "bob").joinpath("labels.csv").read_text()
    classes = run(capsys, "--root", str(tmp_path / "bob"), "classes")
    assert [(row["class"], row["aliases"]) for row in classes] == [
        ("cat", ["kitten"]),
        ("hound", ["dog"]),
    ]


def test_keywords_are_found_again(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "keywords", "add", "rain", "night", "--dst-rev", "street@wet")
    run(capsys, "keywords", "remove", "rain", "--to", "street")

    assert run(capsys, "keywords", "street@V3")[0]["keywords"] == ["rain", "night"]
    assert run(capsys, "keywords", "street")[0] | {"commit": ""} == {
        "rev": "street",
        "commit": "",
        "classes": ["cat", "dog"],
        "keywords": ["night"],
    }
    found = [row["version"] for row in run(capsys, "search", "rain nigth")]
    assert found[0] == "street@V3"
    assert [row["tag"] for row in run(capsys, "search", "--tag", "wet")] == ["street@wet"]
    assert run(capsys, "search", "--tag", "we") == []
    assert run(capsys, "search", "kitten", "-n", "1")[0]["matched"] == ["class kitten"]
    assert "Nothing is given to search for" in fails(capsys, "search")
    assert "It has none of these keywords" in fails(
        capsys, "keywords", "remove", "sun", "--to", "street", code=0
    )


def test_master_gains_and_the_feature_follows(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "merge", "street@V1", "--to", "master")
    run(capsys, "checkout", "-b", "cats", "master")
    run(capsys, "filter", "-p", "cat", "--to", "cats")
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("images/99.png", picture(99))
    run(capsys, "import", str(archive), "--to", "master")
    run(capsys, "merge", "master", "street", "--to", "master")

    (done,) = run(capsys, "update", "cats", "--from", "master", "--dst-rev", "cats@new")
    assert (done["images"], done["tag"], len(done["replayed"])) == (2, "cats@new", 1)  # type: ignore[arg-type]
    (again,) = run(capsys, "update", "cats", "--from", "master")
    assert (again["commit"], again["images"]) == (done["commit"], 2)
    run(capsys, "import", str(archive), "--to", "stranger")
    said = fails(capsys, "update", "cats", "--from", "stranger")
    assert "`cats` does not come from `stranger`: they have no version in common" in said


def test_a_pasted_comment_and_a_misspelt_option_are_explained(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, "merge", "--src-revs", "street", " ", code=2)
    assert "take away the space and the comment behind it" in said
    assert "hint: Did you mean `--version`?" in fails(capsys, "--vesion", code=2)
    assert "hint: Did you mean `--dst-rev`?" in fails(capsys, "filter", "--dst-revs", "a", code=2)
    said = fails(capsys, "merge", "--dst-rev", "a@b", "--src-revs", "tr:street@part0", code=0)
    assert said == "Only one revision was merged: quote a list, the shell cuts it at `;`\n"
    said = fails(capsys, "merge", "--src-revs", "tr:street@part0")
    assert "The shell cuts a list at `;` unless it is quoted" in said


def test_bash_completes_commands_options_and_revisions(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    names = "\\n".join(run(capsys, "completion", "revisions")[0]["revisions"])  # type: ignore[call-overload]

    def completed(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        lines = [
            script,
            f"mir() {{ printf '{names}'; }}",
            f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _mir",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("mir", "chec") == ["checkout"]
    assert completed("mir", "filter", "--ex-c") == ["--ex-cis"]
    assert completed("mir", "--json", "show", "str") == ["street", "street@part0", "street@part1"]
    assert completed("mir", "classes", "ren") == ["rename"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(
    repository: Path, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    capsys.readouterr()
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out

    assert all(word in script for word in ("checkout", "ex-cis", "completion revisions"))


def test_every_command_answers_in_json(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["log"],
        ["show"],
        ["branch"],
        ["branch", "b"],
        ["checkout", "b"],
        ["tag", "t"],
        ["tag"],
        ["classes"],
        ["keywords"],
        ["search", "street"],
        ["diff", "street@V1"],
        ["completion", "bash"],
    ):
        capsys.readouterr()
        assert main([*words, "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines, words
        assert all(isinstance(json.loads(line), dict) for line in lines)
