"""docs/cli.md and `--help` name every command, with an example that can be parsed."""

from __future__ import annotations

import argparse
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
def test_help_says_what_each_argument_is_and_ends_with_an_example(name: str) -> None:
    for parser in parsers_of(cli._parser([name]), name):
        assert parser.description, parser.prog
        mute = [each.dest for each in parser._actions if not each.help and each.nargs != "A..."]
        assert not mute, parser.prog
        shown = parser.format_help()
        example = shown.partition("\nexample:\n")[2].splitlines()
        assert example, parser.prog
        assert all(re.match(rf"  {parser.prog}\b", line) for line in example)
        usage = shown.partition("\n\n")[0].replace("{", "").split("[-h]")[1]
        assert not re.search(r" [a-z]+$", usage), usage


def parsers_of(parser: argparse.ArgumentParser, *names: str) -> list[argparse.ArgumentParser]:
    """A command, and those below it."""
    below = [each.choices for each in parser._actions if each.nargs == argparse.PARSER]
    found = [dict(choices or {}) for choices in below]
    if names:
        return parsers_of(next(choices[names[0]] for choices in found))
    return [
        parser,
        *(each for choices in found for one in choices.values() for each in parsers_of(one)),
    ]


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


# Every option that either generation of YMIR's guides and its last release have.
OF_YMIR = """\
init -r /x
init --root /x --with-empty-rev a@b
checkout -b x
co street
branch -D x
branch -r /x
log --oneline --decorate --graph --dog
show --src-revs HEAD --verbose
show --src-rev a
import --index-file i --annotation-dir a --gen-dir g --dataset-name n --dst-rev a@b
import --index-file i --annotation-dir a --gen-dir g --ignore-unknown-types --dst-rev a@b -w w
import --index-file i --gt-dir a --pred-dir p --gen-dir g --unknown-types-strategy stop \
--anno-type det-box --dst-rev a@b --src-revs master
import --asset-path x --gen-dir g --anno-type-fmt det:voc --dst-rev a@b -w w --user-label-file l
export --asset-dir a --annotation-dir b --media-location m --src-revs a@b --format none
export --asset-dir a --gt-dir b --pred-dir c --media-location m --src-revs a@b --anno-format voc \
--asset-format raw --class_names 'a;b' -w w
filter -p 'a;b' --src-revs a@b --dst-rev a@c
filter --cis 'a;b' --ex-cis c --filter-anno-src any --src-revs a@b --dst-rev a@c -w w
filter -P c --src-revs a@b --dst-rev a@c
sampling --count 5 --src-revs a@b --dst-rev a@c -w w
sampling --rate 0.5 --src-revs a@b --dst-rev a@c
merge --src-revs 'h;g' --ex-src-revs 'x;y' --dst-rev a@b -s stop -w w
fuse --src-revs 'h;g' --ex-src-revs x --dst-rev a@b -s host --cis a --ex-cis b \
--filter-anno-src gt --count 3 -w w
fuse --src-revs 'h;g' --dst-rev a@b -s guest -p a -P b --rate 0.5
copy --src-root /x --src-revs a@b --src-user-label-file l --dst-rev c@d --ignore-unknown-types \
--drop-annotations -w w
train -w w --media-location m --model-location l --task-config-file c --src-revs a@b \
--dst-rev c@d --executor e
mining --src-revs a@b --dst-rev c@d -w w --topk 5 --model-location l --media-location m \
--model-hash h --cache c --task-config-file f --executor e
mining --src-revs a@b --dst-rev c@d -w w --topk 5 --model-location l --media-location m \
--model-hash h@s --asset-cache-dir c --task-config-file f --executor e --add-prediction
infer --index-file i -w w --model-location l --model-hash h --task-config-file c --executor e \
--executant-name n --run-as-root
models --package-path p --dst-rev a@b --model-location l -w w
show -d"""


@pytest.mark.parametrize("line", OF_YMIR.splitlines())
def test_ymirs_options_are_understood(line: str) -> None:
    words = shlex.split(line)

    assert callable(cli._parser(words).parse_args(words).run)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("commit -m x", "nothing left to commit"),
        ("status", "Nothing is ever uncommitted"),
        ("reset --hard", "mir checkout"),
        ("filtre", "Did you mean `mir filter`?"),
        ("branch one two three", "See `mir branch --help`"),
        ("store fsck deep odd", "See `mir store --help`"),
    ],
)
def test_a_command_that_cannot_be_understood_helps_on(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == cli.USAGE
    assert said in capsys.readouterr().err


def test_every_kind_of_error_has_its_exit_code_and_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == cli.DONE
    (tmp_path / "file").write_text("no archive")
    monkeypatch.delenv("MIR_STORE", raising=False)
    gone = (tmp_path / "gone").as_uri()

    for words, code in (
        (["show", "nothing"], cli.FAILED),  # not there
        (["import", "file", "--to", "a"], cli.FAILED),  # cannot be used
        (["init"], cli.FAILED),  # somebody was first
        (["copy", "--src-root", gone, "a", "--to", "b"], cli.FAILED),  # the store fails
        (["export", "master", "--to", "file/below"], cli.FAILED),  # the system refuses
        (
            ["export", "master", "--asset-dir", "a", "--gt-dir", "x", "--pred-dir", "./x"],
            cli.FAILED,
        ),
        (["show", "--never"], cli.USAGE),
        (["never"], cli.USAGE),
        (["sampling", "master", "--to", "b"], cli.USAGE),
        (["show"], cli.DONE),
    ):
        capsys.readouterr()
        assert main(words) == code, words
        said = capsys.readouterr().err
        assert code == cli.DONE or re.search(r"^error: .+\n\nhint: .+", said), words


def test_completion_knows_every_command() -> None:
    assert {*words_by_command()} >= {*COMMANDS, *SAME_AS}
