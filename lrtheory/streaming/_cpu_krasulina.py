"""Numba kernel of Matrix Krasulina."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # never assume that NaN and infinity are absent
LONG_STEP = 1e4
"""rate ||a||^2 from which a step loses so many times the rounding error, or overflows, if it is taken as written."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def krasulina(rows, rates, w, energies):
    """Take rows ``(m, d)``, which are overwritten, with rates ``(m,)``, changing w ``(k, d)``, and return their energy.

    The energy along each row of w before the step is added to energies ``(k,)``. See `MatrixKrasulina`.
    """
    m, d = rows.shape
    k = w.shape[0]
    s = np.empty(k)
    total = 0.0
    for i in range(m):
        a = rows[i]
        r = 0.0
        for j in range(d):
            r += a[j] * a[j]
        total += r
        for c in range(k):
            product = 0.0
            for j in range(d):
                product += w[c, j] * a[j]
            s[c] = product
            energies[c] += product * product
        for c in range(k):  # all of s is known: a becomes a - W^T s
            for j in range(d):
                a[j] -= s[c] * w[c, j]
        first_long = k if rates[i] * r <= LONG_STEP else _long_step(a, rates[i], s, w)
        for c in range(first_long):
            step = rates[i] * s[c]
            for j in range(d):
                w[c, j] += step * a[j]
        _orthonormalize(w)
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _long_step(a, rate, s, w):
    """Take the step of the first component for which it is longer than w, and of those after it; return its number.

    With p that component, w_p moves, and w_c - (s_c / s_p) w_p, c > p, spans with it what w_c + rate s_c a does: no
    long vector is subtracted from another.
    """
    k, d = w.shape
    length = 0.0
    for j in range(d):
        length += a[j] * a[j]
    length = math.sqrt(length)
    p = 0
    while p < k and not rate * abs(s[p]) * length > 1.0:
        p += 1
    for c in range(p + 1, k):
        ratio = s[c] / s[p]
        for j in range(d):
            w[c, j] -= ratio * w[p, j]
    if p < k:
        kept, along = 1.0 / (rate * abs(s[p]) * length), math.copysign(1.0, s[p]) / length
        for j in range(d):
            w[p, j] = kept * w[p, j] + along * a[j]
    return p


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _orthonormalize(w):
    """Make the rows of w orthonormal by Gram-Schmidt, in their order."""
    k, d = w.shape
    for c in range(k):
        for b in range(c):
            product = 0.0
            for j in range(d):
                product += w[c, j] * w[b, j]
            for j in range(d):
                w[c, j] -= product * w[b, j]
        squares = 0.0
        for j in range(d):
            squares += w[c, j] * w[c, j]
        length = math.sqrt(squares)
        for j in range(d):
            w[c, j] /= length
