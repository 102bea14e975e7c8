"""Whether the deployment works, by the JSON API."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from mir_ops.console.access import needs
from mir_ops.console.health.examining import examined
from mir_ops.doctor import Finding

api = APIRouter(prefix="/health")


class FindingAnswer(BaseModel):
    """One part. `absent` is a part that this machine can do without."""

    part: str
    health: Literal["ok", "absent", "warning", "failed"]
    found: str
    advice: str


class HealthAnswer(BaseModel):
    """The worst first; `healthy` is false as soon as one part failed."""

    healthy: bool
    findings: list[FindingAnswer]


@api.get("", dependencies=[needs("read")])
def show_health(request: Request) -> HealthAnswer:
    """What works of this deployment, and what to do about the rest."""
    findings = examined(request)
    return HealthAnswer(
        healthy=all(each.health != "failed" for each in findings),
        findings=[_answer(each) for each in findings],
    )


def _answer(finding: Finding) -> FindingAnswer:
    return FindingAnswer(
        part=finding.part, health=finding.health, found=finding.found, advice=finding.advice
    )
