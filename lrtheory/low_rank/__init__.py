"""Factored methods that need only operator, loss and factors: shared by sensing, robust recovery and completion."""

from lrtheory.low_rank.gauss_newton import AlternatingPreconditionedGradientDescent, ApproximatedGaussNewton
from lrtheory.low_rank.nuclear import NuclearNorm
from lrtheory.low_rank.preconditioned import PreconditionedGradientDescent, ScaledGradientDescent
from lrtheory.low_rank.rebalancing import RebalancedGradientDescent, rebalance
from lrtheory.low_rank.riemannian import RiemannianConjugateGradient, RiemannianGradientDescent
from lrtheory.low_rank.starts import GivenFactors, OrthonormalFactors, RandomFactors, SpectralFactors, ZeroFactors
from lrtheory.low_rank.thresholding import IterativeHardThresholding, NormalizedIterativeHardThresholding

__all__ = [
    "AlternatingPreconditionedGradientDescent",
    "ApproximatedGaussNewton",
    "GivenFactors",
    "IterativeHardThresholding",
    "NormalizedIterativeHardThresholding",
    "NuclearNorm",
    "OrthonormalFactors",
    "PreconditionedGradientDescent",
    "RandomFactors",
    "RebalancedGradientDescent",
    "RiemannianConjugateGradient",
    "RiemannianGradientDescent",
    "ScaledGradientDescent",
    "SpectralFactors",
    "ZeroFactors",
    "rebalance",
]
