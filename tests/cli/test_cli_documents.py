"""docs/cli.md and `--help` name every command, with an example that can be parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mir_ops.cli import main as cli
from mir_ops.cli.completion import words_by_command
from mir_ops.cli.examples import EXAMPLES
from mir_ops.cli.main import COMMANDS, SAME_AS, main

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_every_command_has_a_row_with_an_example() -> None:
    table = TEXT.partition("## Commands")[2].partition("## In YMIR")[0]
    rows = dict(re.findall(r"^\| `mir ([a-z-]+)` \| `(mir [^`]+)`", table, re.MULTILINE))

    assert [name for name in COMMANDS if name not in rows] == []
    assert all(example.split()[1] == name for name, example in rows.items())


def test_exit_codes_are_documented() -> None:
    table = TEXT.partition("| Exit code |")[2].partition("\n\n")[0]

    for code in (cli.DONE, cli.FAILED, cli.USAGE, cli.INTERRUPTED):
        assert re.search(rf"^\| {code} \|", table, re.MULTILINE)


@pytest.mark.parametrize("name", [*COMMANDS, *SAME_AS])
def test_help_ends_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])

    example = capsys.readouterr().out.partition("\nexample:\n")[2].splitlines()
    assert example
    assert all(re.match(rf"  mir {name}\b", line) for line in example)


@pytest.mark.parametrize(
    "command",
    [
        line
        for name, text in EXAMPLES.items()
        for line in text.split("\n")
        if SAME_AS.get(name.split()[0], name.split()[0]) in COMMANDS
    ],
)
def test_examples_can_be_parsed(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0])[1:]

    arguments = cli._parser(words).parse_args(words)

    assert callable(arguments.run)


def test_completion_knows_every_command() -> None:
    assert {*words_by_command()} >= {*COMMANDS, *SAME_AS}
