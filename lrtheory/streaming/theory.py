"""Closed forms of streaming top-eigenvector estimation: exact ones here, first-order laws from `asymptotics`.

What is exact holds for every size and, where said so, for every order of the rows. The instances are those of
`lrtheory.streaming.instances`. Their papers are cited for what they state; the formulas are derived here, in the
docstrings, and the tests hold them against dense algebra and high precision.

Notation: A has rows a_i, s_1 >= s_2 >= ... are its singular values, v_1 its first right singular vector,
R = s_1^2 / s_2^2, F^2 the sum of all squared entries.

References
----------
.. [1] P. Kacham, D. P. Woodruff, Approximating the top eigenvector in random order streams, NeurIPS 2024,
   arXiv:2412.11963.
.. [2] E. Price, Z. Xun, Spectral guarantees for adversarial streaming PCA, FOCS 2024, arXiv:2408.10332.
.. [3] M. Ghashami, E. Liberty, J. M. Phillips, D. P. Woodruff, Frequent directions: simple and deterministic matrix
   sketching, SIAM J. Comput. 45 (2016), arXiv:1501.01711.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._checks import integer, reals
from .asymptotics import (
    adaoja_sin2,
    block_power_sin2,
    ccipca_sin2,
    drift_best_step_size,
    drift_sin2,
    fixed_rate_sin2,
    history_pca_sin2,
    offline_sin2,
    oja_sin2,
    start_quantile,
)

__all__ = [
    "adaoja_sin2",
    "axis_parallel_oja",
    "block_power_sin2",
    "ccipca_sin2",
    "count_sketch_sd",
    "drift_best_step_size",
    "drift_sin2",
    "fixed_rate_sin2",
    "frequent_directions_error",
    "frequent_directions_size",
    "gaussian_sketch_sd",
    "half_sin2",
    "hard_best_corr2",
    "hard_best_step_size",
    "hard_corr2",
    "hard_crossing",
    "hard_quantile",
    "heavy_subset_sin2",
    "heavy_threshold",
    "history_pca_sin2",
    "offline_sin2",
    "oja_sin2",
    "select_sin2",
    "split_sin2",
    "start_quantile",
]


def heavy_threshold(frobenius2: Any, d: int, log_power: float = 1.0) -> Any:
    """Return the squared norm from which a row is heavy, ``F^2 / (d (log d)^p)``; [1]_ has a polylogarithm there."""
    d = integer("d", d, 2)
    return reals("frobenius2", frobenius2, 0.0) / (d * math.log(d) ** reals("log_power", log_power))


def split_sin2(gap: Any) -> Any:
    """Return the error of the top vector of the light, and of the heavy, rows of `instances.split`: ``1 / (1 + R)``.

    In every order. Derived: all light rows are parallel to (1, R^{-1/2}), the heavy one to (1, -R^{-1/2}). It has the
    order that [1]_ states for its algorithm (correlation 1 - O(R^{-1/2}), without the square), attained.
    """
    return 1 / (1 + _gap(gap))


def half_sin2(gap: Any) -> Any:
    """Return the largest error of the top vector of a part of the rows that has half of v_1's energy: ``1 / (1 + R)``.

    For R >= 3, every A and every part L with ``|L v_1|^2 >= s_1^2 / 2``; of any two parts that make up A one qualifies.
    Attained by `instances.split`.

    Derived. Let y be the part of the top vector (1, y) of L^T L across v_1, u = y / |y|, s_1 = 1. In the plane of v_1
    and u, L^T L is [[p, b], [b, x]] and has that top vector; L^T L and A^T A - L^T L = [[1 - p, -b], [-b, q - x]] are
    positive semi-definite and q <= 1 / R. So b^2 <= min(p x, (1 - p) (q - x)), and tan(2 theta) = 2 b / (p - x) is
    largest where both are equal, at x = (1 - p) q, provided that q <= p / (1 + p) (beyond, the second bound falls
    faster than (p - x)^2). There tan^2(theta) = (1 - p) q / p, at most 1 / R for p >= 1/2.
    """
    gap = _gap(gap)
    if np.any(gap < 3):
        raise ValueError(f"gap must be at least 3 (the derivation needs it), got {gap!r}")
    return 1 / (1 + gap)


def select_sin2(gap: Any) -> Any:
    """Return the largest error of the better of the two top vectors, by exact energies: ``R / (R^2 - 1)``, R >= 3.

    Derived: one of them has corr2 >= R / (1 + R) by `half_sin2`, hence energy at least s_1^2 R / (1 + R). The chosen
    one has no less, and a unit vector of corr2 = c has energy at most s_1^2 (c + (1 - c) / R).
    """
    gap = _gap(gap)
    half_sin2(gap)  # refuses a gap below 3
    return gap / (gap**2 - 1)


def heavy_subset_sin2(share: Any, quotient: Any) -> Any:
    """Return the error of the top vector of a share rho of the rows of `instances.heavy_subset`.

    ``(1 - rho) / (1 + Q rho)``, Q = R - 1: constant for rho of the order 1 / R. Derived: with s = rho h stored rows the
    top vector is their sum, ``(s alpha, 1, .., 1, 0, ..)``, alpha^2 = Q / h. The lower bound on the space of any
    algorithm, Omega(h d / R) bits, is that of [1]_; this is what storing rows achieves.
    """
    share, quotient = reals("share", share), reals("quotient", quotient, 0.0, strict=True)
    if np.any((share <= 0) | (share > 1)):
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
    return (1 - share) / (1 + quotient * share)


def hard_corr2(step_size: Any, d: int, k: int, gap: float, m: float = math.inf, start: float | None = None) -> Any:
    """Return corr2 of Oja's method with a fixed rate on `instances.hard` without decoy; exact, for every order.

    ``1 / (1 + w (1 + eta / (R m))^{2m} / (1 + eta / k)^{2k})``, where w is tan^2 of the angle of the start. Derived:
    all factors I + eta a a^T are diagonal. It holds in any orthonormal basis, for `instances.carried` too.

    Parameters
    ----------
    step_size : float or array
        eta >= 0, with s_1 = 1.
    d, k, gap : int, int, float
    m : float
        Light rows a coordinate; infinite by default, where the numerator is exp(2 eta / R).
    start : float, optional
        w. Default d, a typical value; see `start_quantile`.
    """
    d, k, gap, m, start = _hard(d, k, gap, m, start)
    eta = reals("step_size", step_size, 0.0)
    return _odds(math.log(start) - 2 * _advantage(eta, k, gap, m))


def hard_best_step_size(k: int, gap: float, m: float = math.inf) -> float:
    """Return the rate that is best on `instances.hard`, for every start: ``(R - 1) k / (1 - k / m)``, m > k.

    Derived from `hard_corr2`. With m <= k there is no best rate, and none is too large.
    """
    _, k, gap, m, _ = _hard(2, k, gap, m, None)
    if not m > k:
        raise ValueError(f"m must exceed k = {k}, got {m}: otherwise ever larger rates do ever better")
    return (gap - 1) * k / (1 - k / m)


def hard_best_corr2(d: int, k: int, gap: Any, m: float = math.inf, start: Any = None) -> Any:
    """Return corr2 of Oja's method with the best fixed rate on `instances.hard`, the rate chosen by an oracle.

    ``1 / (1 + w exp(-2 k (log R - 1 + 1/R)))`` for m infinite: it fails where ``k (log R - 1 + 1/R) < (log w) / 2``,
    w = d. With k = R that is R of the order log d / (2 log log d); [1]_ states that for R = Theta(log d / log log d)
    the method of [2]_ fails with every fixed rate. See `hard_crossing`, and `hard_corr2` for w.
    """
    gaps = np.asarray(_gap(gap))
    starts = None if start is None else np.asarray(reals("start", start, 0.0, strict=True))
    shape = np.broadcast_shapes(gaps.shape, () if starts is None else starts.shape)
    found = np.empty(shape)
    for i in np.ndindex(shape):
        w = None if starts is None else float(np.broadcast_to(starts, shape)[i])
        R = float(np.broadcast_to(gaps, shape)[i])
        found[i] = hard_corr2(hard_best_step_size(k, R, m), d, k, R, m, w)
    return found[()]


def hard_quantile(probability: Any, d: int, k: int, gap: float, m: float = math.inf) -> Any:
    """Return a quantile of `hard_best_corr2` over Gaussian starts (the best rate is the same for all)."""
    return hard_best_corr2(d, k, gap, m, start_quantile(1 - np.asarray(reals("probability", probability)), d))


def hard_crossing(d: Any) -> Any:
    """Return the R = k (real) at which `hard_best_corr2` is 1/2: the root of ``R (log R - 1) + 1 = (log d) / 2``.

    ``R = exp(1 + W((log(d) / 2 - 1) / e))`` with Lambert's W. It grows as log d / (2 log log d), so slowly that its
    ratio to log d / log log d is still 1.19 at d = 1e12.
    """
    from scipy.special import lambertw

    half = np.log(reals("d", d, 2.0)) / 2
    return np.exp(1 + np.real(lambertw((half - 1) / math.e)))[()]


def axis_parallel_oja(rows: Any, step_size: Any, start: np.ndarray) -> np.ndarray:
    """Return Oja's directions for fixed rates on rows that are each parallel to an axis; exact, in O(n) for each rate.

    ``w_j`` is the start's times the product of ``1 + eta a_ij^2`` over the rows of axis j, in logarithms; the order of
    the rows has no part in it.

    Parameters
    ----------
    rows : SciPy CSR array ``(n, d)``
        At most one stored number a row.
    step_size : float or array ``(*batch,)``
        eta >= 0.
    start : array ``(d,)``

    Returns
    -------
    array ``(*batch, d)``
        Unit vectors.
    """
    if not hasattr(rows, "indptr") or np.any(np.diff(rows.indptr) > 1):
        raise ValueError("rows must be a CSR array with at most one stored number a row")
    eta = np.asarray(reals("step_size", step_size, 0.0))
    start = np.asarray(start, dtype=np.float64)
    if start.shape != (rows.shape[1],) or not np.any(start):
        raise ValueError(f"start must be a vector of {rows.shape[1]} numbers, not all 0, got shape {start.shape}")
    energies = np.square(rows.data, dtype=np.float64)
    # equal rows of an axis count once
    cells, counts = np.unique(np.stack([rows.indices.astype(np.float64), energies]), axis=1, return_counts=True)
    axis = cells[0].astype(np.int64)
    logarithm = np.zeros((*eta.shape, start.size))
    for i in np.ndindex(eta.shape):
        logarithm[i] = np.bincount(axis, counts * np.log1p(eta[i] * cells[1]), minlength=start.size)
    with np.errstate(divide="ignore"):
        logarithm += np.log(np.abs(start))
    w = np.sign(start) * np.exp(logarithm - np.max(logarithm, axis=-1, keepdims=True))
    return w / np.linalg.norm(w, axis=-1, keepdims=True)


def frequent_directions_error(energies: Any, size: int) -> float:
    """Return the bound on ``|A^T A - S^T S|_2`` of Frequent Directions: the least tail_k / (ell - k) over k < ell.

    tail_k is the sum of s_j^2 over j > k. From [3]_.

    Parameters
    ----------
    energies : array ``(r,)``
        All s_j^2, falling.
    size : int
        ell >= 2.
    """
    energies = np.asarray(reals("energies", energies, 0.0))
    size = integer("size", size, 2)
    k = np.arange(min(size, energies.size + 1))
    tails = np.concatenate([np.cumsum(energies[::-1])[::-1], [0.0]])[k]
    return float(np.min(tails / (size - k)))


def frequent_directions_size(energies: Any) -> float:
    """Return the ell above which Frequent Directions says something about v_1: ``1 + tail_1 / (s_1^2 - s_2^2)``.

    Derived: its top vector v has ``|A v|^2 >= s_1^2 - error``, hence ``sin2 <= error / (s_1^2 - s_2^2)``, and the error
    is at most tail_1 / (ell - 1) by `frequent_directions_error`.
    """
    energies = np.asarray(reals("energies", energies, 0.0))
    if energies.ndim != 1 or energies.size < 2 or not energies[0] > energies[1]:
        raise ValueError(f"energies must fall, the first strictly above the second, got {energies[:5]}")
    return float(1 + np.sum(energies[1:]) / (energies[0] - energies[1]))


def count_sketch_sd(product: Any, size: int) -> float:
    """Return the standard deviation of ``|C v|^2`` for a CountSketch C of `size` buckets, given ``y = A v``.

    ``sqrt(2 (|y|^4 - sum_i y_i^4) / r)``: at most sqrt(2 / r) |A v|^2, and 0 for one row. Derived for independent
    signs and pairwise independent buckets: only pairs of rows in one bucket contribute, 4 y_i^2 y_j^2 / r each.
    """
    squares = np.square(np.asarray(reals("product", product)))
    return math.sqrt(max(2 * (np.sum(squares) ** 2 - np.sum(squares**2)) / integer("size", size), 0.0))


def gaussian_sketch_sd(energy: Any, size: int) -> Any:
    """Return the standard deviation of ``|G A v|^2``, G with `size` rows of N(0, 1 / r): ``sqrt(2 / r) |A v|^2``."""
    return reals("energy", energy, 0.0) * math.sqrt(2 / integer("size", size))


def _gap(gap: Any) -> Any:
    gap = reals("gap", gap)
    if not np.all(gap > 1):
        raise ValueError(f"gap must be above 1, got {gap!r}")
    return gap


def _hard(d: int, k: int, gap: float, m: float, start: float | None) -> tuple[int, int, float, float, float]:
    """Return the parameters of the hard instance, checked. k may be real: only the instance itself needs whole rows."""
    d = integer("d", d, 2)
    k, gap = reals("k", k, 0.0, strict=True), float(_gap(gap))
    m = float(reals("m", m, 0.0, strict=True, infinite=True))
    return d, k, gap, m, float(d if start is None else reals("start", start, 0.0, strict=True))


def _advantage(eta: Any, k: float, gap: float, m: float) -> Any:
    """The logarithm of the growth of e_0's entry over that of the others."""
    other = eta / gap if math.isinf(m) else m * np.log1p(eta / (gap * m))
    return k * np.log1p(eta / k) - other


def _odds(logarithm: Any) -> Any:
    from scipy.special import expit

    return expit(-np.asarray(logarithm))[()]
