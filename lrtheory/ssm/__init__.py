"""Diagonal state-space models: initialisations, discretisations, kernels, application and model reduction."""

from lrtheory.ssm import application, theory, vandermonde
from lrtheory.ssm.approximate import (
    ApproximateDiagonalization,
    legs_deviation_bound,
    perturb_then_diagonalize,
    transfer_deviation,
)
from lrtheory.ssm.bases import dense_basis, hippo_fout, legs_spectrum_dense, perturbed_legs
from lrtheory.ssm.bidirectional import apply_bidirectional, bidirectional_kernel
from lrtheory.ssm.dense import DenseSSM, companion
from lrtheory.ssm.discretization import discretize
from lrtheory.ssm.dplr import DiagonalPlusLowRankSSM, generating_kernel, s4_legs
from lrtheory.ssm.dss import dss_exp, dss_softmax_kernel
from lrtheory.ssm.fitting import fit_kernel
from lrtheory.ssm.initialization import poles, s4d
from lrtheory.ssm.legs import hippo_legs, legs_basis, legs_basis_zoh, legs_spectrum
from lrtheory.ssm.legs_systems import legs_normal_system, legs_system
from lrtheory.ssm.mimo import MIMODiagonalSSM, lru, s5
from lrtheory.ssm.modal import modal_truncation
from lrtheory.ssm.norms import difference, h2_norm, hinf_norm
from lrtheory.ssm.problems import KernelFit, random_kernel
from lrtheory.ssm.reduction import balanced_truncation, gramians, hankel_singular_values
from lrtheory.ssm.scans import associative_scan, sequential_scan
from lrtheory.ssm.systems import AliasingWarning, DiagonalSSM
from lrtheory.ssm.transforms import real_part, real_part_parameter, real_part_slope

__all__ = [
    "AliasingWarning",
    "ApproximateDiagonalization",
    "DenseSSM",
    "DiagonalPlusLowRankSSM",
    "DiagonalSSM",
    "KernelFit",
    "MIMODiagonalSSM",
    "application",
    "apply_bidirectional",
    "associative_scan",
    "balanced_truncation",
    "bidirectional_kernel",
    "companion",
    "dense_basis",
    "difference",
    "discretize",
    "dss_exp",
    "dss_softmax_kernel",
    "fit_kernel",
    "generating_kernel",
    "gramians",
    "h2_norm",
    "hankel_singular_values",
    "hinf_norm",
    "hippo_fout",
    "hippo_legs",
    "legs_basis",
    "legs_basis_zoh",
    "legs_deviation_bound",
    "legs_normal_system",
    "legs_spectrum",
    "legs_spectrum_dense",
    "legs_system",
    "lru",
    "modal_truncation",
    "perturb_then_diagonalize",
    "perturbed_legs",
    "poles",
    "random_kernel",
    "real_part",
    "real_part_parameter",
    "real_part_slope",
    "s4_legs",
    "s4d",
    "s5",
    "sequential_scan",
    "theory",
    "transfer_deviation",
    "vandermonde",
]
