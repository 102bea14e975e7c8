"""Evaluation: predictions compared with ground truth, giving COCO's metrics."""

from mir_ops.evaluation.coco import evaluate
from mir_ops.evaluation.metrics import ClassMetrics, Metrics

__all__ = ["ClassMetrics", "Metrics", "evaluate"]
