"""Two rounds of a project side by side: what was different, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from mir_ops.rounds.record import read_record
from mir_ops.store import Version
from mir_ops.workspace import Workspace

Value = float | int | str | None
Pairs = Mapping[str, tuple[Value, Value]]

_METRICS: Final = ("map50", "map50_95")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRounds:
    """Each name's value in the first round and in the second, None where one has none.

    `data` counts what the training version holds at the round's end, `classes` its boxes of each
    class, `settings` are those of project and run that differ, by their place in the file.
    """

    project: str
    rounds: tuple[int, int]
    metrics: Pairs
    data: Pairs
    classes: Pairs
    cost: Pairs
    settings: Pairs

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compare_rounds(ws: Workspace, project: str, first: int, second: int) -> ComparedRounds:
    """Two closed rounds, from their records; NotFoundError for one that has none yet."""
    one, other = (
        read_record(ws, ws.catalog.rounds.get_number(project, number).record)
        for number in (first, second)
    )
    versions = [
        ws.store.read_commit_version(record["training"]) if record["training"] else None
        for record in (one, other)
    ]
    data = [_data(version) if version else {} for version in versions]
    classes = [_classes(version) if version else {} for version in versions]
    settings = _paired(_settings(one), _settings(other))
    return ComparedRounds(
        project=project,
        rounds=(first, second),
        metrics=_paired(_metrics(one), _metrics(other)),
        data=_paired(*data),
        classes=_paired(*classes),
        cost=_paired(flat(one["cost"]), flat(other["cost"])),
        settings={name: pair for name, pair in settings.items() if pair[0] != pair[1]},
    )


def _paired(one: Mapping[str, Value], other: Mapping[str, Value]) -> dict[str, tuple[Value, Value]]:
    return {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])}


def _metrics(record: Mapping[str, Any]) -> dict[str, Value]:
    """Of the round's model on validation images and test sets, and of its last model."""
    found: dict[str, Value] = {}
    last = (record["last"] or {}).get("metrics")
    for prefix, metrics in (("", record["metrics"]), ("last ", last)):
        if metrics:
            found |= {f"{prefix}{name}": metrics[name] for name in _METRICS}
            for test, measured in metrics.get("tests", {}).items():
                found |= {f"{prefix}{name} on {test}": measured[name] for name in _METRICS}
    return found


def _data(version: Version) -> dict[str, Value]:
    stats = version.stats
    splits = {f"images ({name or 'no split'})": count for name, count in stats.splits.items()}
    truth = stats.layers.get("ground_truth")
    return {
        **splits,
        "labelled images": truth.assets if truth else 0,
        "boxes": truth.rows if truth else 0,
    }


def _classes(version: Version) -> dict[str, Value]:
    truth, taxonomy = version.stats.layers.get("ground_truth"), version.taxonomy
    counts = truth.classes if truth else {}
    return {taxonomy.name_of(class_id): count for class_id, count in sorted(counts.items())}


def _settings(record: Mapping[str, Any]) -> dict[str, Value]:
    """What the round was told, with the code and the image that did it."""
    return flat(
        {
            **record["spec"],
            "image": record["image"],
            "code_version": record["code_version"],
            "new_data": record["run"]["conf"].get("new_data"),
        }
    )


def flat(mapping: Mapping[str, Any]) -> dict[str, Value]:
    """The values of nested mappings by their place, as `mining.budget`."""
    return dict(_leaves(mapping, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | Mapping):
        yield path, ", ".join(map(str, value))
    else:
        yield path, value
