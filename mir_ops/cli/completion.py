"""`mir completion`: what makes a shell complete commands, options and revisions."""

from __future__ import annotations

import argparse
import importlib
from contextlib import suppress
from string import Template
from typing import Any, Final

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.errors import MirError

_BASH: Final = Template("""\
# Completion of `mir` for bash: mir completion bash > ~/.local/share/bash-completion/completions/mir
_mir() {
    local word=$${COMP_WORDS[COMP_CWORD]} command= each
    for each in "$${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $$each in -*) ;; *) command=$$each; break ;; esac
    done
    local found=
    case $$command in
$cases
    *) found="$commands" ;;
    esac
    case $$command:$$word in
    :* | *:-*) ;;
    *) found="$$found $$(mir completion revisions 2>/dev/null)" ;;
    esac
    COMPREPLY=($$(compgen -W "$$found" -- "$$word"))
}
complete -o default -F _mir mir
""")
_ZSH: Final = Template("""\
#compdef mir
# Completion of `mir` for zsh: mir completion zsh > "$${fpath[1]}/_mir"
_mir() {
    local command=$${words[2]}
    local -a found
    if (( CURRENT == 2 )); then
        found=($commands)
    else
        case $$command in
$cases
        esac
        [[ $$PREFIX == -* ]] || found+=($${(f)"$$(mir completion revisions 2>/dev/null)"})
    fi
    compadd -a found
    _files
}
if [[ $$funcstack[1] == _mir ]]; then _mir "$$@"; else compdef _mir mir; fi
""")
_FISH: Final = (
    "# Completion of `mir` for fish: mir completion fish > ~/.config/fish/completions/mir.fish"
)


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="Print what completes commands in a shell",
        description="Print a script for bash, zsh or fish; its first line says where to put it.",
    )
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "revisions"),
        help="The shell; or `revisions`, what the scripts ask for",
    )
    parser.set_defaults(run=run_completion)


def run_completion(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.shell == "revisions":
        names = _revisions(arguments)
    else:
        names = _script(arguments.shell, words_by_command()).splitlines()
    output.record({arguments.shell: names}, names)
    return 0


def _revisions(arguments: argparse.Namespace) -> list[str]:
    try:
        store = repository_of(arguments).store
        return [*(branch.name for branch in store.branches()), *store.tags()]
    except MirError:  # nothing to complete here
        return []


def words_by_command() -> dict[str, tuple[str, list[str]]]:
    """What each command is for, and the options and sub-commands that may follow it."""
    from mir_ops.cli.main import COMMANDS, SAME_AS, Parser

    parser = Parser(prog="mir")
    subparsers = parser.add_subparsers(prog="mir")
    for module in dict.fromkeys(module for module, _ in COMMANDS.values()):
        with suppress(ModuleNotFoundError):  # of a package that is not installed
            importlib.import_module(module).register(subparsers)
    texts = {name: text for name, (_, text) in COMMANDS.items()}
    texts |= {name: texts[same] for name, same in SAME_AS.items()}
    found = {}
    for name, command in subparsers.choices.items():
        words: list[str] = []
        for action in command._actions:
            if action.help != argparse.SUPPRESS:
                words += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                words += action.choices
        found[name] = (texts[name], words)
    return found


def _script(shell: str, commands: dict[str, tuple[str, list[str]]]) -> str:
    if shell == "fish":
        return "\n".join([_FISH, *_fish_lines(commands)])
    line = (
        '    {name}) found="{words}" ;;'
        if shell == "bash"
        else "        {name}) found=({words}) ;;"
    )
    cases = "\n".join(
        line.format(name=name, words=" ".join(words)) for name, (_, words) in commands.items()
    )
    template = _BASH if shell == "bash" else _ZSH
    return template.substitute(cases=cases, commands=" ".join(commands))


def _fish_lines(commands: dict[str, tuple[str, list[str]]]) -> list[str]:
    lines = ["complete -c mir -n '__fish_use_subcommand' -f"]
    for name, (text, words) in commands.items():
        said = text.replace("'", "\\\\'")
        lines.append(f"complete -c mir -n '__fish_use_subcommand' -a {name} -d '{said}'")
        here = f"-n '__fish_seen_subcommand_from {name}'"
        for word in words:
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
            lines.append(f"complete -c mir {here} {kind if word[0] == '-' else f'-a {word}'}")
    revisions = "'(mir completion revisions 2>/dev/null)'"
    return [*lines, f"complete -c mir -n 'not __fish_use_subcommand' -a {revisions}"]
