"""Numba kernels on rows alone: squared norms and centering."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # never assume that NaN and infinity are absent
COPIED_ENTRIES = 1 << 15  # of read-only rows, another signature to compile, copied at a time


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _sum_of_squares(entries):
    total = 0.0
    for p in range(entries.size):
        v = np.float64(entries[p])
        total += v * v
    return total


def sum_of_squares(entries):
    """Return the sum of squares, accumulated in float64, of a contiguous array."""
    flat = entries.reshape(-1)
    if flat.flags.writeable:
        return _sum_of_squares(flat)
    steps = range(0, flat.size, COPIED_ENTRIES)
    return sum(_sum_of_squares(flat[p : p + COPIED_ENTRIES].copy()) for p in steps)


@njit(cache=True, nogil=True, error_model="numpy")
def _center(rows, mean, n, centered):
    for i in range(rows.shape[0]):
        n += 1
        weight = math.sqrt((n - 1.0) / n)
        for j in range(rows.shape[1]):
            gap = rows[i, j] - mean[j]
            centered[i, j] = weight * gap
            mean[j] += gap / n


def centered(rows, mean, n):
    """Return rows ``sqrt((i - 1) / i) (a_i - mean of the i - 1 before)``, in float64, and the mean of all i.

    The sum of their outer products is that of the rows about their mean, for any number of them (Welford's identity).
    n rows were seen before.
    """
    mean, out = mean.copy(), np.empty(rows.shape)
    _center(np.require(rows, requirements="W"), mean, n, out)
    return out, mean
