"""Keywords of a dataset version: words by which people find it again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store


def set_keywords(
    store: Store, branch: str, keywords: Sequence[str], *, op_id: str, message: str | None = None
) -> Commit:
    """Commit the branch's newest version once more, with these keywords and no others."""
    from mir_ops.store import Operation

    tip = store.branch(branch).tip()
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="keywords", inputs=(tip.id,)),
        message=message or f"Keywords {', '.join(keywords) or 'none'}",
        keywords=keywords,
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
