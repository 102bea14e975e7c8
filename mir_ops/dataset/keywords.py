"""Keywords and the description of a dataset version: words by which people find it again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store

_LONGEST: Final = 2000


def set_keywords(
    store: Store, branch: str, keywords: Sequence[str], *, op_id: str, message: str | None = None
) -> Commit:
    """Commit the branch's newest version once more, with these keywords and no others."""
    message = message or f"Keywords {', '.join(keywords) or 'none'}"
    return _say(store, branch, "keywords", op_id=op_id, message=message, keywords=keywords)


def describe(
    store: Store,
    branch: str,
    message: str,
    *,
    op_id: str,
    keywords: Sequence[str] | None = None,
) -> Commit:
    """Commit the branch's newest version once more, as this; keywords stay unless given."""
    if not message.strip() or len(message) > _LONGEST:
        raise InvalidInputError(
            f"A description has 1 to {_LONGEST} characters, not {len(message.strip())}",
            code="bad-description",
            hint="Say in a few words what is in this version",
        )
    if done := store.find_operation(branch, op_id):
        return done
    kept = store.branch(branch).tip().keywords if keywords is None else keywords
    return _say(store, branch, "describe", op_id=op_id, message=message.strip(), keywords=kept)


def _say(
    store: Store, branch: str, kind: str, *, op_id: str, message: str, keywords: Sequence[str]
) -> Commit:
    """The same rows, said to be something else; it stays of the project and round that it was."""
    from mir_ops.store import Operation

    if done := store.find_operation(branch, op_id):
        return done
    tip = store.branch(branch).tip()
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind=kind, inputs=(tip.id,)),
        message=message,
        keywords=keywords,
        project=tip.project,
        round=tip.round,
    ) as edit:
        pass
    return edit.commit


def parse_keywords(words: Iterable[str]) -> list[str]:
    """Keywords given one by one, or joined by `;`; each once."""
    found: dict[str, str] = {}
    for word in words:
        for part in word.split(";"):
            keyword = " ".join(part.split())
            if not keyword.isprintable() or len(keyword) > 100:
                raise InvalidInputError(
                    f"`{keyword[:100]}` cannot be a keyword",
                    code="bad-keyword",
                    hint="Use at most 100 printable characters",
                )
            if keyword:
                found.setdefault(keyword.casefold(), keyword)
    return list(found.values())


def tokens(text: str) -> list[str]:
    """The words of a text, as searches compare them."""
    return re.findall(r"\w+", text.casefold().replace("_", " "))
