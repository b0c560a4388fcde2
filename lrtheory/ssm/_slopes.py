"""How discrete poles and weights depend on the continuous ones: values and derivatives in z = dt a."""

from __future__ import annotations

import math

from lrtheory.backend import Array, namespace

from . import discretization
from ._checks import as_complex
from .discretization import log_discretize

NAMES = (*discretization.NAMES, "softmax")

_TERMS = 18  # of the series for |z| < 1: the next is below 1e-17


def weights(z: Array, rule: str | float, length: int) -> tuple[Array, Array, Array, Array]:
    """Return log abar and h = bbar / (dt b) as functions of z = dt a, and their derivatives.

    With p the parameter of the generalised bilinear family, phi(z) = (exp(z) - 1) / z and E = exp(L z):

    ==============  ============  ===============  =============================  ============================
    rule            log abar      h                (log abar)'                    h'
    ==============  ============  ===============  =============================  ============================
    ``"zoh"``       z             phi              1                              phi'
    ``"impulse"``   z             1                1                              0
    ``"softmax"``   z             phi / (E - 1)    1                              (phi' - L phi E / (E - 1)) / (E - 1)
    p               see           1 / (1 - p z)    1 / ((1 + (1 - p) z)(1 - p z)) p / (1 - p z)^2
                    `discretize`
    ==============  ============  ===============  =============================  ============================

    Parameters
    ----------
    z : array ``(..., M)``
    rule : str or float
        See `lrtheory.ssm.discretize`, and ``"softmax"``.
    length : int
        L, which only the softmax depends on.
    """
    xp = namespace(z)
    one = xp.ones_like(z)
    if rule == "impulse":
        return as_complex(z), one, one, 0 * one
    if rule == "zoh" or rule == "softmax":
        x, phi = log_discretize(z, one, 1.0, "zoh")
        slope = _phi_slope(z, phi)
        if rule == "zoh":
            return x, phi, one, slope
        share = 1 / xp.expm1(length * z)
        return x, phi * share, one, slope * share - length * phi * share * (1 + share)
    x, factor = log_discretize(z, one, 1.0, rule)
    p = discretization._parameter(rule)
    return x, factor, factor / (1 + (1 - p) * z), p * factor * factor


def _phi_slope(z: Array, phi: Array) -> Array:
    """Return the derivative of phi(z) = (exp(z) - 1) / z, (exp(z) - phi) / z or, near 0, its power series."""
    xp = namespace(z)
    small = xp.abs(z) < 1
    near = xp.where(small, z, xp.zeros_like(z))
    series = xp.zeros_like(z)
    for k in range(_TERMS, -1, -1):
        series = series * near + (k + 1) / math.factorial(k + 2)
    return xp.where(small, series, (xp.exp(z) - phi) / xp.where(small, xp.ones_like(z), z))
