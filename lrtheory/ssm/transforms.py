"""Real parts of poles that stay negative while they are trained: Re a = -f(theta)."""

from __future__ import annotations

from lrtheory.backend import Array, namespace
from lrtheory.names import check_name

from ._checks import an_array

TRANSFORMS = ("exp", "relu", "softplus", "sigmoid", "none")

FLOOR = 1e-4  # the slowest decay that the inverse keeps, and that relu reaches


def real_part(theta: Array, transform: str = "exp") -> Array:
    """Return the real parts -f(theta) of poles.

    ==============  ============================
    transform       f(theta)
    ==============  ============================
    ``"exp"``       exp(theta)
    ``"relu"``      max(theta, 0) + 1e-4
    ``"softplus"``  log(1 + exp(theta))
    ``"sigmoid"``   1 / (1 + exp(-theta))
    ``"none"``      theta; the poles may become unstable
    ==============  ============================

    Parameters
    ----------
    theta : array
        Free parameters.
    transform : str

    Raises
    ------
    ValueError
        If the transform is unknown.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893. The constants are those of the released code.
    """
    xp = namespace(an_array("theta", theta))
    if check_name("transform", transform, TRANSFORMS) == "exp":
        return -xp.exp(theta)
    if transform == "relu":
        return -(xp.where(theta < 0, xp.zeros_like(theta), theta) + FLOOR)  # NaN stays NaN
    if transform == "softplus":
        return -_softplus(theta)
    if transform == "sigmoid":
        return -xp.exp(-_softplus(-theta))
    return -theta


def real_part_slope(theta: Array, transform: str = "exp") -> Array:
    """Return the derivative of `real_part` with respect to theta (0 at the kink of relu)."""
    xp = namespace(an_array("theta", theta))
    if check_name("transform", transform, TRANSFORMS) == "exp":
        return -xp.exp(theta)
    if transform == "relu":
        return -xp.astype(theta > 0, theta.dtype)
    if transform == "softplus":
        return -xp.exp(-_softplus(-theta))
    if transform == "sigmoid":
        return -xp.exp(-_softplus(-theta) - _softplus(theta))
    return -xp.ones_like(theta)


def real_part_parameter(re: Array, transform: str = "exp") -> Array:
    """Return theta with ``real_part(theta) = re``; real parts above -1e-4 are taken for -1e-4 first.

    Raises
    ------
    ValueError
        If the transform is unknown, or a real part is -1 or less, which the sigmoid does not reach.
    """
    xp = namespace(an_array("re", re))
    check_name("transform", transform, TRANSFORMS)
    rate = xp.where(re > -FLOOR, xp.full_like(re, FLOOR), -re)  # NaN stays NaN
    if transform == "exp":
        return xp.log(rate)
    if transform == "relu":
        return rate - FLOOR
    if transform == "softplus":
        return rate + xp.log(-xp.expm1(-rate))
    if transform == "sigmoid":
        if bool(xp.any(rate >= 1)):
            raise ValueError("re must be above -1 for the sigmoid, whose values lie between 0 and 1")
        return xp.log(rate) - xp.log1p(-rate)
    return rate


def _softplus(theta: Array) -> Array:
    xp = namespace(theta)
    return xp.where(theta > 0, theta, xp.zeros_like(theta)) + xp.log1p(xp.exp(-xp.abs(theta)))
