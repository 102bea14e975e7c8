"""XML that came from outside, as a tree of elements."""

from __future__ import annotations

from xml.etree import ElementTree as Tree
from xml.parsers import expat

from mir_ops.formats.parsed import RefusedError


def root_of(data: bytes, tag: str, *, most: int) -> Tree.Element:
    """The root of a document; refused if it is larger than `most` bytes or has another root."""
    if len(data) > most:
        raise RefusedError("file-too-large")
    refuse_doctype(data)
    try:
        root = Tree.fromstring(data)
    except (Tree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise RefusedError("annotation-unreadable", str(error)) from None
    if root.tag != tag:
        raise RefusedError("annotation-unreadable", f"its root is `{root.tag}`")
    return root


def refuse_doctype(data: bytes) -> None:
    """Refuse XML that declares a document type: entities could grow without end."""
    # Markup is ASCII in every encoding expat reads, but for UTF-16, which has zero bytes. Only
    # what may hold a DOCTYPE is parsed twice: a comment may well mention one.
    if b"<!DOCTYPE" not in data and b"\0" not in data:
        return

    def refuse(*_: object) -> None:
        raise RefusedError("annotation-doctype")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise RefusedError("annotation-unreadable", str(error)) from None
