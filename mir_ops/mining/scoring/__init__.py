"""The strategies that come along; importing this package registers them."""

from mir_ops.mining.scoring import (
    distinct,
    executor,
    hybrid,
    k_center,
    random_draw,
    rarity,
    uncertainty,
)

__all__ = ["distinct", "executor", "hybrid", "k_center", "random_draw", "rarity", "uncertainty"]
