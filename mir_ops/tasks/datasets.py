"""Datasets from files, and from other datasets, as a run asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError
from mir_ops.tasks.asking import Task, naming
from mir_ops.tasks.jobs import told

if TYPE_CHECKING:
    from mir_ops.dataset import Conditions, ImportResult, Sampling
    from mir_ops.dataset.merging import Strategy
    from mir_ops.dataset.sources import AnnotationFormat
    from mir_ops.executor.classes import Unknown

_PUBLIC: Final = "public:"
_BOUNDS: Final = ("width", "height", "byte_size", "boxes")


def import_shared(
    task: Task,
    source: str,
    *,
    annotations: AnnotationFormat = "auto",
    unknown: Unknown = "stop",
    split: str | None = None,
) -> ImportResult:
    """Import what lies in the sharing folder or at a URL, or the published `public:NAME`.

    The same bytes into the same branch are the same operation, whichever run asks for it.
    """
    from mir_ops.dataset import import_dataset
    from mir_ops.dataset.publishing import import_public, read_published
    from mir_ops.dataset.sharing import open_shared

    options: dict[str, Any] = {"split": split}
    if source.startswith(_PUBLIC):
        name = source.removeprefix(_PUBLIC)
        with naming("path"):
            published = read_published(task.ws.store, name)
        options["labels"] = annotations != "none"
        said = _operation(task, published.id, options)
        return import_public(task.ws.store, name, task.branch, **said)
    options |= {"annotations": annotations, "unknown_classes": unknown}
    with ExitStack() as stack:
        with naming("path"):
            files = stack.enter_context(open_shared(source, task.ws))
        said = _operation(task, files.digest(), options)
        return import_dataset(task.ws.store, files, task.branch, **said)


def _operation(task: Task, source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an import is told, with the id that the same import has whichever run asks for it."""
    from mir_ops.store import operation_id

    inputs = {"branch": task.branch, "source": source, **options}
    op_id = operation_id(f"{task.ws.deployment}/import", inputs)
    return {"op_id": op_id, **options, **task.provenance}


def prepare_dataset(
    task: Task,
    *,
    datasets: Sequence[str],
    conditions: Conditions,
    strategy: Strategy = "stop",
    exclude: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> dict[str, Any]:
    """Merge datasets, take the images of others out, filter, and draw: one commit."""
    from mir_ops.dataset import fuse
    from mir_ops.dataset.revisions import parse_source

    store = task.ws.store
    if done := store.find_operation(task.branch, task.op_id):
        return told(task, done)
    with naming("datasets"):
        sources = [parse_source(rev) for rev in datasets]
        for source in sources:
            store.resolve(source.rev)
    with naming("exclude"):
        for rev in exclude:
            store.resolve(rev)
    commit = fuse(
        store,
        sources,
        task.branch,
        strategy=strategy,
        exclude=exclude,
        conditions=conditions,
        sampling=sampling,
        op_id=task.op_id,
        **task.provenance,
    )
    return told(task, commit)


def read_sampling(
    count: int | None, rate: float | None, *, seed: int, stratify: str | None
) -> Sampling | None:
    """How many images are drawn; None: all."""
    from mir_ops.dataset import Sampling

    if count is None and rate is None:
        return None
    if count is not None and rate is not None:
        raise InvalidInputError(
            "`count` and `rate` are both given",
            code="bad-sample",
            hint="Leave one of them empty",
        )
    with naming("stratify"):
        return Sampling(count=count, rate=rate, seed=seed, stratify=stratify)


def read_conditions(given: Mapping[str, Any]) -> Conditions:
    """What an image must fulfil, from plain values: lists, words, and bounds as least values."""
    from mir_ops.dataset import Bounds, Conditions

    asked: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _BOUNDS:
            asked[name] = Bounds(low=value)
        else:
            asked[name] = tuple(value) if isinstance(value, list) else value
    return Conditions(**asked)
