"""Mining: score the images nobody has labelled yet and pick the ones worth labelling next."""

from mir_ops.mining.arms import Arms, Control, arm_of, control_seed, read_arms
from mir_ops.mining.candidates import Boxes, Candidates, Labelled, Vectors
from mir_ops.mining.limits import Limits
from mir_ops.mining.reading import read_labelled
from mir_ops.mining.registry import (
    Registered,
    Scored,
    Strategy,
    check_parameters,
    find_strategy,
    register,
    strategies,
)
from mir_ops.mining.selection import Selection, select

__all__ = [
    "Arms",
    "Boxes",
    "Candidates",
    "Control",
    "Labelled",
    "Limits",
    "Registered",
    "Scored",
    "Selection",
    "Strategy",
    "Vectors",
    "arm_of",
    "check_parameters",
    "control_seed",
    "find_strategy",
    "read_arms",
    "read_labelled",
    "register",
    "select",
    "strategies",
]
