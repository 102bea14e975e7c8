"""Templates of the console and of the reports: everything from data is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from mir_ops.console.charts import number_text
from mir_ops.console.messages import _, translated, translated_plural
from mir_ops.console.sentences import said

_FOLDER = Path(__file__).parent
COLOURS = 12


def render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)


def stylesheet() -> str:
    """The console's own, for pages that carry it inside."""
    return (_FOLDER / "static" / "console.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        translated, translated_plural, newstyle=True
    )
    environment.filters |= {
        "number": number_text,
        "accuracy": lambda value: "–" if value is None else f"{value:.3f}",
        "duration": duration_text,
        "time": time_text,
        "size": size_text,
        "colour": lambda class_id: f"k{class_id % COLOURS}",
        "layer": layer_text,
        "prose": prose,
        "said": said,
        "mistake": mistake_text,
    }
    return environment


def mistake_text(kind: str) -> str:
    """What is wrong with a prediction, or with none, in the reader's language."""
    texts = {
        "classification": _("on a box of another class"),
        "localisation": _("on a box of its class, but not well"),
        "both": _("near a box of another class, and not well"),
        "duplicate": _("on a box that was found already"),
        "background": _("where nothing is"),
        "missed": _("a box that nothing found"),
    }
    return texts.get(kind, kind)


def duration_text(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def time_text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def size_text(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def prose(text: str) -> Markup:
    """A sentence of the library's in the reader's language; backticks mark what is typed."""
    text = said(text)
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


def layer_text(name: str) -> str:
    """`Ground truth`, `Predictions 3f2a…`: a layer as a person says it."""
    kind, _colon, rest = name.partition(":")
    texts = {
        "ground_truth": _("Ground truth"),
        "predictions": _("Predictions"),
        "scores": _("Scores"),
        "embeddings": _("Embeddings"),
    }
    words = texts.get(kind) or kind.replace("_", " ").capitalize()
    return f"{words} {rest[:10]}".strip()
