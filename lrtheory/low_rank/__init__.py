"""Factored methods that need only operator, loss and factors: shared by sensing, robust recovery and completion."""

from lrtheory.low_rank.rebalancing import RebalancedGradientDescent, rebalance
from lrtheory.low_rank.starts import GivenFactors, OrthonormalFactors, RandomFactors, SpectralFactors

__all__ = [
    "GivenFactors",
    "OrthonormalFactors",
    "RandomFactors",
    "RebalancedGradientDescent",
    "SpectralFactors",
    "rebalance",
]
