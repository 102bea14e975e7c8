"""Training curves that were kept with a model, in both forms, hostile ones included."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.executor.curves import MOST_POINTS, Curve, read_curves
from mir_ops.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri(), create=True)


def event_class() -> Any:
    """TensorFlow's `Event`, as far as scalars go, by protobuf's own code."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    fields = {
        "Tensor": [("tensor_content", 4, kinds.TYPE_BYTES, None, False)],
        "Value": [
            ("tag", 1, kinds.TYPE_STRING, None, False),
            ("simple_value", 2, kinds.TYPE_FLOAT, None, False),
            ("tensor", 8, kinds.TYPE_MESSAGE, ".t.Tensor", False),
        ],
        "Summary": [("value", 1, kinds.TYPE_MESSAGE, ".t.Value", True)],
        "Event": [
            ("wall_time", 1, kinds.TYPE_DOUBLE, None, False),
            ("step", 2, kinds.TYPE_INT64, None, False),
            ("file_version", 3, kinds.TYPE_STRING, None, False),
            ("summary", 5, kinds.TYPE_MESSAGE, ".t.Summary", False),
        ],
    }
    for name, members in fields.items():
        made = file.message_type.add(name=name)
        for field, number, kind, type_name, many in members:
            label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, type_name=type_name, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def record(event: bytes) -> bytes:
    return struct.pack("<Q", len(event)) + b"\0" * 4 + event + b"\0" * 4


def archive(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_lines_become_curves_in_the_order_of_steps(store: Store) -> None:
    lines = [
        {"step": 2, "name": "loss", "value": 0.5},
        {"step": 1, "name": "loss", "value": 1},
        {"step": 1, "name": "map50", "value": 0.25},
        {"step": 3, "name": "loss", "value": float("nan")},
        {"step": True, "name": "loss", "value": 1},
        {"step": 1, "name": ["loss"], "value": 1},
        ["loss", 1],
    ]
    content = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n{broken\n\xff\n"

    curves = read_curves(store, {"curves": store.put_blob(content)})

    assert curves == (
        Curve(name="loss", steps=(1.0, 2.0), values=(1.0, 0.5)),
        Curve(name="map50", steps=(1.0,), values=(0.25,)),
    )


def test_events_of_tensorboard_become_curves(store: Store) -> None:
    event = event_class()
    records = [event(wall_time=1.0, file_version="brain.Event:2")]
    for step in range(3):
        made = event(wall_time=1.0 + step, step=step * 10)
        made.summary.value.add(tag="loss/train", simple_value=1.0 / (step + 1))
        made.summary.value.add(tag="lr").tensor.tensor_content = struct.pack("<f", 0.5)
        made.summary.value.add(tag="picture").tensor.tensor_content = b"\0" * 12
        records.append(made)
    content = b"".join(record(each.SerializeToString()) for each in records)
    packed = archive({"run/events.out.tfevents.1.host": content + content[:20], "run/notes": b"x"})

    curves = read_curves(store, {"tensorboard": store.put_blob(packed)})

    assert curves == (
        Curve(
            name="run/loss/train",
            steps=(0.0, 10.0, 20.0),
            values=(1.0, 0.5, pytest.approx(1 / 3)),  # type: ignore[arg-type]
        ),
        Curve(name="run/lr", steps=(0.0, 10.0, 20.0), values=(0.5, 0.5, 0.5)),
    )


def test_a_long_curve_is_thinned_and_keeps_its_ends(store: Store) -> None:
    lines = [json.dumps({"step": n, "name": "loss", "value": n / 2}) for n in range(5000)]

    (curve,) = read_curves(store, {"curves": store.put_blob("\n".join(lines).encode())})

    assert len(curve.steps) == MOST_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (0.0, 4999.0)
    assert all(value == step / 2 for step, value in zip(curve.steps, curve.values, strict=True))


def test_what_was_not_kept_is_no_curve(store: Store) -> None:
    assert read_curves(store, {"image": "sample"}) == ()


@given(content=st.binary(max_size=400), packed=st.booleans())
def test_bytes_of_any_kind_do_no_harm(
    content: bytes, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store.open(tmp_path_factory.mktemp("any").as_uri(), create=True)
    held = archive({"a.tfevents": record(content) + content}) if packed else content

    for key in ("curves", "tensorboard"):
        assert isinstance(read_curves(store, {key: store.put_blob(held)}), tuple)
