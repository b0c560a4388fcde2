"""Numba kernel of the eigenvectors of small symmetric matrices, where most of LAPACK's time goes to calls.

Householder's reduction to a tridiagonal matrix, then implicit QL steps with Wilkinson's shift (A. Dubrulle,
R. S. Martin, J. H. Wilkinson, The implicit QL algorithm, Numer. Math. 12, 1968). Eigenvectors are kept as rows, so that
each rotation is of two contiguous rows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}
EPSILON = 2.0**-52
MOST_STEPS = 60  # for one eigenvalue; two or three are usual


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _reduce(a, z, diagonal, beside):
    """Overwrite a; with Q the rows of z, ``Q a Q^T`` is tridiagonal.

    From the last row to the first: loops from 0 on, written out, are what the compiler makes vector instructions of.
    """
    n = a.shape[0]
    betas, v, w = np.zeros(n), np.empty(n), np.empty(n)
    for k in range(n - 1, 1, -1):
        first, squares = a[k, k - 1], 0.0
        for j in range(k - 1):
            squares += a[k, j] * a[k, j]
        diagonal[k], beside[k - 1] = a[k, k], first
        if squares == 0.0:
            continue
        beside[k - 1] = -math.copysign(math.sqrt(first * first + squares), first)
        a[k, k - 1] = first - beside[k - 1]
        beta = 2.0 / (a[k, k - 1] * a[k, k - 1] + squares)
        betas[k] = beta
        for j in range(k):
            v[j] = a[k, j]
        overlap = 0.0
        for i in range(k):
            s = 0.0
            for j in range(k):
                s += a[i, j] * v[j]
            w[i] = beta * s
            overlap += w[i] * v[i]
        half = 0.5 * beta * overlap
        for j in range(k):
            w[j] -= half * v[j]
        for i in range(k):
            vi, wi = v[i], w[i]
            for j in range(k):
                a[i, j] -= vi * w[j] + wi * v[j]
    diagonal[0] = a[0, 0]
    if n > 1:
        diagonal[1], beside[0] = a[1, 1], a[1, 0]
    z[:] = 0.0
    for k in range(n):
        z[k, k] = 1.0
        beta = betas[k]
        if beta == 0.0:
            continue
        for j in range(k):
            v[j] = a[k, j]
        for i in range(k):
            s = 0.0
            for j in range(k):
                s += z[i, j] * v[j]
            s *= beta
            for j in range(k):
                z[i, j] -= s * v[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def symmetric_eigen(a, values, vectors):
    """Find the eigenvalues ``(n,)``, in no order, and the eigenvectors, rows ``(n, n)``, of a symmetric a ``(n, n)``.

    Eigenvalues are good to rounding of the largest. Overwrites a, whose entries have to be of modulus 1 about: their
    squares are taken. Returns False, with numbers that mean nothing, if an eigenvalue was not found, as for NaN.
    """
    n = a.shape[0]
    e = np.zeros(n)
    _reduce(a, vectors, values, e)
    size = 0.0
    for i in range(n):
        size = max(size, abs(values[i]) + abs(e[i]))
    negligible = EPSILON * size  # no larger than what rounding makes of zeros beside the largest entries
    for low in range(n):
        steps = 0
        while True:
            m = low
            while m < n - 1 and not abs(e[m]) <= negligible:
                m += 1
            if m == low:
                break
            if steps == MOST_STEPS:
                return False
            steps += 1
            g = (values[low + 1] - values[low]) / (2.0 * e[low])
            g = values[m] - values[low] + e[low] / (g + math.copysign(math.hypot(g, 1.0), g))
            s, c, p = 1.0, 1.0, 0.0
            split = False
            for i in range(m - 1, low - 1, -1):
                f, b = s * e[i], c * e[i]
                r = math.sqrt(f * f + g * g)
                e[i + 1] = r
                if r == 0.0:
                    values[i + 1] -= p
                    e[m] = 0.0
                    split = True
                    break
                inverse = 1.0 / r
                s, c = f * inverse, g * inverse
                g = values[i + 1] - p
                r = (values[i] - g) * s + 2.0 * c * b
                p = s * r
                values[i + 1] = g + p
                g = c * r - b
                for j in range(n):
                    lower, upper = vectors[i + 1, j], vectors[i, j]
                    vectors[i + 1, j] = s * upper + c * lower
                    vectors[i, j] = c * upper - s * lower
            if not split:
                values[low] -= p
                e[low] = g
                e[m] = 0.0
    return True
