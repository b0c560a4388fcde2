"""LegS and its normal part as diagonal systems, one basis function at a time."""

from __future__ import annotations

import math

import numpy as np

from .legs import check_size, eigenvector_rows, legs_spectrum
from .systems import DiagonalSSM

_MOST = 8  # the highest order: residues grow like (3 + 2 sqrt(2))^n, and kernels lose as many digits


def legs_system(n: int, dt: float = 1.0, discretization: str | float = "zoh") -> DiagonalSSM:
    """Return the system whose kernel is LegS's n-th basis function, e_n^T exp(t A) B.

    Its transfer function is sqrt(2n + 1) prod_{k=0}^{n-1} (s - k) / prod_{k=1}^{n+1} (s + k): the Laplace transform of
    `legs_basis`, whatever N > n. Its poles are -1 .. -(n + 1), and the residues come from partial fractions. Derived.

    Raises
    ------
    ValueError
        If n is negative or above 8, where residues have cancelled to nine digits.
    """
    _check_order(n)
    poles = -np.arange(1.0, n + 2)
    residues = [(-1) ** (n - k) * math.comb(n, k) * math.comb(n + k, k) * math.sqrt(2 * n + 1) for k in range(n + 1)]
    return DiagonalSSM(
        poles, np.ones(n + 1), np.array(residues), dt, discretization=discretization, conjugate_pairs=False
    )


def legs_normal_system(
    N: int, n: int, dt: float = 1.0, discretization: str | float = "zoh", *, clip: float | None = None
) -> DiagonalSSM:
    """Return the system whose kernel is the n-th basis function of LegS's normal part with half of B (S4D-LegS).

    e_n^T exp(t (A + P P^T)) B / 2, by the closed-form spectrum and row n of the eigenvectors: cost O(N n). With `clip`,
    the moduli |v_j^* B| are at most that before they are halved, as for ``s4d(..., B="clipped")`` at 2.

    Raises
    ------
    ValueError
        If N is not a positive even integer, or n not in 0..N-1.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893, Theorem 3.
    """
    check_size(N, even=True)
    _check_order(n, N - 1)
    w, absB = legs_spectrum(N)
    row = eigenvector_rows(n + 1, w, absB / math.sqrt(2))[n]
    weights = absB if clip is None else np.minimum(absB, clip)
    return DiagonalSSM(-0.5 + 1j * w, weights / 2 + 0j, row, dt, discretization=discretization)


def _check_order(n: int, most: int = _MOST) -> None:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 0 <= n <= most:
        raise ValueError(f"n must be an integer in 0..{most}, got {n!r}")
