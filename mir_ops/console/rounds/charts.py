"""What a project's rounds were worth, drawn: accuracy against what was put in, mined and random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from mir_ops.console.charts import Series, Whisker, line_chart, whisker_chart
from mir_ops.console.messages import _
from mir_ops.console.rounds.views import RoundView

Spent = Callable[[Sequence[RoundView]], list[float | None]]


def axes() -> dict[str, str]:
    """What accuracy can be drawn against, with its name."""
    return {
        "images": _("Labelled images"),
        "boxes": _("Boxes"),
        "people": _("People's time"),
        "machines": _("Machines' time"),
    }


def progress_chart(rounds: Sequence[RoundView], against: str = "images") -> Markup:
    """mAP against what the rounds took: what each round's labels were worth."""
    title, label = {
        "images": (
            _("Accuracy against labelled images"),
            _("labelled images in the training set"),
        ),
        "boxes": (_("Accuracy against boxes"), _("boxes in the training set")),
        "people": (
            _("Accuracy against what people spent"),
            _("hours of people, on the labels that the model has seen"),
        ),
        "machines": (
            _("Accuracy against what machines spent"),
            _("hours of executors, up to the end of the round"),
        ),
    }[against]
    spent = _SPENT[against](rounds)
    points = [
        (x, turn) for x, turn in zip(spent, rounds, strict=True)
        if x is not None and turn.map50 is not None
    ]  # fmt: skip
    return line_chart(
        [
            Series(
                name="mAP50",
                points=[(x, turn.map50 or 0.0) for x, turn in points],
                notes=[
                    _(
                        "Round %(number)d: mAP50 %(map50).3f, %(images)s images",
                        number=turn.number,
                        map50=turn.map50,
                        images="–" if turn.images is None else turn.images,
                    )
                    for _x, turn in points
                ],
            ),
            Series(
                name="mAP50:95",
                points=[(x, turn.map50_95) for x, turn in points if turn.map50_95 is not None],
            ),
        ],
        title=title,
        x_label=label,
        y_label=_("mAP on the validation set"),
        y_top=1.0,
    )


def _people(rounds: Sequence[RoundView]) -> list[float | None]:
    """Hours that went into the labels of earlier rounds; None before anybody measured."""
    hours = [((turn.cost or {}).get("annotator_seconds") or 0.0) / 3600 for turn in rounds]
    if not any(hours):
        return [None] * len(rounds)
    return [before - own for before, own in zip(accumulate(hours), hours, strict=True)]


def _machines(rounds: Sequence[RoundView]) -> list[float | None]:
    hours = [machine_seconds(turn.cost) / 3600 for turn in rounds]
    return [*accumulate(hours)] if any(hours) else [None] * len(rounds)


_SPENT: dict[str, Spent] = {
    "images": lambda rounds: [turn.images for turn in rounds],
    "boxes": lambda rounds: [turn.boxes for turn in rounds],
    "people": _people,
    "machines": _machines,
}


def machine_seconds(cost: Mapping[str, Any] | None) -> float:
    """Seconds of all executors of a round."""
    used = (cost or {}).get("executors", {}).values()
    return float(sum(each["seconds"] or 0.0 for each in used))


def yields(rounds: Sequence[RoundView]) -> dict[str, str]:
    """What both arms of these rounds were compared by, with its name."""
    known = {
        "misses": _("missed objects"),
        "false positives": _("false positives"),
        "boxes": _("boxes"),
        "rare boxes": _("boxes of rare classes"),
    }
    found = [name for turn in rounds for name in (turn.control or {}).get("yields", {})]
    return {name: known.get(name, name) for name in dict.fromkeys(found)}


def control_chart(rounds: Sequence[RoundView], name: str) -> Markup:
    """Mined less random of each round, per image, with the interval."""
    found = [
        (turn, turn.control["yields"][name])
        for turn in rounds
        if turn.control and name in turn.control.get("yields", {})
    ]
    return whisker_chart(
        [
            Whisker(
                label=str(turn.number),
                value=each["difference"],
                low=each["low"],
                high=each["high"],
                note=_(
                    "Round %(number)d: mined %(mined).2f, random %(random).2f, difference "
                    "%(difference)+.2f, 90%% interval %(low)+.2f to %(high)+.2f",
                    number=turn.number,
                    mined=each["mined"],
                    random=each["random"],
                    difference=each["difference"],
                    low=each["low"],
                    high=each["high"],
                ),
            )
            for turn, each in found
        ],
        title=_("Mined less random: %(what)s per image", what=yields(rounds).get(name, name)),
        x_label=_("round"),
        y_label=_("difference per image, with its 90%% interval"),
    )


def verdict(rounds: Sequence[RoundView]) -> str:
    """Whether it got better or worse, in one sentence that promises nothing."""
    measured = [turn for turn in rounds if turn.map50 is not None]
    if not measured:
        return _("No round has been evaluated yet.")
    first, last = measured[0], measured[-1]
    if first is last:
        return _(
            "One model so far, mAP50 %(map50).3f: nothing to compare it with yet.",
            map50=first.map50,
        )
    before, after = first.map50 or 0.0, last.map50 or 0.0
    gain, values = after - before, {"first": first.number, "last": last.number}
    said = {
        1: _("Better: mAP50 went from %(before).3f in round %(first)d to %(after).3f in round "
             "%(last)d (%(gain)+.3f)", before=before, after=after, gain=gain, **values),
        0: _("No change: mAP50 went from %(before).3f in round %(first)d to %(after).3f in round "
             "%(last)d (%(gain)+.3f)", before=before, after=after, gain=gain, **values),
        -1: _("Worse: mAP50 went from %(before).3f in round %(first)d to %(after).3f in round "
              "%(last)d (%(gain)+.3f)", before=before, after=after, gain=gain, **values),
    }[1 if gain >= 0.0005 else -1 if gain <= -0.0005 else 0]  # fmt: skip
    if first.images is not None and last.images is not None:
        said += _(", with %(images)d more labelled images", images=last.images - first.images)
    return f"{said}. " + _(
        "One training per round on one seed: part of the difference is chance, and it does not say "
        "what random picks would have given."
    )
