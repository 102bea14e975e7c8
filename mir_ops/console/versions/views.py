"""What the pages of datasets and versions are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from mir_ops.console.messages import _
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.console.versions import graph
from mir_ops.console.versions.texts import histogram_text, kinds_text, suggestion_text
from mir_ops.dataset.archiving import fits_archive
from mir_ops.dataset.diff_records import class_rows
from mir_ops.dataset.history import Moment, Past
from mir_ops.dataset.publishing import list_published
from mir_ops.dataset.report import Report
from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog.values import Package
    from mir_ops.console.versions.differences import Difference
    from mir_ops.dataset.histograms import Histogram
    from mir_ops.store import LayerStats, Stats, Version
    from mir_ops.taxonomy import Taxonomy

LOG_PAGE: Final = 50
_HEIRS: Final = 30
_HITS: Final = 100
_SPLITS: Final = ("train", "val", "test", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log; `names` are what branches call it, `tip_of` those that end here."""

    moment: Moment
    names: tuple[str, ...]
    tip_of: tuple[str, ...]
    tags: tuple[str, ...]
    drawing: Markup
    why: str = ""

    @property
    def title(self) -> str:
        return self.names[0] if self.names else self.moment.id[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A line of a chart; `share` is of the largest, in hundredths."""

    text: str
    number: int
    share: int
    images: int | None = None
    class_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A version that this one was made from, or that was made from it."""

    id: str
    title: str
    moment: Moment | None  # none: it is of another project


def list_page(
    sources: Sources, project: str, *, branch: str, query: str, number: int
) -> dict[str, Any]:
    """Datasets, and the log of all or of one: with the graph, or the versions like a query."""
    past = sources.past(project)
    if branch and branch not in [each.name for each in past.datasets]:
        raise NotFoundError(
            f"No dataset `{branch[:200]}` in project `{project}`", code="no-such-branch"
        )
    moments = past.of_branch(branch) if branch else list(past.moments.values())
    pages = max(1, -(-len(moments) // LOG_PAGE))
    number = min(max(1, number), pages)
    if query:
        entries, pages, number = _found(sources, past, query, branch), 1, 1
    else:
        entries = _logged(sources, past, moments, number)
    return {
        **_common(sources, project, past),
        "branch": branch,
        "query_text": query,
        "page_query": urlencode({"branch": branch}) + "&" if branch else "",
        "entries": entries,
        "total": len(moments),
        "number": number,
        "pages": pages,
        "numbers": _near(number, pages),
        "keywords": _keywords(past),
    }


def version_page(sources: Sources, project: str, version: Version) -> dict[str, Any]:
    past, commit = sources.past(project), version.commit
    moment = past.moments.get(commit.id)
    names = [str(each) for each in past.names.get(commit.id, ())]
    report = commit.operation.parameters.get("report")
    truth = version.stats.layers.get("ground_truth")
    origins = dict.fromkeys(
        (*(moment.parents if moment else commit.parents), *commit.operation.inputs)
    )
    return {
        **_common(sources, project, past),
        "commit": commit,
        "names": names,
        "title": names[0] if names else commit.id[:12],
        "tip_of": _tips(past).get(commit.id, ()),
        "tags": sources.findings.tags().get(commit.id, []),
        "images": version.stats.assets,
        "labelled": truth.assets if truth else 0,
        "boxes": truth.rows if truth else 0,
        "classes": class_counts(version.taxonomy, truth),
        "layers": _layers(version.stats),
        "splits": split_counts(version.stats),
        "origins": [_relative(past, each) for each in origins][:_HEIRS],
        "heirs": [_relative(past, each.id) for each in past.heirs.get(commit.id, ())][:_HEIRS],
        "models": models_of(sources, commit.id),
        "model": moment.model if moment else None,
        "downloadable": fits_archive(version),
        "parameters": _parameters(commit.operation.parameters),
        "report": Report.from_dict(report) if isinstance(report, Mapping) else None,
    }


def analysis_page(sources: Sources, project: str, version: Version) -> dict[str, Any]:
    found = sources.findings.analysis(version.id)
    past = sources.past(project)
    return {
        **_common(sources, project, past),
        "commit": version.commit,
        "title": title_of(past, version.id),
        "analysis": found,
        "splits": split_counts(version.stats),
        "suggestions": [suggestion_text(each) for each in found.suggestions],
        "images": [chart for each in found.histograms if (chart := _chart(each))],
        "layers": [
            {
                "facts": layer,
                "classes": class_counts(version.taxonomy, version.stats.layers[layer.name]),
                "charts": [chart for each in layer.histograms if (chart := _chart(each))],
            }
            for layer in found.layers
        ],
        "attributes": {name: _counts(values.items()) for name, values in found.attributes.items()},
    }


def compare_page(
    sources: Sources, project: str, old: str, new: str, *, kind: str, number: int
) -> dict[str, Any]:
    """What changed, by counts, and a page of the images that differ; or the form alone."""
    past = sources.past(project)
    shown: dict[str, Any] = {
        **_common(sources, project, past),
        "old": old,
        "new": new,
        "found": None,
    }
    if not old or not new:
        return shown
    found = difference(sources, project, old, new)
    if kind and kind not in found.kinds:
        kind = ""
    pages = found.pages(kind or None)
    number = min(max(1, number), pages)
    cards = found.images(kind or None, number)
    return shown | {
        "found": found,
        "diff": found.diff,
        "titles": [title_of(past, version.id) for version in (found.old, found.new)],
        "classes": [row for row in class_rows(found.old, found.new, found.diff) if any(row[2])],
        "kinds": kinds_text(),
        "kind": kind,
        "cards": cards,
        "number": number,
        "pages": pages,
        "numbers": _near(number, pages),
        "page_query": urlencode({"from": found.old.id, "to": found.new.id, "kind": kind}) + "&",
    }


def import_page(sources: Sources, project: str) -> dict[str, Any]:
    return {
        **_common(sources, project, sources.past(project)),
        "published": list_published(sources.store),
        "sharing": sources.sharing_dir is not None,
    }


def difference(sources: Sources, project: str, old: str, new: str) -> Difference:
    """What changed between two versions of a project, named as a person names them."""
    one, other = (sources.revision(project, rev).id for rev in (old, new))
    return sources.findings.difference(one, other)


def search(sources: Sources, past: Past, query: str, branch: str) -> dict[str, str]:
    """The versions that are like a query, the best first, with the words that were."""
    if len(query) > 200:
        raise InvalidInputError("A search has 200 characters at most", code="long-query")
    hits: dict[str, str] = {}
    for hit in sources.findings.search(query):
        if hit.facts.id in past.moments and branch in ("", hit.branch) and len(hits) < _HITS:
            hits.setdefault(hit.facts.id, ", ".join(hit.matched))
    return hits


def title_of(past: Past, commit: str) -> str:
    names = past.names.get(commit, ())
    return str(names[0]) if names else commit[:12]


def class_counts(taxonomy: Taxonomy, layer: LayerStats | None) -> list[Count]:
    """Every class that is known, the most boxes first."""
    boxes, images = (layer.classes, layer.class_assets) if layer else ({}, {})
    names = dict(zip(taxonomy.ids, taxonomy.names, strict=True))
    most = max(boxes.values(), default=0) or 1
    ids = sorted({*names, *boxes}, key=lambda class_id: (-boxes.get(class_id, 0), class_id))
    return [
        Count(
            text=names.get(class_id, f"#{class_id}"),
            number=boxes.get(class_id, 0),
            share=round(100 * boxes.get(class_id, 0) / most),
            images=images.get(class_id, 0),
            class_id=class_id,
        )
        for class_id in ids
    ]


def split_counts(stats: Stats) -> list[Count]:
    known = [(name or _("not assigned"), stats.splits.get(name, 0)) for name in _SPLITS]
    return _counts((name, count) for name, count in known if count)


def _common(sources: Sources, project: str, past: Past) -> dict[str, Any]:
    catalog = sources.catalog
    known = catalog.projects.find(project, deleted=True) if catalog else None
    return {
        "project": project,
        "project_name": known.name if known else project,
        "no_project": NO_PROJECT,
        "datasets": past.datasets,
        "deleted": past.deleted,
        "editable": project != NO_PROJECT or sources.every_version,
    }


def _tips(past: Past) -> dict[str, tuple[str, ...]]:
    tips: dict[str, tuple[str, ...]] = {}
    for each in past.datasets:
        tips[each.tip.id] = (*tips.get(each.tip.id, ()), each.name)
    return tips


def _logged(sources: Sources, past: Past, moments: Sequence[Moment], number: int) -> list[Entry]:
    held = {moment.id for moment in moments}
    links = ((each.id, [one for one in each.parents if one in held]) for each in moments)
    start = (number - 1) * LOG_PAGE
    rows = graph.rows(links, range(start, start + LOG_PAGE))
    width = max((row.lanes for row in rows), default=1)
    drawings = [graph.drawing(row, width) for row in rows]
    shown = moments[start : start + LOG_PAGE]
    return list(_entries(sources, past, zip(shown, drawings, [""] * len(shown), strict=True)))


def _found(sources: Sources, past: Past, query: str, branch: str) -> list[Entry]:
    hits = search(sources, past, query, branch)
    lines = ((past.moments[commit], Markup(), why) for commit, why in hits.items())
    return list(_entries(sources, past, lines))


def _entries(sources: Sources, past: Past, lines: Any) -> Iterator[Entry]:
    tips, tags = _tips(past), sources.findings.tags()
    for moment, drawing, why in lines:
        yield Entry(
            moment=moment,
            names=tuple(str(name) for name in past.names.get(moment.id, ())),
            tip_of=tips.get(moment.id, ()),
            tags=tuple(tags.get(moment.id, ())),
            drawing=drawing,
            why=why,
        )


def _keywords(past: Past) -> list[Count]:
    """The keywords of the newest versions, those of most datasets first."""
    counts: dict[str, int] = {}
    for each in past.datasets:
        for word in each.tip.keywords:
            counts[word] = counts.get(word, 0) + 1
    return _counts(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:40])


def _relative(past: Past, commit: str) -> Relative:
    return Relative(id=commit, title=title_of(past, commit), moment=past.moments.get(commit))


def models_of(sources: Sources, commit: str) -> list[Package]:
    """The models that were trained on a version."""
    packages = sources.catalog.packages.list() if sources.catalog else []
    return [each for each in packages if each.origin.get("training") == commit]


def _parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    """What an operation was told, in words; what has a place of its own is left out."""
    shown = {}
    for name, value in parameters.items():
        if name in ("report", "class_ids") or value in (None, "", [], {}):
            continue
        text = _words(value)
        shown[name] = text if len(text) <= 300 else text[:299] + "…"
    return shown


def _words(value: object) -> str:
    match value:
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
        case list() | tuple():
            return ", ".join(map(_words, value))
        case _:
            return str(value)


def _layers(stats: Stats) -> list[tuple[str, LayerStats]]:
    return sorted(stats.layers.items(), key=lambda pair: (pair[0] != "ground_truth", pair[0]))


def _chart(histogram: Histogram) -> dict[str, Any] | None:
    if not any(histogram.counts):
        return None
    return {
        "title": histogram_text(histogram.name),
        "unit": histogram.unit,
        "unknown": histogram.unknown,
        "bars": _counts(zip(histogram.labels, histogram.counts, strict=True)),
    }


def _counts(pairs: Any) -> list[Count]:
    held = list(pairs)
    most = max((number for _name, number in held), default=0) or 1
    return [
        Count(text=text, number=number, share=round(100 * number / most)) for text, number in held
    ]


def _near(number: int, pages: int) -> list[int]:
    """First, last, and the pages around this one."""
    return sorted({1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)})
