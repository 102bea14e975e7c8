"""Merge dataset versions: the first is the host, each may be for training, validation or tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mir_ops.dataset.revisions import Source, parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store

Strategy = Literal["stop", "host", "guest"]


def merge(
    store: Store,
    sources: Sequence[str | Source],
    branch: str,
    *,
    strategy: Strategy = "stop",
    exclude: Sequence[str] = (),
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
) -> Commit:
    """Commit the union of `sources` (`[tr:|va:|te:]rev`) without the images of `exclude`.

    For an image in several sources `host` keeps the first source's side, `guest` takes the last
    one's, and `stop` raises `ConflictError` with the images that differ. The same operation merges
    once: again, it returns the first commit.
    """
    from mir_ops.store import Operation

    if done := store.find_operation(branch, op_id):
        return done
    parsed = [s if isinstance(s, Source) else parse_source(s) for s in sources]
    if not parsed:
        raise InvalidInputError(
            "A merge needs at least one source",
            code="no-sources",
            hint="Name them as `tr:first;va:second`",
        )
    commits = [store.resolve(source.rev) for source in parsed]
    left_out = [store.resolve(rev) for rev in exclude]
    named = [f"{source.split or ''}:{source.rev}".lstrip(":") for source in parsed]
    operation = Operation(
        kind="merge",
        parameters={"sources": named, "strategy": strategy, "exclude": list(exclude)},
        inputs=tuple(commit.id for commit in (*commits, *left_out)),
    )
    return store.merge(
        branch,
        commits[0],
        commits[1:],
        strategy=strategy,
        splits=[source.split for source in parsed],
        exclude=left_out,
        op_id=op_id,
        operation=operation,
        message=message or f"Merge {', '.join(named)}",
        project=project,
        round=round,
        run=run,
    )
