"""HiPPO-LegS: its matrices, the spectrum of its normal part in closed form, its basis functions.

A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it, B_n = sqrt(2n+1), P = B / sqrt(2) [1]_. The matrix
A + P P^T = -I/2 + S is normal (S is skew-symmetric), with eigenvalues -1/2 +- i w_j. A itself has the eigenvalues
-1, ..., -N and eigenvectors so ill-conditioned that it must never be diagonalised.

References
----------
.. [1] A. Gu, T. Dao, S. Ermon, A. Rudra, C. Re, HiPPO: recurrent memory with optimal polynomial projections, NeurIPS
   2020, arXiv:2008.07669.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace

from ._checks import count, positive_number, real_numbers

_HEAD = 10  # terms summed as they are: the series below is asymptotic in |x + i w|, and 3e-17 of the first term here
_BERNOULLI = (-1 / 12, 7 / 240, -31 / 1344, 127 / 3840, -2555 / 33792, 1414477 / 5591040, -57337 / 49152)
_ANGLE_SERIES = tuple(b / (2 * m * (2 * m - 1)) for m, b in enumerate(_BERNOULLI, 1))  # of arctan, B_2m(1/2) above
_SLOPE_SERIES = tuple(b / (2 * m) for m, b in enumerate(_BERNOULLI, 1))
_ITERATIONS = 100  # 10 are needed at N = 4096; so many halvings of the bracket would do as well


def hippo_legs(N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A ``(N, N)``, B ``(N,)`` and P ``(N,)`` of HiPPO-LegS.

    Raises
    ------
    ValueError
        If N is not a positive integer.
    """
    check_size(N)
    n = np.arange(N)
    B = np.sqrt(2.0 * n + 1.0)
    return -np.tril(np.outer(B, B), -1) - np.diag(n + 1.0), B, np.sqrt(n + 0.5)


def legs_spectrum(N: int, vectors: bool = False) -> tuple[np.ndarray, ...]:
    """Return the eigenvalues of LegS's normal part A + P P^T in closed form, without an eigendecomposition.

    The eigenvalues are -1/2 +- i w_j, where w_j, j = 0..N/2-1 (the largest first), is the root of the secular equation

        sum_{k=1}^{N} arctan2(k - 1/2, w) = (2j + 1) pi / 2.

    Derived: det(s I - A - P P^T) = (prod_{k=1}^{N} (s + k) + prod_{k=0}^{N-1} (s - k)) / 2, and the two products are
    conjugate up to sign on the line Re s = -1/2, so that the determinant vanishes where their phases differ by pi.

    Parameters
    ----------
    N : int
        Size, even.
    vectors : bool
        Whether to return the eigenvectors too.

    Returns
    -------
    w : array ``(N / 2,)``
        Positive eigenfrequencies, descending.
    absB : array ``(N / 2,)``
        ``|v_j^* B|``; the squares sum to N^2 / 2 (to N^2 over both signs of w).
    V : complex array ``(N, N / 2)``
        With ``vectors``: orthonormal eigenvectors of the eigenvalues -1/2 + i w, with the phase in which ``v_j^* P``
        is positive. Hence ``V^* B = absB``: the projected input weights are real.

    Raises
    ------
    ValueError
        If N is not a positive even integer.

    Notes
    -----
    Newton's method in log w with steps of at most 2, all roots at once, safeguarded by the bracket
    [0, N^2 / pi + 1]. The first 10 terms of a sum are added as they are, the others by the Euler-Maclaurin formula at
    midpoints: Stirling's series for the phase of a quotient of gamma functions, in which the difference of logarithms
    is one log1p, so that nothing cancels. Roots below the middle use the complementary sum of arctan2(w, k - 1/2),
    which is small where w is. A pass thus costs O(N), and all roots are accurate to some 1e-15 relative, where a dense
    eigensolver takes O(N^3) and loses digits of the small ones.

    Since w is a root, |v_j^* P|^2 = 1 / sum_k (k - 1/2) / ((k - 1/2)^2 + w^2), and with s = -1/2 + i w the eigenvector
    is v_n = |v^* P| sqrt(n + 1/2) prod_{k<n} (s - k) / prod_{k<=n+1} (s + k) in O(N) for each; all factors but one
    have modulus 1, which makes the recursion over n stable.
    """
    check_size(N, even=True)
    odd = 2.0 * np.arange(N // 2) + 1.0
    w, slope = secular_roots(N, np.maximum(N * N / (odd * math.pi) - odd * math.pi / 6, 0.05))
    absP = 1.0 / np.sqrt(slope)
    absB = math.sqrt(2.0) * absP
    return (w, absB, eigenvector_rows(N, w, absP)) if vectors else (w, absB)


def secular_roots(N: int, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the roots of the secular equation in `legs_spectrum` from positive starts, and minus its slopes there.

    Newton's method in log w reached them from every start that was tried; the bracket guards what was not.
    """
    odd = 2.0 * np.arange(N // 2) + 1.0
    top = 2 * odd <= N
    target = np.where(top, odd, N - odd) * (math.pi / 2)
    lower, upper = np.zeros_like(w), np.full_like(w, N * N / math.pi + 1.0)
    for _ in range(_ITERATIONS):
        angle, slope = _sums(N, w, top)
        excess = np.where(top, angle - target, target - angle)
        lower, upper = np.where(excess > 0, w, lower), np.where(excess < 0, w, upper)
        step = np.clip(excess / (w * slope), -2.0, 2.0)
        moved = w * np.exp(step)
        inside = (moved > lower) & (moved < upper)
        w = np.where(inside | (np.abs(step) < 1e-12), moved, (lower + upper) / 2)  # the bracket is rounding there
        if np.max(np.abs(step)) < 1e-14:
            break
    return w, _sums(N, w, top)[1]


def legs_basis(n: int | Sequence[int] | np.ndarray, t: Array) -> Array:
    """Return the basis functions e_n^T exp(t A) B of LegS at times t.

    K_n(t) = sqrt(2n + 1) exp(-t) P_n(2 exp(-t) - 1), with the Legendre polynomials P_n: the same for every N, since A
    is lower triangular. Derived: t -> x = exp(-t) turns LegS's measure into the uniform one on [0, 1].

    Parameters
    ----------
    n : int or sequence of int
        Orders.
    t : array
        Times >= 0.

    Returns
    -------
    array ``(*shape of n, *shape of t)``

    Raises
    ------
    ValueError
        If an order or a time is negative.
    """
    t = real_numbers("t", t if is_array(t) else np.asarray(t))
    xp = namespace(t)
    if not bool(xp.all(t >= 0)):
        raise ValueError("t must be >= 0")
    return _by_order(n, xp.exp(-t) * _shifted_legendre(n, xp.exp(-t), -xp.expm1(-t)))


def legs_basis_zoh(n: int | Sequence[int] | np.ndarray, dt: float, length: int) -> np.ndarray:
    """Return the zero-order-hold samples of LegS's basis functions: the integral of K_n over [l dt, (l + 1) dt].

    With x = exp(-t) the integrand is sqrt(2n + 1) P_n(2x - 1), a polynomial: the Gauss-Legendre rule with n/2 + 1
    points is exact, and accurate relative to the sample however small dt is, where differences of the antiderivative
    would cancel. Cost O(length n^2).

    Returns
    -------
    array ``(*shape of n, length)``

    Raises
    ------
    ValueError
        If dt is not positive, length < 1, or an order is negative.
    """
    dt, length = positive_number("dt", dt), count("length", length)
    points, weights = np.polynomial.legendre.leggauss(int(np.max(n, initial=0)) // 2 + 1)
    start = np.arange(length) * dt
    width = -np.exp(-start) * math.expm1(-dt)
    part = (1.0 - points)[:, None] / 2
    x = np.exp(-start) - width * part
    values = _shifted_legendre(n, x, -np.expm1(-start) + width * part)
    return _by_order(n, width * np.einsum("p,npl->nl", weights / 2, values))


def check_size(N: Any, even: bool = False) -> None:
    """Raise ValueError unless N is a positive (even) integer."""
    if not isinstance(N, (int, np.integer)) or isinstance(N, bool) or N < 1 or (even and N % 2):
        raise ValueError(f"N must be a positive {'even ' if even else ''}integer, got {N!r}")


def _sums(N: int, w: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_k arctan2(k - 1/2, w) where `top`, its complement elsewhere, and sum_k (k - 1/2)/((k - 1/2)^2 + w^2).

    Each k = 1..N.
    """
    head = min(N, _HEAD)
    k = np.arange(head)[:, None] + 0.5
    angle = np.sum(np.arctan2(np.where(top, k, w), np.where(top, w, k)), axis=0)
    slope = np.sum(k / (k * k + w * w), axis=0)
    if head == N:
        return angle, slope
    growth = np.log1p((N - head) * (N + head) / (head * head + w * w)) / 2  # log |N + i w| - log |head + i w|
    ends = [np.arctan2(np.where(top, x, w), np.where(top, w, x)) * x for x in (head, N)]
    inverse = [1.0 / (x + 1j * w) for x in (head, N)]
    stirling = [np.imag(v * _polynomial(_ANGLE_SERIES, v * v)) for v in inverse]
    sign = np.where(top, -1.0, 1.0)
    angle = angle + ends[1] - ends[0] + sign * (w * growth + stirling[1] - stirling[0])
    bernoulli = [np.real(v * v * _polynomial(_SLOPE_SERIES, v * v)) for v in inverse]
    return angle, slope + growth - (bernoulli[1] - bernoulli[0])


def _polynomial(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    value = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value


def eigenvector_rows(rows: int, w: np.ndarray, absP: np.ndarray) -> np.ndarray:
    """Return the first rows of V, see `legs_spectrum`: they do not depend on N but through w and |V^* P|."""
    V = np.empty((rows, len(w)), dtype=np.complex128)
    product = absP.astype(np.complex128)
    for n in range(rows):
        z = n + 0.5 + 1j * w  # s + n + 1; and s - n is minus its conjugate
        V[n] = math.sqrt(n + 0.5) * product / z
        product *= -np.conj(z) / z
    return V


def _shifted_legendre(n: Any, x: Array, rest: Array) -> Array:
    """Return sqrt(2n + 1) P_n(2x - 1) for x in [0, 1] and the orders n, ``(number of orders, *shape of x)``.

    ``rest = 1 - x`` is given, since it has digits that x near 1 has lost. The recurrence is that of the differences
    P_{n+1} - P_n, in the distance to the nearer end of [-1, 1]: P_n(-x) = (-1)^n P_n(x).
    """
    orders = np.atleast_1d(np.asarray(n))
    if orders.dtype.kind not in "iu" or (orders < 0).any():
        raise ValueError(f"n must be integers >= 0, got {n!r}")
    xp = namespace(x, rest)
    flipped = x < rest
    y = 2.0 * xp.where(flipped, x, rest)
    value, change = xp.ones_like(x), xp.zeros_like(x)
    wanted: dict[int, Array] = {}
    for k in range(int(orders.max(initial=0)) + 1):
        if k in orders:
            wanted[k] = math.sqrt(2 * k + 1) * (xp.where(flipped, -value, value) if k % 2 else value)
        change = (k * change - (2 * k + 1) * y * value) / (k + 1)
        value = value + change
    return xp.stack([wanted[int(k)] for k in orders.reshape(-1)])


def _by_order(n: Any, values: Array) -> Array:
    return namespace(values).reshape(values, np.shape(n) + tuple(values.shape[1:]))
