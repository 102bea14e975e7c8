"""Quality: rules about the data that can stop a round. A failed rule is not a crash."""

from mir_ops.quality.gate import check
from mir_ops.quality.report import Example, Finding, GateFailedError, GateReport
from mir_ops.quality.rule_files import Rule, RuleSet, default_rules_dir, read_rules

__all__ = [
    "Example",
    "Finding",
    "GateFailedError",
    "GateReport",
    "Rule",
    "RuleSet",
    "check",
    "default_rules_dir",
    "read_rules",
]
