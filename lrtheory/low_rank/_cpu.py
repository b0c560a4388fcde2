"""Numba kernel of the preconditioner: products of a matrix with the inverse of a small Gram matrix.

For a factor of a few columns LAPACK's singular value decomposition costs less than calling it and shaping its results.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SWEEPS = 60  # of the one-sided Jacobi method, which converges quadratically: some six are needed


@njit(cache=True, nogil=True)
def precondition(gradient, factor, damping, rcond, cutoff, out):
    """Overwrite out with ``gradient (G^T G + damping I)^-1`` for each trial; see `preconditioned.precondition`.

    Parameters
    ----------
    gradient, out : array ``(B, n, k)``
    factor : array ``(B, n', k)``
    damping : array ``(B,)``
    rcond : float
        Negative: without a cutoff, and NaN where G is singular, that is where its smallest singular value is at most
        `cutoff` times the largest.
    cutoff : float

    Notes
    -----
    One-sided Jacobi: plane rotations of the columns of G, gathered in V, until the columns are orthogonal. They then
    are ``U S``, so that the Gram matrix is never formed.
    """
    trials, n, k = factor.shape
    u = np.empty((k, n), factor.dtype)
    v = np.empty((k, k), factor.dtype)
    eigenvalues = np.empty(k, factor.dtype)
    eps = np.finfo(factor.dtype).eps
    for b in range(trials):
        finite = True
        for j in range(k):
            for i in range(n):
                u[j, i] = factor[b, i, j]
                finite &= 0.0 * u[j, i] == 0.0
            v[j] = 0.0
            v[j, j] = 1.0
        if not finite:
            out[b] = np.nan
            continue
        for _ in range(SWEEPS):
            rotated = False
            for p in range(k - 1):
                for q in range(p + 1, k):
                    a, c, d = 0.0, 0.0, 0.0
                    for i in range(n):
                        a += u[p, i] * u[p, i]
                        c += u[q, i] * u[q, i]
                        d += u[p, i] * u[q, i]
                    if not abs(d) > eps * np.sqrt(a) * np.sqrt(c):
                        continue
                    rotated = True
                    zeta = (c - a) / (2.0 * d)
                    t = 1.0 / (abs(zeta) + np.sqrt(1.0 + zeta * zeta))
                    if zeta < 0.0:
                        t = -t
                    cosine = 1.0 / np.sqrt(1.0 + t * t)
                    sine = cosine * t
                    for i in range(n):
                        x, y = u[p, i], u[q, i]
                        u[p, i] = cosine * x - sine * y
                        u[q, i] = sine * x + cosine * y
                    for i in range(k):
                        x, y = v[p, i], v[q, i]
                        v[p, i] = cosine * x - sine * y
                        v[q, i] = sine * x + cosine * y
            if not rotated:
                break
        largest, smallest = 0.0, np.inf
        for j in range(k):
            total = 0.0
            for i in range(n):
                total += u[j, i] * u[j, i]
            eigenvalues[j] = total + damping[b]
            largest = max(largest, eigenvalues[j])
            smallest = min(smallest, eigenvalues[j])
        if rcond < 0.0 and smallest <= cutoff * cutoff * largest:
            out[b] = np.nan
            continue
        out[b] = 0.0
        for j in range(k):
            if rcond >= 0.0 and not eigenvalues[j] > rcond * largest:
                continue
            for i in range(gradient.shape[1]):
                total = 0.0
                for q in range(k):
                    total += gradient[b, i, q] * v[j, q]
                total /= eigenvalues[j]
                for q in range(k):
                    out[b, i, q] += total * v[j, q]
