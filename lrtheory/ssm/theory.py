"""Closed-form predictions for diagonal state-space models, and the quantities they speak of without sampling error.

S4D-LegS replaces A of HiPPO-LegS by its normal part A + P P^T, and B by B / 2; its basis functions then resemble those
of (A, B) [1]_ (Theorem 3). What converges, and how fast, follows from one identity for the Laplace transforms:

    (transform of the normal part's basis) = (transform of LegS's basis) / (1 + R_N(s)),   for every basis function,
    R_N(s) = prod_{k=1}^{N} (s - k + 1) / (s + k),   |R_N(i w)| = |w| / sqrt(w^2 + N^2).

Derived: by the Sherman-Morrison formula (s - A - P P^T)^{-1} P = (s - A)^{-1} P / (1 - P^T (s - A)^{-1} P), and that
denominator is det(s - A - P P^T) / det(s - A) = (1 + R_N(s)) / 2 by the determinants in `legs_spectrum`; it also
follows from an exact difference of transfer functions in [2]_ (Lemma 1). Hence the error is |w| / N at a fixed
frequency w, but the convergence is neither uniform in w nor in norm: kernels converge weakly, against smooth inputs.

References
----------
.. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
   NeurIPS 2022, arXiv:2206.11893.
.. [2] A. Yu, A. Nigmetov, D. Morozov, M. W. Mahoney, N. B. Erichson, Robustifying state-space models for long sequences
   via approximate diagonalization, ICLR 2024, arXiv:2310.01698.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._checks import count, positive
from .discretization import log_discretize
from .legs import check_size
from .legs_systems import legs_normal_system, legs_system

_BLOCK = 512  # rows of a Gramian at a time


def legs_frequency(N: Any, j: Any, terms: int = 3) -> Any:
    """Return the expansion of LegS's eigenfrequencies for N large against 2j + 1.

    With q = (2j + 1) pi,  w_j = N^2 / q - q / 6 + (q / 12 + q^3 / 90) / N^2 + ...: the inverse law that [1]_ (see the
    module) conjectures from numerics, with its constants.

    Derived from the secular equation by expanding arctan: sum_k (k - 1/2) = N^2 / 2,
    sum_k (k - 1/2)^3 = N^2 (2 N^2 - 1) / 8, sum_k (k - 1/2)^5 = N^6 / 6 + ...

    Parameters
    ----------
    N, j : int or array
    terms : {1, 2, 3}
    """
    if terms not in (1, 2, 3):
        raise ValueError(f"terms must be 1, 2 or 3, got {terms!r}")
    N, q = _numbers("N", N, 1), (2 * _numbers("j", j) + 1) * math.pi
    w = N * N / q
    if terms > 1:
        w = w - q / 6
    if terms > 2:
        w = w + (q / 12 + q**3 / 90) / (N * N)
    return w[()]


def _numbers(name: str, value: Any, least: int = 0) -> np.ndarray:
    """Return orders or sizes, whole numbers, as float64."""
    found = np.asarray(value)
    if found.dtype.kind not in "iuf" or not np.all((found >= least) & (found == np.floor(found))):
        raise ValueError(f"{name} must hold integers >= {least}, got {value!r}")
    return found.astype(np.float64)


def legs_transfer(n: int, s: Any) -> Any:
    """Return the Laplace transform of LegS's n-th basis function at the complex s.

    sqrt(2n + 1) prod_{k=0}^{n-1} (s - k) / prod_{k=1}^{n+1} (s + k); derived, A being triangular.
    """
    n, s = count("n", n, least=0), np.asarray(s, dtype=np.complex128)
    value = math.sqrt(2 * n + 1) / (s + 1)
    for k in range(n):
        value = value * (s - k) / (s + k + 2)
    return value[()]


def all_pass(N: int, w: Any) -> Any:
    """Return R_N(i w) = prod_{k=1}^{N} (i w - k + 1) / (i w + k), whose modulus is |w| / sqrt(w^2 + N^2).

    All factors but i w / (i w + N) pair up to modulus 1, and their phases are summed: O(N) for each w.
    """
    check_size(N)
    w = np.asarray(w, dtype=np.float64)
    k = np.arange(1.0, N)
    phase = np.sum(np.arctan2(w[..., None], k), axis=-1)  # arg (i w - k) / (i w + k) = pi - 2 arctan2(w, k)
    return (1j * w / (1j * w + N) * (-1.0) ** (N - 1) * np.exp(-2j * phase))[()]


def transfer_ratio(N: int, w: Any) -> Any:
    """Return the transfer function of S4D-LegS (weights B / 2) over that of LegS at frequency w, 1 / (1 + R_N(i w)).

    It is the same for every basis function, tends to 1 at fixed w as N grows and to 1/2 as w grows at fixed N, and is
    large near the eigenfrequencies, where R_N is near -1.
    """
    return 1.0 / (1.0 + all_pass(N, w))


def transfer_error(N: int, w: Any) -> Any:
    """Return |transfer_ratio - 1| = |R_N / (1 + R_N)| without cancellation; |w| / N to first order at fixed w."""
    r = all_pass(N, w)
    return np.abs(r / (1.0 + r))


def continuous_error_limit(n: Any) -> Any:
    """Return the limit of |K_n^{S4D-LegS} - K_n| in L2(0, inf) as N grows: sqrt(2n + 1) / 2. It does not vanish.

    Half the jump of K_n at 0 stays in frequencies of the order N^2, however large N is. Found by measurement to 1e-3
    for N >= 16; no proof is given here.
    """
    return np.sqrt(2.0 * _numbers("n", n) + 1.0)[()] / 2


def zoh_error_law(n: Any, dt: Any, N: Any) -> Any:
    """Return the law of the zero-order-hold samples' error, sqrt((2n + 1) / dt) / N, for N large against 1 / sqrt(dt).

    Of ``sqrt(sum_l |Kbar_l^{S4D-LegS} - Kbar_l|^2 / dt)``. Derived, by averaging: over a turn of the phase of R_N the
    mean of |R_N / (1 + R_N)|^2 is |R_N|^2 / (1 - |R_N|^2) = w^2 / N^2, |K_n's transform|^2 tends to (2n + 1) / w^2,
    and frequencies up to pi / dt count.
    """
    n, N, dt = _numbers("n", n), _numbers("N", N, 1), positive("dt", np.asarray(dt))
    return np.sqrt((2.0 * n + 1.0) / dt)[()] / N[()]


def clipped_error_law(n: Any, N: Any, clip: float = 2.0) -> Any:
    """Return the law of `continuous_error` with input weights clipped at `clip` (then halved): c sqrt((2n + 1) / N).

    The exact weights leave an error that does not vanish (`continuous_error_limit`); clipping them, as released code of
    S4D-LegS does at 2, damps the modes above a frequency of the order N by the factor rho, and the error then falls
    as N^{-1/2}. c = 0.8016 for a clip of 2. With x = w / N,

        pi c^2 = int_0^inf rho^2 + (1 - rho)^2 / (2 x^2) dx,   rho(x) = min(1, (clip / 2) sqrt(log(1 + 1 / x^2))).

    Derived by averaging as in `zoh_error_law`, from |v_j^* B|^2 = 4 / log(1 + N^2 / w_j^2) for w_j large: the first
    term are the echoes R_N, R_N^2, ... of the transfer function, the second the smoothing of the jump at t = 0, half
    of which lies at t < 0. Not a theorem: the tests hold it against exact errors.
    """
    if not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive and finite, got {clip!r}")
    from scipy.integrate import quad

    def damping(x: float) -> float:
        return clip / 2 * math.sqrt(math.log1p(1 / x**2))

    edge = 1 / math.sqrt(math.expm1(4 / clip**2))
    # in 1/x, beyond the edge, where rho < 1
    tail = quad(lambda v: (damping(1 / v) / v) ** 2 + (1 - damping(1 / v)) ** 2 / 2, 0.0, 1 / edge)[0]
    return math.sqrt((edge + tail) / math.pi) * np.sqrt((2.0 * _numbers("n", n) + 1.0) / _numbers("N", N, 1))[()]


def basis_difference(n: int, N: int, clip: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (poles, weights) of K_n^{S4D-LegS} - K_n = Re sum_i weights_i exp(t poles_i), with S4D's B halved.

    The N / 2 modes of the normal part (doubled, for their conjugates) and the n + 1 real modes of LegS. With `clip`,
    the moduli |v_j^* B| are at most that (before they are halved), as for ``s4d(..., B="clipped")`` at 2.

    Raises
    ------
    ValueError
        If N is not a positive even integer, or n is not in 0..N-1 or too high for `legs_system`.
    """
    normal, exact = legs_normal_system(N, n, clip=clip), legs_system(n)
    poles = np.concatenate([normal.A, exact.A])
    return poles, np.concatenate([2 * normal.C * normal.B, -exact.C * exact.B])


def continuous_error(n: int, N: int, clip: float | None = None) -> float:
    """Return |K_n^{S4D-LegS} - K_n| in L2(0, inf), exactly: a sum over pairs of modes, O(N^2).

    See `continuous_error_limit`, and `clipped_error_law` for clipped input weights.
    """
    poles, weights = basis_difference(n, N, clip)
    return math.sqrt(_energy(poles, weights, lambda total: -1.0 / total))


def discrete_error(n: int, N: int, dt: float, rule: str | float = "zoh", length: int | None = None) -> float:
    """Return sqrt(sum_l |Kbar_l^{S4D-LegS} - Kbar_l|^2 / dt) over l < length; over all l by geometric sums, O(N^2).

    See `zoh_error_law` for ``"zoh"``.

    Parameters
    ----------
    n, N : int
    dt : float
    rule : str or float
        See `discretize`.
    length : int, optional
        Default: all l >= 0.

    Notes
    -----
    For the bilinear rule and all l this *equals* `continuous_error` for every dt: with bbar = dt b / (1 - dt a / 2) the
    kernel's generating function at z = exp(-i theta) is G(s) 2 / (1 + z), s = i (2 / dt) tan(theta / 2), and
    |2 / (1 + z)|^2 = 1 + (dt |s| / 2)^2 is what turns d theta into dt d|s|: the rule is an isometry of L2. The error of
    modes far beyond 2 / dt sits at the Nyquist frequency and decays over times of some dt^2 |a|^2 / 2, so that a window
    of fixed length sees ever less of it as N grows.
    """
    poles, weights = basis_difference(n, N)
    x, weights = log_discretize(poles, weights, dt, rule)
    if length is None:
        return math.sqrt(_energy(x, weights, lambda total: -1.0 / np.expm1(total)) / dt)
    block = max(1, 4_000_000 // len(x))
    energy = 0.0
    for start in range(0, length, block):
        samples = np.real(np.exp(np.arange(start, min(start + block, length))[:, None] * x) @ weights)
        energy += float(samples @ samples)
    return math.sqrt(energy / dt)


def step_error(n: int, N: int, t: np.ndarray) -> np.ndarray:
    """Return the difference of the step responses, int_0^t (K_n^{S4D-LegS} - K_n), at times t; O(N) for each."""
    poles, weights = basis_difference(n, N)
    t = np.asarray(t, dtype=np.float64)
    blocks = np.array_split(np.arange(len(poles)), max(1, len(poles) * t.size // 4_000_000))
    return np.sum([np.real(np.expm1(t[..., None] * poles[b]) @ (weights[b] / poles[b])) for b in blocks], axis=0)


def _energy(x: np.ndarray, w: np.ndarray, total: Any) -> float:
    """Return the sum (or integral) over l of (Re sum_i w_i exp(l x_i))^2, with total(x) that of exp(l x)."""
    value = 0.0
    for start in range(0, len(x), _BLOCK):
        rows, left = x[start : start + _BLOCK, None], w[start : start + _BLOCK]
        value += np.real(left @ (total(rows + x) @ w) + left @ (total(rows + np.conj(x)) @ np.conj(w))) / 2
    return float(value)
