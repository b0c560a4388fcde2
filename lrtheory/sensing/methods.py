"""The published methods by the names that experiments use, each with its usual start and parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import (
    AlternatingPreconditionedGradientDescent,
    ApproximatedGaussNewton,
    IterativeHardThresholding,
    NormalizedIterativeHardThresholding,
    NuclearNorm,
    PreconditionedGradientDescent,
    RandomFactors,
    RiemannianConjugateGradient,
    RiemannianGradientDescent,
    ScaledGradientDescent,
    SpectralFactors,
    ZeroFactors,
)
from lrtheory.names import check_name

Columns = dict[str, Any]

METHODS: dict[str, Callable[[Columns], tuple[Any, Any]]] = {
    "gd_sym": lambda c: (GradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"])),
    "gd": lambda c: (GradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"], c["rho"])),
    "gd_spectral": lambda c: (GradientDescent(c["step_size"]), SpectralFactors(c["k"], asymmetric=True)),
    "scaled_gd": lambda c: (ScaledGradientDescent(c["step_size"]), SpectralFactors(c["k"], asymmetric=True)),
    "scaled_gd_lambda": lambda c: (
        ScaledGradientDescent(c["step_size"], c["damping"] / c.get("kappa", 1.0)),
        RandomFactors(c["k"], c["alpha"]),
    ),
    "prec_gd": lambda c: (PreconditionedGradientDescent(c["step_size"]), SpectralFactors(c["k"])),
    "prec_gd_random": lambda c: (PreconditionedGradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"])),
    "prec_gd_asym": lambda c: (
        PreconditionedGradientDescent(c["step_size"]),
        RandomFactors(c["k"], c["alpha"], c["rho"]),
    ),
    "agn": lambda c: (ApproximatedGaussNewton(c["step_size"]), RandomFactors(c["k"], c["alpha"], c["rho"])),
    "apgd": lambda c: (
        AlternatingPreconditionedGradientDescent(c["step_size"]),
        RandomFactors(c["k"], c["alpha"], c["rho"]),
    ),
    "iht": lambda c: (IterativeHardThresholding(c["step_size"]), ZeroFactors(c["k"], asymmetric=True)),
    "niht": lambda c: (NormalizedIterativeHardThresholding(), ZeroFactors(c["k"], asymmetric=True)),
    "nuclear": lambda c: (NuclearNorm(c["final"]), ZeroFactors(1, asymmetric=True)),
    "riemannian_gd": lambda c: (RiemannianGradientDescent(), SpectralFactors(c["k"], asymmetric=True)),
    "riemannian_cg": lambda c: (RiemannianConjugateGradient(), SpectralFactors(c["k"], asymmetric=True)),
}

RANKLESS = ("nuclear",)
"""Methods without a search rank: their cells have no k."""

_GENERIC = {"alpha": 1.0, "rho": 1.0}  # entries N(0, 1/n), as the paper of `agn` starts

USUAL: dict[str, dict[str, float]] = {
    "gd_sym": {"step_size": 0.2, "alpha": 0.5},
    "gd": {"step_size": 0.2, "alpha": 0.5, "rho": 1 / 3},
    "gd_spectral": {"step_size": 0.5},
    "scaled_gd": {"step_size": 0.5},
    "scaled_gd_lambda": {"step_size": 0.3, "alpha": 1e-3, "damping": 0.01},
    "prec_gd": {"step_size": 0.3},
    "prec_gd_random": {"step_size": 0.3, "alpha": 0.5},
    "prec_gd_asym": {"step_size": 0.3} | _GENERIC,
    "agn": {"step_size": 0.5} | _GENERIC,
    "apgd": {"step_size": 0.5} | _GENERIC,
    "iht": {"step_size": 0.7},
    "niht": {},
    "nuclear": {"final": 1e-6},
    "riemannian_gd": {},
    "riemannian_cg": {},
}
"""The usual parameters of each method, for a truth with sigma_1 = 1: a cell says them all.

`damping` is in units of sigma_r = 1 / kappa, `final` in units of ``|A*(y)|_2``.
"""


def published(c: Columns) -> tuple[Any, Any]:
    """Return the algorithm and the start that the columns of cells name.

    Parameters
    ----------
    c : dict
        ``method``, ``k`` (but for `RANKLESS` methods), and the parameters that `USUAL` lists for the method.

    Raises
    ------
    ValueError
        For an unknown method, or a parameter of it that is missing.
    """
    method = check_name("method", c["method"], METHODS)
    needed = USUAL[method] if method in RANKLESS else {"k": "the search rank", **USUAL[method]}
    missing = [f"{name} (usual: {value})" for name, value in needed.items() if name not in c]
    if missing:
        raise ValueError(f"method {method!r} needs {', '.join(missing)}, which the cell does not have")
    return METHODS[method](c)
