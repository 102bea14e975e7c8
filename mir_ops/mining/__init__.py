"""Mining: score the images nobody has labelled yet and pick the ones worth labelling next."""

from mir_ops.mining.candidates import Boxes, Candidates
from mir_ops.mining.registry import Scored, Strategy, register, strategies
from mir_ops.mining.selection import select

__all__ = ["Boxes", "Candidates", "Scored", "Strategy", "register", "select", "strategies"]
