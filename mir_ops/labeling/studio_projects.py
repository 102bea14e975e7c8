"""A label project as Label Studio takes it: classes and controls as its XML, the guide as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from mir_ops.labeling.backend import LabelRequest

CONTROLS: Final = {
    "box": "RectangleLabels",
    "rotated_box": "RectangleLabels",
    "polygon": "PolygonLabels",
    "mask": "BrushLabels",
}
_COLOURS: Final = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c",
    "#fabebe", "#008080", "#9a6324", "#800000", "#808000", "#000075", "#ffd8b1", "#808080",
)  # fmt: skip
_TITLE: Final = 33  # characters; Label Studio takes 50 with what tells two titles apart
_OVER: Final = "<p><b>This round is over.</b> What is labelled here now is not taken any more.</p>"


def short_key(key: str) -> str:
    """What a title and a task id carry of a request's key."""
    return key[:12]


def describe_project(request: LabelRequest) -> dict[str, Any]:
    """The body that creates the project of a request."""
    return {
        "title": f"{request.title[:_TITLE]} · {short_key(request.key)}",
        "description": mark_of(request.key),
        "label_config": label_config(request),
        "expert_instruction": instruction(request),
        "show_instruction": True,
        "maximum_annotations": 1,
        "show_collab_predictions": True,
        "sampling": "Sequential sampling",
    }


def closing(project: Mapping[str, Any]) -> dict[str, Any]:
    """What changes in a project when nobody needs to label in it any more."""
    return {
        "title": f"✓ {project.get('title') or ''}"[:50],
        "description": f"{project.get('description') or ''} (closed)",
        "expert_instruction": f"{_OVER}\n{project.get('expert_instruction') or ''}",
    }


def mark_of(key: str) -> str:
    """What the description of a request's project holds, and that of no other."""
    return f"mir-ops request {key}"


def label_config(request: LabelRequest) -> str:
    """Every control with every class in the project's order. The alias keeps a class its name,
    whatever people make of the label that they see."""
    controls = list(dict.fromkeys(CONTROLS[shape] for shape in request.shapes))
    lines = ['  <Image name="image" value="$image" zoom="true" crossOrigin="anonymous"/>']
    for control in controls:
        turns = ""
        if control == "RectangleLabels":
            turns = f' canRotate="{str("rotated_box" in request.shapes).lower()}"'
        lines.append(f'  <{control} name="{control.lower()}" toName="image"{turns}>')
        for number, name in enumerate(request.classes.values()):
            value, colour = quoteattr(name), _COLOURS[number % len(_COLOURS)]
            lines.append(f'    <Label value={value} alias={value} background="{colour}"/>')
        lines.append(f"  </{control}>")
    return "\n".join(["<View>", *lines, "</View>"])


def missing_labels(parsed: object, request_labels: Mapping[str, list[str]]) -> list[str]:
    """Labels that a project should have, by control, and has no more."""
    found = parsed if isinstance(parsed, dict) else {}
    missing = []
    for control, names in request_labels.items():
        there = found.get(control)
        attributes = there.get("labels_attrs") if isinstance(there, dict) else None
        known = set()
        for value, each in (attributes if isinstance(attributes, dict) else {}).items():
            known |= {value, each.get("alias") if isinstance(each, dict) else None}
        missing += [name for name in names if name not in known]
    return missing


def labels_of(request: LabelRequest) -> dict[str, list[str]]:
    """The labels of a request, by the name of their control."""
    names = list(request.classes.values())
    return {CONTROLS[shape].lower(): names for shape in request.shapes}


def instruction(request: LabelRequest) -> str:
    """What people read before they begin; as HTML, which the tool shows as it is."""
    names = ", ".join(request.classes.values())
    parts = [f"<p>{len(request.assets)} images. Classes: {html.escape(names)}</p>"]
    if request.annotators:
        people = html.escape(", ".join(request.annotators))
        parts.append(f"<p>For {people}. Every member of this server can open the project.</p>")
    if request.guide and is_page(request.guide):
        address = html.escape(request.guide, quote=True)
        parts.append(f'<p><a href="{address}" target="_blank" rel="noopener">Label guide</a></p>')
    elif request.guide:
        text = html.escape(request.guide).replace("\n", "<br>")
        parts.append(f"<h3>Label guide</h3><p>{text}</p>")
    parts.append("<p>Nothing to see on an image: submit it empty. Skip what cannot be judged.</p>")
    return "\n".join(parts)


def is_page(guide: str) -> bool:
    """Whether a guide is the address of a page, and not a text."""
    return urlsplit(guide).scheme in ("http", "https") and len(guide.split()) == 1
