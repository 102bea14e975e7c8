"""`mir init --store s3://…`: colleagues, each in a folder of their own, on one store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from test_cli_datasets import run, source

from mir_ops.cli.repository import create_repository
from mir_ops.errors import MirError


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on the loopback with the bucket `team`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="team")
    yield url
    server.stop()


def test_colleagues_share_a_store_and_its_images(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://team/digits?endpoint_url={endpoint}"
    alice, bob = (["--root", str(tmp_path / name)] for name in ("alice", "bob"))
    media = f"s3://team/media?endpoint_url={endpoint}"
    run(capsys, *alice, "init", "--store", url, "--gen-dir", media)
    run(capsys, *alice, "classes", "add", "cat,kitten")
    archive = source(tmp_path / "a.zip", 0, "cat", "kitten")
    run(capsys, *alice, "import", str(archive), "--dst-rev", "street@import")

    (made,) = run(capsys, *bob, "init", "--store", url)
    assert (made["store"], made["head"]) == (url, "master")
    assert [row["aliases"] for row in run(capsys, *bob, "classes")] == [["kitten"]]
    run(capsys, *bob, "checkout", "-b", "mine", "street@import")
    run(capsys, *bob, "keywords", "add", "rain", "--to", "mine")

    assert {row["branch"] for row in run(capsys, *alice, "branch")} == {"master", "mine", "street"}
    assert [row["head"] for row in run(capsys, *alice, "branch")] == [False, False, True]
    assert [row["version"] for row in run(capsys, *alice, "search", "rian")] == ["mine@V2"]
    run(capsys, *bob, "export", "mine", "--to", str(tmp_path / "out"))
    assert len(list((tmp_path / "out/images").glob("*.png"))) == 2
    listed = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").list_objects_v2(
        Bucket="team"
    )
    keys = [entry["Key"] for entry in listed["Contents"]]
    assert {key.split("/")[0] for key in keys if "/blobs/" in key} == {"media"}


def test_a_store_out_of_reach_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(MirError):
        create_repository(tmp_path, store_url="s3://team/x?no_such_option=1")
    assert list(tmp_path.iterdir()) == []


def test_colleagues_may_give_a_class_the_same_new_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / name for name in ("alice", "bob")]
    alice, bob = (["--root", str(folder)] for folder in folders)
    for words in (alice, bob):
        run(capsys, *words, "init", "--store", str(tmp_path / "store"))
    for folder in folders:
        (folder / "labels.csv").write_text("0,,cat\n1,,dog\n")
    run(capsys, *alice, "classes", "record", "--to", "master")
    run(capsys, *bob, "log", "master")  # reads the label file, and commits nothing
    for folder in folders:
        (folder / "labels.csv").write_text("0,,feline\n1,,dog\n")

    run(capsys, *alice, "classes", "record", "--to", "master")
    run(capsys, *bob, "classes", "record", "--to", "master")

    for words in (alice, bob):
        listed = [(row["id"], row["class"]) for row in run(capsys, *words, "classes")]
        assert listed == [(0, "feline"), (1, "dog")]
