"""What people did in Label Studio: which answer of a task counts, and its regions as rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.formats.parsed import Collected, ObjectRow
from mir_ops.labeling.backend import LabelRequest, LabelResult
from mir_ops.labeling.studio_regions import Frame, RegionError, read_regions
from mir_ops.store.schema import ASSET_ID, GROUND_TRUTH

_ASSET: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST: Final = 1e7  # seconds
_RANK: Final = {"open": 0, "skipped": 1, "done": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where an image is, and the annotation that counts, if anybody submitted or skipped."""

    task: int
    state: Literal["open", "skipped", "done"]
    annotation: Mapping[str, Any] | None = None

    @property
    def annotator(self) -> int:
        """The user's id; the tool writes it in two ways."""
        who = self.annotation.get("completed_by") if self.annotation else None
        found = who.get("id") if isinstance(who, dict) else who
        return found if isinstance(found, int) else -1

    @property
    def at(self) -> datetime | None:
        return _time(self.annotation.get("updated_at")) if self.annotation else None

    @property
    def seconds(self) -> float | None:
        spent = self.annotation.get("lead_time") if self.annotation else None
        return float(spent) if isinstance(spent, int | float) and 0 <= spent < _LONGEST else None


def is_of_request(task: Mapping[str, Any], task_id: str) -> bool:
    """Whether a task of the project is one that the request made; people may add others."""
    data = task.get("data")
    return (
        isinstance(data, dict)
        and data.get("request") == task_id.rpartition("-")[2]
        and isinstance(data.get("asset_id"), str)
        and _ASSET.fullmatch(data["asset_id"]) is not None
    )


def settled(tasks: Iterable[Mapping[str, Any]], task_id: str) -> dict[str, Answer]:
    """By asset id in hex: what was answered. Of two tasks of an image the answered one counts."""
    found: dict[str, Answer] = {}
    for task in tasks:
        if not is_of_request(task, task_id):
            continue
        name, answer = task["data"]["asset_id"], _answer(task)
        if name not in found or _RANK[answer.state] > _RANK[found[name].state]:
            found[name] = answer
    return found


def last_activity(answers: Iterable[Answer]) -> datetime | None:
    return max((at for answer in answers if (at := answer.at) is not None), default=None)


def read_answers(
    answers: Mapping[str, Answer], request: LabelRequest, people: Mapping[int, str], *, page: str
) -> LabelResult:
    """The labels of the request's images. `people` are e-mail addresses by user."""
    assets = {row["asset_id"].hex(): row for row in request.assets.to_pylist()}
    answered = {name: answers[name] for name in sorted(answers.keys() & assets.keys())}
    reading = _Reading(request, assets, page)
    for name, answer in answered.items():
        if answer.state == "done":
            reading.take(name, answer)
    spent = [answer.seconds for answer in answered.values() if answer.seconds is not None]
    return LabelResult(
        annotations=reading.table(answered, people),
        done=_ids(reading.names),
        skipped=_ids([name for name, answer in answered.items() if answer.state == "skipped"]),
        issues=reading.issues,
        refused=reading.refused,
        seconds=sum(spent),
    )


class _Reading:
    """Collects the images whose answers can be taken, whole or not at all."""

    def __init__(
        self, request: LabelRequest, assets: Mapping[str, Mapping[str, Any]], page: str
    ) -> None:
        self.names: list[str] = []
        self.issues: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self._ids = {name.strip().lower(): id_ for id_, name in request.classes.items()}
        self._assets = assets
        self._page = page
        self._class_ids: list[int] = []
        self._turns: list[int] = []
        self._objects = Collected()

    def take(self, name: str, answer: Answer) -> None:
        asset = self._assets[name]
        frame = Frame(
            row=len(self.names),
            width=asset["width"],
            height=asset["height"],
            turned=asset["orientation"] >= 5,
        )
        result = answer.annotation.get("result") if answer.annotation else None
        drawn = frame.as_drawn(result)
        try:
            rows = list(read_regions(result, drawn))
            ids = [self._class_id(row) for row in rows]
        except RegionError as error:
            self._count(error.code, 1)
            self.refused[name] = f"{error}: {self._page}?task={answer.task}"
            return
        self._objects.add_objects(rows)
        self._class_ids += ids
        self._turns.append(1 if drawn is frame else asset["orientation"])
        self.names.append(name)

    def table(self, answers: Mapping[str, Answer], people: Mapping[int, str]) -> pa.Table:
        """The rows, each with who drew it and its share of the time that its image took."""
        assets, tally = [self._assets[name] for name in self.names], Tally()
        frames = ImageFrames(
            asset_ids=[bytes.fromhex(name) for name in self.names],
            widths=[asset["width"] for asset in assets],
            heights=[asset["height"] for asset in assets],
            turns=self._turns,
            sources=self.names,
        )
        found = annotation_table(
            self._objects.parsed().objects, np.asarray(self._class_ids, np.int32), frames, tally
        )
        for issue in tally.report({}).issues:
            self._count(issue.code, issue.count)
        owners = [asset_id.hex() for asset_id in found["asset_id"].to_pylist()]
        return _signed(found, owners, answers, people)

    def _class_id(self, row: ObjectRow) -> int:
        found = self._ids.get(row.class_name.strip().lower())
        if found is None:
            label = row.class_name[:100]
            raise RegionError("class-unknown", f"`{label}` is no class of this request")
        return found

    def _count(self, code: str, count: int) -> None:
        self.issues[code] = self.issues.get(code, 0) + count


def _signed(
    table: pa.Table, owners: list[str], answers: Mapping[str, Answer], people: Mapping[int, str]
) -> pa.Table:
    rows = Counter(owners)
    spent = [answers[name].seconds for name in owners]
    shares = [
        None if seconds is None else seconds / rows[name]
        for name, seconds in zip(owners, spent, strict=True)
    ]
    who = [people.get(answers[name].annotator) for name in owners]
    for name, values in (("annotator", who), ("lead_time", shares)):
        at, field = GROUND_TRUTH.get_field_index(name), GROUND_TRUTH.field(name)
        table = table.set_column(at, field, pa.array(values, field.type))
    return table


def _answer(task: Mapping[str, Any]) -> Answer:
    """A submitted annotation counts before a skip; one that a reviewer starred before others."""
    found = task.get("annotations")
    known = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    submitted = [each for each in known if each.get("was_cancelled") is False]
    if submitted:
        return Answer(task=task["id"], state="done", annotation=max(submitted, key=_weight))
    if known:
        return Answer(task=task["id"], state="skipped", annotation=max(known, key=_weight))
    return Answer(task=task["id"], state="open")


def _weight(annotation: Mapping[str, Any]) -> tuple[bool, str]:
    return annotation.get("ground_truth") is True, str(annotation.get("updated_at"))


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _ids(names: Sequence[str]) -> pa.Array:
    return pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
