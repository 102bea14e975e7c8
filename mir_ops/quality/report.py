"""What a gate found: for the program, for the log, and as a page for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mir_ops.errors import InvalidInputError
from mir_ops.quality.rule_files import SEVERITIES, Severity, Value

Status = Literal["pass", "fail", "error"]

_FORMAT: Final = 1
_LONGEST_MESSAGE: Final = 2000


class GateFailedError(InvalidInputError):
    """The data broke a rule that must hold. Retrying does not help: correct the data."""

    code = "gate-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row that broke a rule: the asset's id (or the class's name) and the values looked at.

    `name` is the file that the asset came from, without anything that a terminal would obey.
    """

    key: str
    values: str
    name: str = ""

    def __str__(self) -> str:
        short = self.key[:12] if len(self.key) == 64 else self.key
        who = f"{self.name} {short}" if self.name else short
        return f"{who} ({self.values})" if self.values else who


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one rule. `error`: it could not be judged, which blocks whatever it is."""

    table: str
    rule: str
    type: str
    severity: Severity
    status: Status
    description: str = ""
    failed: int | None = None
    checked: int | None = None
    observed: str | None = None
    examples: tuple[Example, ...] = ()
    error: str | None = None

    @property
    def blocks(self) -> bool:
        return self.status == "error" or (self.status == "fail" and self.severity == "critical")

    @property
    def found(self) -> str:
        if self.error is not None:
            return self.error
        if self.failed is not None:
            return f"{self.failed} of {self.checked} rows"
        return f"found {self.observed}"

    def line(self) -> str:
        line = f"[{self.severity}] {self.table}/{self.rule}: {self.found}"
        if self.examples:
            line += f", for example {', '.join(str(one) for one in self.examples[:3])}"
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """Every rule that was checked, what it was checked on, and with which parameters."""

    findings: tuple[Finding, ...]
    versions: Mapping[str, str]  # training, validation, incoming: commit ids
    tables: Mapping[str, int]  # rows
    parameters: Mapping[str, Value]
    rules_digest: str

    @property
    def blocked(self) -> bool:
        return not self.findings or any(finding.blocks for finding in self.findings)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What did not pass, the worst first."""
        found = [finding for finding in self.findings if finding.status != "pass"]
        return tuple(sorted(found, key=_gravity))

    def message(self) -> str:
        """Some lines for a log: each broken rule with counts and examples."""
        broken = self.broken
        if not broken:
            return f"All {len(self.findings)} rules hold"
        some, all_ = len(broken), len(self.findings)
        lines = [
            f"{some} of {all_} rules do not hold:"
            if self.blocked
            else f"{some} of {all_} rules do not hold, none of them stops the round:"
        ]
        for number, finding in enumerate(broken):
            line = finding.line()
            if sum(map(len, lines)) + len(line) > _LONGEST_MESSAGE:
                lines.append(f"... and {len(broken) - number} more")
                break
            lines.append(line)
        return "\n".join(lines)

    def raise_if_blocked(self) -> None:
        if self.blocked:
            raise GateFailedError(
                f"The gate is closed: {self.message()}",
                hint="Correct the data named above, or edit the project's rules if they are wrong",
            )

    def to_dict(self) -> dict[str, Any]:
        return {"format": _FORMAT, "blocked": self.blocked, **asdict(self)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False, indent=1)

    def to_html(self, *, title: str = "Gate") -> str:
        """A page that needs nothing but itself: no scripts, no other hosts."""
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        template = environment.get_template("report.html")
        passed = [finding for finding in self.findings if finding.status == "pass"]
        return template.render(report=self, title=title, passed=passed)


def _gravity(finding: Finding) -> tuple[bool, bool, int, str, str]:
    return (
        not finding.blocks,
        finding.status != "error",
        SEVERITIES.index(finding.severity),
        finding.table,
        finding.rule,
    )
