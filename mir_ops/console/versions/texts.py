"""What the library says in English, in the reader's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mir_ops.console.messages import _
from mir_ops.console.rendering import layer_text

if TYPE_CHECKING:
    from mir_ops.dataset.suggestions import Suggestion


def suggestion_text(found: Suggestion) -> str:
    shown = ", ".join(found.names[:10]) + (" …" if len(found.names) > 10 else "")
    about: dict[str, Any] = {"layer": layer_text(found.layer), "names": shown, "count": found.count}
    texts = {
        "unlabelled-images": _("Images that are not labelled: %(count)s", **about),
        "images-without-split": _(
            "Images in no split, while others are in one: %(count)s", **about
        ),
        "groups-cross-splits": _(
            "Groups of images that are in more than one split: %(count)s", **about
        ),
        "twins-cross-splits": _(
            "Looks that images of more than one split share: %(count)s", **about
        ),
        "few-annotations": _("%(layer)s: fewer than 500 annotations of %(names)s", **about),
        "unbalanced-classes": _(
            "%(layer)s: less than a tenth of the largest class: %(names)s", **about
        ),
        "rare-density": _(
            "%(layer)s: less than a tenth of the images have so many annotations: %(names)s",
            **about,
        ),
        "tiny-boxes": _("%(layer)s: boxes of fewer than 50 pixels: %(count)s", **about),
    }
    return texts.get(found.code, found.text)


def kinds_text() -> dict[str, str]:
    """What happened to images, in words, in the order of the tabs."""
    return {
        "added": _("Added"),
        "removed": _("Removed"),
        "labels": _("Labels changed"),
        "predictions": _("Predictions changed"),
        "splits": _("Split moved"),
        "facts": _("Attributes or names changed"),
        "others": _("Scores or others changed"),
    }


def histogram_text(name: str) -> str:
    """The name of a histogram in the reader's language."""
    texts = {
        "file size": _("File size"),
        "image area": _("Image area"),
        "height / width": _("Height / width"),
        "image quality": _("Image quality"),
        "annotation quality": _("Annotation quality"),
        "box area": _("Box area"),
        "mask area": _("Mask area"),
        "box area / image area": _("Box area / image area"),
        "annotations of an image": _("Annotations of an image"),
        "classes of an image": _("Classes of an image"),
        "crowdedness": _("Crowdedness"),
    }
    return texts.get(name, name)
