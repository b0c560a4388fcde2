"""Factored methods that need only operator, loss and factors: shared by sensing, robust recovery and completion."""

from lrtheory.low_rank.gauss_newton import AlternatingPreconditionedGradientDescent, ApproximatedGaussNewton
from lrtheory.low_rank.preconditioned import PreconditionedGradientDescent, ScaledGradientDescent
from lrtheory.low_rank.rebalancing import RebalancedGradientDescent, rebalance
from lrtheory.low_rank.starts import GivenFactors, OrthonormalFactors, RandomFactors, SpectralFactors

__all__ = [
    "AlternatingPreconditionedGradientDescent",
    "ApproximatedGaussNewton",
    "GivenFactors",
    "OrthonormalFactors",
    "PreconditionedGradientDescent",
    "RandomFactors",
    "RebalancedGradientDescent",
    "ScaledGradientDescent",
    "SpectralFactors",
    "rebalance",
]
