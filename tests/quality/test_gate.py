"""The gate on versions in a real store: what our own rules find, and what the report says."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from mir_ops.errors import InvalidInputError
from mir_ops.quality import (
    Finding,
    GateFailedError,
    GateReport,
    check,
    default_rules_dir,
)
from mir_ops.store import Operation, Store, Version, operation_id, schema
from mir_ops.taxonomy import Taxonomy

Box = tuple[str, tuple[float, float, float, float]]
WHEN = datetime(2021, 1, 1, tzinfo=UTC)


def asset(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class Data:
    """Commits small versions: images by name, each with its boxes, or None for unlabelled."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(f"file://{folder}", create=True)
        self.ids = self.store.register_classes(["car", "dog", "person", "tree"])
        self.taxonomy = Taxonomy.from_names(
            {name: self.ids[name] for name in ("car", "dog", "person")}
        )

    def version(
        self,
        branch: str,
        images: dict[str, list[Box] | None],
        *,
        splits: dict[str, str] | None = None,
    ) -> Version:
        op_id = operation_id("test", {"branch": branch})
        operation = Operation(kind="import", parameters={}, inputs=())
        labelled = [name for name, boxes in images.items() if boxes is not None]
        with self.store.edit(branch, op_id=op_id, operation=operation, message="test") as edit:
            edit.put_taxonomy(self.taxonomy)
            edit.put_assets(_assets(list(images), splits or {}))
            edit.put_layer(
                "ground_truth",
                self._boxes(images),
                assets=pa.array([asset(name) for name in labelled], schema.ASSET_ID),
            )
        return self.store.read(branch)

    def _boxes(self, images: dict[str, list[Box] | None]) -> pa.Table:
        rows = [
            {
                "asset_id": asset(name),
                "annotation_id": number,
                "class_id": self.ids[class_name],
                "kind": "box",
                **dict(zip("xywh", box, strict=True)),
            }
            for name, boxes in images.items()
            for number, (class_name, box) in enumerate(boxes or [])
        ]
        return pa.Table.from_pylist(rows, schema=schema.GROUND_TRUTH)


def _assets(names: Sequence[str], splits: dict[str, str]) -> pa.Table:
    rows = [
        {
            "asset_id": asset(name),
            "media_type": "image/png",
            "width": 100,
            "height": 80,
            "channels": 3,
            "byte_size": 1000,
            "orientation": 1,
            "source_names": [name],
            "split": splits.get(name),
            "added_at": WHEN,
            "ymir_sha1": hashlib.sha1(name.encode()).digest(),
        }
        for name in names
    ]
    return pa.Table.from_pylist(rows, schema=schema.ASSETS)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path / "store")


GOOD: Box = ("car", (10, 10, 20, 20))
ALL: list[Box] = [GOOD, ("dog", (0, 0, 100, 80)), ("person", (50, 50, 5, 5))]


def broken(report: GateReport) -> dict[str, Finding]:
    return {f"{finding.table}/{finding.rule}": finding for finding in report.broken}


def test_good_data_passes(data: Data) -> None:
    training = data.version("training", {"a": ALL, "b": [], "c": [GOOD]})
    validation = data.version("validation", {"v": ALL})

    report = check(training=training, validation=validation)

    assert not report.blocked
    assert report.broken == ()
    assert report.message() == f"All {len(report.findings)} rules hold"
    assert report.tables == {"assets": 4, "annotations": 7, "classes": 3, "splits": 4}
    assert report.versions == {"training": training.commit.id, "validation": validation.commit.id}
    report.raise_if_blocked()


def test_boxes_must_be_inside_and_not_empty(data: Data) -> None:
    boxes: dict[str, tuple[float, float, float, float]] = {
        "inside-left": (-1, 10, 20, 20),
        "inside-top": (10, -1, 20, 20),
        "inside-right": (90, 10, 20, 20),
        "inside-bottom": (10, 70, 20, 20),
        "width-positive": (10, 10, 0, 20),
        "height-positive": (10, 10, 20, 0),
        "not-tiny": (10, 10, 1, 20),
        "touches the edge": (79.7, 59.7, 20.7, 20.7),
    }
    bad: dict[str, list[Box] | None] = {name: [("car", box)] for name, box in boxes.items()}
    training = data.version("training", {"a": ALL, **bad})

    report = check(training=training, validation=data.version("validation", {"v": ALL}))

    found = {
        finding.rule: {example.key for example in finding.examples} for finding in report.broken
    }
    expected = {name: {asset(name).hex()} for name in boxes if name != "touches the edge"}
    expected["not-tiny"] |= expected["width-positive"] | expected["height-positive"]
    assert found == expected
    assert {finding.checked for finding in report.broken} == {14}
    assert {finding.rule for finding in report.broken if not finding.blocks} == {"not-tiny"}
    assert report.blocked


def test_a_box_that_is_no_number_blocks(data: Data) -> None:
    training = data.version("training", {"a": ALL, "bad": [("car", (10, 10, float("nan"), 20))]})

    report = check(training=training, validation=None)

    assert report.blocked
    assert "1 of 4 values of `w` are missing or not finite" in report.message()
    json.loads(report.to_json())


def test_unknown_classes_block(data: Data) -> None:
    training = data.version("training", {"a": ALL, "bad": [("tree", (1, 1, 9, 9))]})
    validation = data.version("validation", {"v": ALL})

    report = check(training=training, validation=validation)

    (finding,) = report.broken
    assert finding.line() == (
        "[critical] annotations/class-known: 1 of 7 rows, for example "
        f"bad {asset('bad').hex()[:12]} (class_id {data.ids['tree']}, source training)"
    )
    assert report.blocked


def test_a_project_with_fewer_classes_does_not_know_the_others(data: Data) -> None:
    training = data.version("training", {"a": ALL})
    validation = data.version("validation", {"v": ALL})

    report = check(training=training, validation=validation, classes={data.ids["car"]: "car"})

    assert broken(report)["annotations/class-known"].failed == 4
    assert report.tables["classes"] == 1


def test_an_image_in_training_and_validation_blocks(data: Data) -> None:
    training = data.version("training", {"a": ALL, "both": [GOOD]})
    validation = data.version("validation", {"v": ALL, "both": [GOOD]})

    report = check(training=training, validation=validation)

    (finding,) = report.broken
    assert finding.rule == "no-leakage"
    assert (finding.failed, finding.checked) == (1, 3)
    example = finding.examples[0]
    assert (example.name, example.key) == ("both", asset("both").hex())
    assert example.values == "n_splits 2, splits train+val"
    assert report.blocked


def test_a_name_that_a_terminal_would_obey_is_made_harmless(data: Data) -> None:
    name = "\x1b[2J\n<b>evil"

    report = check(training=data.version("training", {"a": ALL, name: None}), validation=None)

    line = broken(report)["assets/labelled"].line()
    assert "?[2J?<b>evil " in line
    assert line.isprintable()


def test_a_new_label_for_a_validation_image_blocks(data: Data) -> None:
    training = data.version("training", {"a": ALL, "v": ALL}, splits={"a": "train", "v": "val"})
    incoming = data.version("labels", {"n": [GOOD], "v": [GOOD]})

    report = check(training=training, validation=None, incoming=incoming)

    assert set(broken(report)) == {"splits/no-leakage"}


def test_a_class_without_boxes_blocks_until_there_are_enough(data: Data) -> None:
    training = data.version("training", {"a": [GOOD, GOOD], "b": [("dog", (1, 1, 9, 9))]})
    validation = data.version("validation", {"v": ALL})

    report = check(training=training, validation=validation, parameters={"min_boxes": 2})

    finding = broken(report)["classes/enough-boxes"]
    assert (finding.failed, finding.checked) == (2, 3)
    assert finding.line() == (
        "[critical] classes/enough-boxes: 2 of 3 rows, for example "
        "dog (train_boxes 1), person (train_boxes 0)"
    )
    assert report.parameters["min_boxes"] == 2

    incoming = data.version("labels", {"n": [*ALL, ("person", (9, 9, 9, 9))]})
    again = check(
        training=training,
        validation=validation,
        incoming=incoming,
        parameters={"min_boxes": 2},
    )
    assert not again.blocked


def test_a_version_that_is_training_and_incoming_counts_once(data: Data) -> None:
    training = data.version("training", {"a": ALL})

    report = check(
        training=training, validation=None, incoming=training, parameters={"min_boxes": 2}
    )

    assert report.tables["annotations"] == 3
    assert broken(report)["classes/enough-boxes"].failed == 3


def test_warnings_do_not_block(data: Data) -> None:
    training = data.version("training", {"a": ALL, "unlabelled": None})

    report = check(training=training, validation=None)

    assert set(broken(report)) == {"assets/labelled", "classes/measurable"}
    assert not report.blocked
    assert report.message().startswith(
        f"2 of {len(report.findings)} rules do not hold, none of them stops the round:\n[warning] "
    )


def test_a_version_without_any_box_blocks(data: Data) -> None:
    report = check(training=data.version("training", {"a": [], "b": None}), validation=None)

    assert report.blocked
    assert broken(report)["annotations/has-boxes"].error == "the table is empty"


def test_an_empty_version_blocks(data: Data) -> None:
    report = check(training=data.version("training", {}), validation=None)

    assert report.blocked
    assert {finding.status for finding in report.findings} >= {"error"}


def test_a_failed_gate_names_rule_count_and_examples(data: Data) -> None:
    training = data.version("training", {"a": ALL, "bad": [("car", (90, 10, 20, 20))] * 3})
    report = check(training=training, validation=data.version("validation", {"v": ALL}))

    with pytest.raises(GateFailedError) as caught:
        report.raise_if_blocked()

    example = f"bad {asset('bad').hex()[:12]} (right_gap -10, source training)"
    assert str(caught.value) == (
        f"The gate is closed: 1 of {len(report.findings)} rules do not hold:\n"
        "[critical] annotations/inside-right: 3 of 9 rows, for example "
        f"{example}, {example}, {example}"
    )
    assert caught.value.code == "gate-failed"
    assert isinstance(caught.value, InvalidInputError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (GateFailedError, str(caught.value))


def test_a_rule_is_added_without_code(data: Data, tmp_path: Path) -> None:
    rules = Path(shutil.copytree(default_rules_dir(), tmp_path / "rules"))
    (rules / "assets.yaml").write_text(
        (rules / "assets.yaml").read_text()
        + "- id: few-boxes\n  type: expect_column_values_to_be_between\n"
        "  kwargs: {column: boxes, max_value: {$PARAMETER: most}}\n  severity: info\n"
    )
    training = data.version("training", {"a": ALL, "b": [GOOD]})

    report = check(
        training=training,
        validation=data.version("validation", {"v": [GOOD]}),
        rules_dir=rules,
        parameters={"most": 2},
    )

    assert broken(report)["assets/few-boxes"].failed == 1
    assert not report.blocked


def test_a_column_that_is_not_there_is_refused(data: Data, tmp_path: Path) -> None:
    rules = Path(shutil.copytree(default_rules_dir(), tmp_path / "rules"))
    text = (rules / "classes.yaml").read_text()
    (rules / "classes.yaml").write_text(text.replace("train_boxes", "train_boxs"))

    with pytest.raises(InvalidInputError) as caught:
        check(training=data.version("training", {"a": ALL}), validation=None, rules_dir=rules)

    assert str(caught.value) == (
        "`classes.yaml`, rule `enough-boxes`: the table `classes` has no column `train_boxs`"
    )
    assert caught.value.hint == "Did you mean `train_boxes`?"


def test_the_report_is_plain_json(data: Data) -> None:
    report = check(training=data.version("training", {"a": [GOOD]}), validation=None)

    record = json.loads(report.to_json())

    assert record["format"] == 1
    assert record["blocked"] is True
    assert record["findings"][0]["status"] == "pass"
    assert record["versions"] == dict(report.versions)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_whole_by_itself(data: Data) -> None:
    hostile = Finding(
        table="classes",
        rule="<script>alert(1)</script>",
        type="x",
        severity="critical",
        status="fail",
        description="<img src=//evil.example/x onerror=alert(1)>",
        failed=1,
        checked=2,
    )
    report = check(training=data.version("training", {"a": [GOOD]}), validation=None)
    report = GateReport(
        findings=(*report.findings, hostile),
        versions=report.versions,
        tables=report.tables,
        parameters={**report.parameters, "<b>": "<i>"},
        rules_digest=report.rules_digest,
    )

    html = report.to_html(title="Gate of <round> 1")

    page = Page()
    page.feed(html)
    assert not {"script", "link", "img", "iframe", "b", "i"} & set(page.tags)
    assert page.addresses == []
    assert "//" not in html.replace("&lt;img src=//evil", "")
    assert "classes/enough-boxes" in html
    assert "Closed: the round stops here." in html


def test_the_gate_needs_no_network() -> None:
    # In a process of its own: the library must not connect while it is imported either.
    code = """
import socket

def refuse(*args, **kwargs):
    raise SystemExit("the gate opened a connection")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse

import pyarrow as pa
from mir_ops.quality.engine import judge
from mir_ops.quality.rule_files import Rule
from mir_ops.quality.tables import Table

rule = Rule(
    table="assets", id="r", type="expect_column_values_to_be_between",
    kwargs={"column": "n", "min_value": 2}, severity="critical", description="",
)
table = Table(name="assets", key="n", rows=pa.table({"n": [1, 2]}))
(finding,) = judge(table, [rule])
import os
print(finding.failed, os.environ["GX_ANALYTICS_ENABLED"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 false\n", "")


def test_a_long_report_stays_readable_in_a_log(data: Data) -> None:
    report = check(training=data.version("training", {"a": ALL}), validation=None)
    many = tuple(
        Finding(
            table="annotations",
            rule=f"rule-{number}",
            type="x",
            severity="critical",
            status="error",
            error="x" * 200,
        )
        for number in range(50)
    )
    report = GateReport(
        findings=many,
        versions=report.versions,
        tables=report.tables,
        parameters={},
        rules_digest="",
    )

    assert len(report.message()) < 2400
    assert report.message().endswith("more")


def test_a_gate_that_checked_nothing_is_closed() -> None:
    empty = GateReport(findings=(), versions={}, tables={}, parameters={}, rules_digest="")

    assert empty.blocked
