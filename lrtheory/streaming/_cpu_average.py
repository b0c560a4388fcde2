"""Numba kernel of CCIPCA."""

from __future__ import annotations

import math

from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # never assume that NaN and infinity are absent
NOTHING = 1e-14
"""What is left of a row, relative to it, that counts as rounding."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def average(rows, amnesic, ages, v):
    """Take rows ``(m, d)``, which are overwritten, into the averages v ``(k, d)`` with ages ``(k,)``. See `CCIPCA`."""
    m, d = rows.shape
    for i in range(m):
        whole = 0.0
        for j in range(d):
            whole += rows[i, j] * rows[i, j]
        for c in range(v.shape[0]):
            squares, product, rest = 0.0, 0.0, 0.0
            for j in range(d):
                squares += v[c, j] * v[c, j]
                product += v[c, j] * rows[i, j]
                rest += rows[i, j] * rows[i, j]
            if squares == 0.0:
                if rest > NOTHING**2 * whole:
                    ages[c] = 1
                    length = math.sqrt(rest)
                    for j in range(d):
                        v[c, j] = length * rows[i, j]
                break
            ages[c] += 1
            weight = min((1.0 + amnesic) / ages[c], 1.0)
            along = product / math.sqrt(squares)
            if weight == 1.0 and along == 0.0:  # v would vanish
                weight = 0.0
            now = 0.0
            for j in range(d):
                v[c, j] = (1.0 - weight) * v[c, j] + weight * along * rows[i, j]
                now += v[c, j] * v[c, j]
            along = 0.0
            for j in range(d):
                along += v[c, j] * rows[i, j]
            along /= now
            for j in range(d):
                rows[i, j] -= along * v[c, j]
