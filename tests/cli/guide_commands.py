"""The commands in the guides, as a reader types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

GUIDES = Path(__file__).with_name("guides")


def blocks_of(name: str) -> list[str]:
    """The code blocks of a guide, in order."""
    text = (GUIDES / name).read_text(encoding="utf-8")
    return [block for _, block in re.findall(r"```[ ]?(\w*)\n(.*?)```", text, re.DOTALL)]


def commands_in(block: str) -> list[str]:
    """Its commands, each on one line: without the prompt, the comments and the backslashes.

    A line that starts with an option goes on with the command before: the guides once forgot the
    backslash.
    """
    found: list[str] = []
    for line in block.splitlines():
        text = re.sub(r"\s+#.*$", "", line).strip().removesuffix("\\").strip()
        if re.match(r"-\w|--", text):
            found[-1] += f" {text}"
        elif text:
            found.append(text.removeprefix("$ "))
    return found


def quoted(command: str) -> str:
    """With quotes around lists that a shell would cut at `;`."""
    return re.sub(r"--src-revs (\S*;\S*)", r"--src-revs '\1'", command)


def as_the_shell_cuts(command: str) -> list[list[str]]:
    """The commands that a shell makes of a line with an unquoted `;`."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    cut: list[list[str]] = [[]]
    for word in lexer:
        if word == ";":
            cut.append([])
        else:
            cut[-1].append(word)
    return cut
