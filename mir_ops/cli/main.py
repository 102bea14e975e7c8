"""The `mir` command: finds the sub-command, loads the one module it needs, prints what it says."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mir_ops.cli.examples import EXAMPLES
from mir_ops.cli.output import Output
from mir_ops.cli.signals import SignalledError, interruptible
from mir_ops.errors import InvalidInputError, MirError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_DATASETS = "mir_ops.cli.datasets"
_IMPORTS = "mir_ops.cli.imports"
_CONTENTS = "mir_ops.cli.contents"
_HISTORY = "mir_ops.cli.history"
_WORDS = "mir_ops.cli.words"

# Each module has `register(subparsers)`, which adds its sub-commands with `set_defaults(run=fn)`,
# `fn(arguments, output) -> exit code`. It is imported only when one of its commands is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("mir_ops.cli.setup", "Make a folder a mir repository"),
    "import": (_IMPORTS, "Import images and annotations into a dataset"),
    "sample-zip": (_IMPORTS, "Write an example of an archive that can be imported"),
    "publish": (_IMPORTS, "Offer a dataset version to everybody as `public:NAME`"),
    "merge": (_DATASETS, "Merge datasets, each for training, validation or testing"),
    "filter": (_DATASETS, "Keep the images that have, or do not have, certain classes"),
    "sampling": (_DATASETS, "Keep a random share of the images"),
    "fuse": (_DATASETS, "Merge, filter and sample in one commit"),
    "split": ("mir_ops.cli.splits", "Divide the images into training, validation and test"),
    "copy": ("mir_ops.cli.copying", "Copy a dataset version from another repository"),
    "dedup": ("mir_ops.cli.duplicates", "Find or remove images that are alike"),
    "stats": ("mir_ops.cli.statistics", "Show histograms, and what is out of balance"),
    "show": (_CONTENTS, "Show what is in a dataset version"),
    "diff": (_CONTENTS, "Show what changed between two dataset versions"),
    "export": ("mir_ops.cli.export", "Write a dataset version to a folder"),
    "log": (_HISTORY, "Show the commits of a branch, newest first"),
    "branch": (_HISTORY, "List, create, delete or restore branches"),
    "checkout": (_HISTORY, "Choose the branch or version that commands start from"),
    "tag": (_HISTORY, "List tags, or give a version a fixed name"),
    "keywords": (_WORDS, "Show or add the keywords of a version"),
    "search": (_WORDS, "Find versions by keyword, class, message or dataset"),
    "update": ("mir_ops.cli.update", "Take over what another branch gained"),
    "classes": ("mir_ops.cli.classes", "Show and change the classes of the label file"),
    "completion": ("mir_ops.cli.completion", "Print what completes commands in a shell"),
    "catalog": ("mir_ops.cli.catalog", "Make a lost catalog again from the store"),
    "backup": ("mir_ops.cli.backup", "Back up the catalog and the store's refs, while rounds run"),
    "restore": ("mir_ops.cli.restore", "Bring a backup back; what lives is not overwritten"),
    "clean": ("mir_ops.cli.clean", "Remove what failed steps and killed processes left here"),
    "store": ("mir_ops.cli.store", "Check a store, and read it with other programs"),
    "train": ("mir_ops.cli.train", "Train a model on a dataset version"),
    "mining": ("mir_ops.cli.mining", "Keep the images that a model finds most worth labelling"),
    "simulate": ("mir_ops.cli.simulate", "Replay rounds on labelled images: would mining help"),
    "infer": ("mir_ops.cli.infer", "Predict on images with a model"),
    "evaluate": ("mir_ops.cli.evaluate", "Measure a model's predictions against the ground truth"),
    "compare": ("mir_ops.cli.compare", "Compare two models' predictions on the same images"),
    "models": ("mir_ops.cli.models", "List, import, export, promote and verify models"),
    "executor": ("mir_ops.cli.executor", "List, add, check and scaffold executor images"),
    "doctor": ("mir_ops.cli.doctor", "Check this machine for what executors and rounds need"),
    "project": ("mir_ops.cli.project", "Create and show projects"),
    "round": ("mir_ops.cli.round", "Start and show active-learning rounds"),
    "view": ("mir_ops.cli.view", "Look at a dataset version in the browser"),
}
SAME_AS = {"co": "checkout"}
# Commands of YMIR and of git that people type, and what they want to know instead.
_NEEDLESS = {
    "commit": "Every command commits what it does: there is nothing left to commit",
    "add": "Every command commits what it does; `mir import` brings images in",
    "status": "Nothing is ever uncommitted; `mir branch` shows where you are",
    "reset": "Go back with `mir checkout BRANCH@V1`, or start there with `mir checkout -b NAME`",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that every command shares: the common options, and errors as ours."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("conflict_handler", "resolve")
        settings.setdefault("allow_abbrev", False)
        settings.setdefault("formatter_class", _Formatter)
        super().__init__(**settings)
        self.register("action", "parsers", _Commands)
        self.meant = ""  # the command that was typed, where this is the parser of all
        if example := EXAMPLES.get(self.prog.removeprefix("mir ")):
            self.epilog = "\n".join(["example:", *(f"  {line}" for line in example.splitlines())])
        _add_common(self)

    def error(self, message: str) -> NoReturn:
        hint = f"See `{self.meant or self.prog} --help`"
        if message.startswith("unrecognized arguments: -"):
            import difflib

            wrong = message.split()[2]
            close = difflib.get_close_matches(wrong, self._options(), n=1)
            hint = f"Did you mean `{close[0]}`?" if close else hint
        raise UsageError(message, hint=hint)

    def _options(self) -> list[str]:
        """Of this command, and of the one sub-command that was loaded."""
        below = (each.choices for each in self._actions if each.nargs == argparse.PARSER)
        parsers = [self, *(parser for choices in below for parser in dict(choices or {}).values())]
        return [option for parser in parsers for option in parser._option_string_actions]


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """Describes a command at least as its list of commands does."""

    def add_parser(self, name: str, **settings: Any) -> Any:
        settings.setdefault("description", f"{settings['help']}.")
        return super().add_parser(name, **settings)


class _Formatter(argparse.HelpFormatter):
    """Wraps descriptions, and leaves examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return text
        return super()._fill_text(text, width, indent)


class UsageError(InvalidInputError):
    """The command line itself cannot be understood."""

    code = "usage"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 we said why, 2 bad usage, 130 interrupted.

    Other signals that end it give 128 and their number, as a shell does.
    """
    if argv is not None:
        return _answer(list(argv))
    gc.set_threshold(100_000)  # looking through modules as they load finds no garbage
    try:
        return _answer(sys.argv[1:])
    finally:
        gc.freeze()  # nor does looking through all of them at the end


def _answer(words: Sequence[str]) -> int:
    output = Output(json="--json" in words, quiet="--quiet" in words)
    try:
        with interruptible():
            return _run(words, output)
    except UsageError as error:
        output.error(error)
        return USAGE
    except MirError as error:
        if "--debug" in words or "-d" in words:
            raise
        output.error(error)
        return FAILED
    except SignalledError as signalled:
        output.note(f"Ended by {signalled}")
        return 128 + signalled.number
    except KeyboardInterrupt:
        output.note("Interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return FAILED
    except OSError as error:  # a folder that may not be written, a full disk
        if "--debug" in words or "-d" in words:
            raise
        output.error(_system_error(error))
        return FAILED


def _run(words: Sequence[str], output: Output) -> int:
    if any(word.isspace() for word in words):
        raise UsageError(
            "One of the arguments is a space",
            hint="A `\\` goes on in the next line only as the last character: take away the space "
            "and the comment behind it",
        )
    arguments = _parser(words).parse_args(words)
    if not hasattr(arguments, "run"):
        _parser(()).print_help(sys.stderr)
        return USAGE
    output.json, output.quiet = arguments.json, arguments.quiet
    result = arguments.run(arguments, output)
    sys.stdout.flush()
    return DONE if result is None else int(result)


def _parser(words: Sequence[str]) -> Parser:
    parser = Parser(
        prog="mir",
        description="Versions of vision datasets, and active-learning rounds on them.",
        epilog="`mir COMMAND --help` explains a command.",
    )
    parser.set_defaults(root=None, user_label_file=None, json=False, quiet=False, debug=False)
    parser.add_argument("-v", "--version", action="version", version=_version())
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", prog="mir")
    named = _command_of(words)
    if named in SAME_AS or named in COMMANDS:
        parser.meant = f"mir {named}"
        _load(SAME_AS.get(named, named)).register(subparsers)
    elif named is not None:
        raise _unknown_command(named)
    else:
        for name, (_, text) in COMMANDS.items():
            subparsers.add_parser(name, help=text)
    return parser


def _command_of(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    takes_value = False
    for word in words:
        if not (word.startswith("-") or takes_value):
            return word
        takes_value = word in {"-r", "--root", "--user-label-file"}
    return None


def _load(command: str) -> Any:
    module, _ = COMMANDS[command]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MirError(
            f"`mir {command}` cannot run: the package `{error.name}` is not installed",
            code="not-installed",
            hint="Install it with `pip install 'mir-ops[all]'`",
        ) from None


def _system_error(error: OSError) -> MirError:
    where = f" `{error.filename}`" if error.filename else ""
    hint = (
        "Free some space and run the same command again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "Check that the path is right and that you may read and write there; `--debug` shows "
        "what was tried"
    )
    return MirError(
        f"The system refused{where}: {error.strerror or error}", code="system-error", hint=hint
    )


def _unknown_command(name: str) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean `mir {close[0]}`?" if close else "`mir --help` lists the commands"
    hint = _NEEDLESS.get(name, hint)
    return UsageError(f"No command named `{name}`", hint=hint)


def _add_common(parser: argparse.ArgumentParser) -> None:
    def add(*names: str, **settings: Any) -> None:
        parser.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add("-r", "--root", metavar="DIR", help="Folder of the repository (default: this folder)")
    add("--user-label-file", metavar="FILE", help="Label file (default: `.mir/labels.yaml`)")
    add("--json", action="store_true", help="Print one JSON object a line")
    add("--quiet", action="store_true", help="Print results and errors only")
    add("-d", "--debug", action="store_true", help="Show where an error came from")


def _version() -> str:
    from mir_ops import __version__

    return f"mir {__version__}"


def _silence_stdout() -> None:
    """The reader went away (`mir log | head`): nothing more to say, not even at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
