"""Evaluation: predictions compared with ground truth.

`evaluate` gives COCO's metrics of tables; `read_material` and `evaluate_material` everything about
the predictions in a dataset version, `commit_marks` keeps the mark of every box with one. `compare`
says whether one model is better than another, `freeze` makes a test set that no training may read.
"""

from mir_ops.evaluation.coco import evaluate
from mir_ops.evaluation.comparison import Comparison, compare
from mir_ops.evaluation.frozen import freeze, frozen_sets, refuse_frozen
from mir_ops.evaluation.materials import Material, Origin, on_the_same_images, read_material
from mir_ops.evaluation.metrics import ClassMetrics, Metrics
from mir_ops.evaluation.versions import Evaluation, Settings, commit_marks, evaluate_material

__all__ = [
    "ClassMetrics",
    "Comparison",
    "Evaluation",
    "Material",
    "Metrics",
    "Origin",
    "Settings",
    "commit_marks",
    "compare",
    "evaluate",
    "evaluate_material",
    "freeze",
    "frozen_sets",
    "on_the_same_images",
    "read_material",
    "refuse_frozen",
]
