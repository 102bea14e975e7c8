"""What a deployment's notifiers are: names to classes, from Airflow's settings alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from mir_airflow.notifications import News, check_notifiers, open_notifier

from mir_ops.errors import InvalidInputError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "triggers.md"
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"


def settings(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv("AIRFLOW__MIR__NOTIFIERS", text)


def test_the_notifier_of_the_docs_opens_and_says_what_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = DOCUMENT.read_text().partition("AIRFLOW__MIR__NOTIFIERS='")[2].partition("'\n")[0]
    settings(monkeypatch, said)
    news = News(
        event="round-closed", project="street", round=3, text="mAP <0.5>", url="https://a/b"
    )

    found = open_notifier("team")
    found.render_template_fields({"mir": news})

    assert isinstance(found, SmtpNotifier)
    assert (found.to, found.subject) == ("vision@example.org", "Round 3 of street closed")
    assert found.html_content == 'mAP &lt;0.5&gt; <a href="https://a/b">Open the run</a>'


@pytest.mark.parametrize(
    ("value", "said", "hint"),
    [
        ({}, "No notifier is named `team` here", "Name some in `[mir] notifiers`"),
        ({"crew": {"notifier": SMTP}}, "No notifier is named `team` here", "Known are `crew`"),
        ("{", "`[mir] notifiers` of Airflow's settings cannot be read", "Write `{"),
        ([1], "cannot be read: it is no object of objects", "Write `{"),
        ({"team": {}}, "Notifier `team` cannot be made", "Give `notifier`"),
        ({"team": {"notifier": "smtp"}}, "Notifier `team` cannot be made", "Give `notifier`"),
        (
            {"team": {"notifier": "nobody.Knows"}},
            "cannot be made: No module named 'nobody'",
            "Give",
        ),
        ({"team": {"notifier": SMTP, "arguments": {"who": 1}}}, "cannot be made: ", "Give"),
        ({"team": {"notifier": "builtins.dict"}}, "is none of Airflow's notifiers", ""),
    ],
)
def test_a_notifier_that_cannot_be_opened_is_explained(
    monkeypatch: pytest.MonkeyPatch, value: Any, said: str, hint: str
) -> None:
    settings(monkeypatch, value)

    with pytest.raises(InvalidInputError) as caught:
        check_notifiers(["team"])

    assert said in str(caught.value)
    assert (caught.value.hint or "").startswith(hint)
