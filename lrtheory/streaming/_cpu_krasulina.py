"""Numba kernel of Matrix Krasulina."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # never assume that NaN and infinity are absent


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
        for j in range(d):
            total += a[j] * a[j]
        for c in range(k):
            product = 0.0
            for j in range(d):
                product += w[c, j] * a[j]
            s[c] = product
            energies[c] += product * product
        for c in range(k):  # all of s is known: a becomes a - W^T s
            for j in range(d):
                a[j] -= s[c] * w[c, j]
        for c in range(k):
            step = rates[i] * s[c]
            for j in range(d):
                w[c, j] += step * a[j]
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
    return total
