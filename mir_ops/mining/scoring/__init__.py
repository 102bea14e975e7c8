"""One file per strategy; importing this package registers them."""

from mir_ops.mining.scoring import entropy, random_draw

__all__ = ["entropy", "random_draw"]
