"""What a person says of a project on the command line: a file, options, `KEY=VALUE`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mir_ops.errors import InvalidInputError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An option for one key of a project's file."""

    option: str
    key: str
    metavar: str
    help: str
    kind: type[int] | type[float] | type[str] = str


FIELDS: Final = (
    Field(option="--description", key="description", metavar="TEXT", help="What it is for"),
    Field(option="--training", key="sources.training", metavar="PATH", help="VOC zip or folder"),
    Field(option="--validation", key="sources.validation", metavar="PATH", help="The same"),
    Field(option="--pool", key="sources.pool", metavar="PATH", help="Images to pick from"),
    Field(option="--executor", key="executor.name", metavar="NAME", help="Trains and infers"),
    Field(option="--strategy", key="mining.strategy", metavar="NAME", help="How images are picked"),
    Field(option="--budget", key="mining.budget", metavar="N", help="How many a round", kind=int),
    Field(option="--labels", key="labels.backend", metavar="NAME", help="Who labels"),
    Field(option="--target", key="stop.target", metavar="X", help="Stop at this mAP", kind=float),
    Field(option="--rounds", key="stop.rounds", metavar="N", help="Stop after these", kind=int),
    Field(
        option="--labelled-images", key="stop.labelled_images", metavar="N",
        help="Stop when so many are labelled", kind=int,
    ),
    Field(option="--seed", key="seed", metavar="N", help="Of everything drawn", kind=int),
)  # fmt: skip


def add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", metavar="A,B,…", help="What to find")
    for field in FIELDS:
        parser.add_argument(
            field.option, type=field.kind, metavar=field.metavar, help=field.help, dest=field.key
        )
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Any key of the file, as `--set sources.pool=/data/pool.zip`; null: its default",
    )


def said_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say, in the file's own shape."""
    said: dict[str, Any] = {}
    if arguments.classes is not None:
        said["classes"] = arguments.classes.split(",")
    values = vars(arguments)
    for field in FIELDS:
        if values[field.key] is not None:
            _put(said, field.key, values[field.key])
    if "strategy" in said.get("mining", {}):
        said["mining"]["parameters"] = None  # those of another strategy would be refused
    return with_settings(said, arguments.set)


def with_settings(mapping: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The mapping with `key.key=value` set; values are read as YAML."""
    import yaml

    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not all(name.split(".")):
            raise InvalidInputError(
                f"`{setting}` is not of the form KEY=VALUE",
                code="invalid-setting",
                hint="Write the keys with dots, as `--set mining.budget=50`",
            )
        try:
            _put(mapping, name, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise InvalidInputError(
                f"The value of `{setting}` is not YAML: {' '.join(str(error).split())}",
                code="invalid-setting",
            ) from None
    return mapping


def read_file(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    import yaml

    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(
            f"No file `{path}`",
            code="no-such-file",
            hint="Check the path; `projects/digits.yaml` of mir-ops is an example",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`{path}` is not YAML: {' '.join(str(error).split())}",
            code="invalid-yaml",
            hint="Correct it there; a name with a colon wants quotes",
        ) from None
    except OSError as error:
        raise NotFoundError(
            f"Cannot read `{path}`: {error.strerror}", code="no-such-file"
        ) from None
    if not isinstance(mapping, dict):
        raise InvalidInputError(
            f"`{path}` is no mapping of keys to values",
            code="invalid-yaml",
            hint="Write `name: …`, `classes: […]` and so on, a line each",
        )
    return mapping


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Keys whose values differ, with both values."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{above}{key}.")
        elif before != after:
            yield f"{above}{key}", before, after


def _put(mapping: dict[str, Any], name: str, value: object) -> None:
    *above, last = name.split(".")
    place = mapping
    for key in above:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise InvalidInputError(
                f"`{name}` is below a value", code="invalid-setting", hint=f"Set `{key}` alone"
            )
    place[last] = value
