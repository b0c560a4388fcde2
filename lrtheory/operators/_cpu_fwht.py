"""Numba kernels of the fast Walsh-Hadamard transform.

The textbook loop over ``x[j], x[j + h]`` does not vectorise: at small h there is nothing to vectorise, and the compiler
cannot know that the two do not overlap. Here a piece that fits in cache goes between two buffers in stages of constant
geometry: each takes the two highest bits of the index, transforms them, and writes them as the two lowest; when all
bits have been through, the order is natural again. Every stage is one loop over four contiguous streams. What is left
of a long transform is done in place on slices as long as a piece.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=False)
def _stage4(x, y):
    q = x.size // 4
    x0, x1, x2, x3 = x[:q], x[q : 2 * q], x[2 * q : 3 * q], x[3 * q : 4 * q]
    for i in range(q):
        a, b, c, d = x0[i] + x1[i], x0[i] - x1[i], x2[i] + x3[i], x2[i] - x3[i]
        y[4 * i] = a + c
        y[4 * i + 1] = b + d
        y[4 * i + 2] = a - c
        y[4 * i + 3] = b - d


@njit(cache=True, nogil=True, fastmath=False)
def _stage2(x, y):
    q = x.size // 2
    x0, x1 = x[:q], x[q : 2 * q]
    for i in range(q):
        a, b = x0[i], x1[i]
        y[2 * i] = a + b
        y[2 * i + 1] = a - b


@njit(cache=True, nogil=True, fastmath=False)
def _piece(x, y):
    """Transform x in place; y is a buffer of the same length."""
    left = x.size
    in_x = True
    while left > 1:
        source, target = (x, y) if in_x else (y, x)
        if left >= 4:
            _stage4(source, target)
            left //= 4
        else:
            _stage2(source, target)
            left //= 2
        in_x = not in_x
    if not in_x:
        x[:] = y


@njit(cache=True, nogil=True, fastmath=False)
def _butterflies4(x0, x1, x2, x3):
    for i in range(x0.size):
        a, b, c, d = x0[i] + x1[i], x0[i] - x1[i], x2[i] + x3[i], x2[i] - x3[i]
        x0[i] = a + c
        x1[i] = b + d
        x2[i] = a - c
        x3[i] = b - d


@njit(cache=True, nogil=True, fastmath=False)
def _butterflies2(x0, x1):
    for i in range(x0.size):
        a, b = x0[i], x1[i]
        x0[i] = a + b
        x1[i] = a - b


@njit(cache=True, nogil=True)
def transform(first, last, x):
    """Transform the vectors first..last-1 of x ``(B, n)`` in place, n a power of two."""
    n = x.shape[1]
    piece = min(n, 4096)  # two buffers of it stay in cache
    buffer = np.empty(piece, x.dtype)
    for t in range(first, last):
        v = x[t]
        for p in range(0, n, piece):
            _piece(v[p : p + piece], buffer)
        h = piece
        while h < n:
            if 4 * h <= n:
                for p in range(0, n, 4 * h):
                    w = v[p : p + 4 * h]
                    _butterflies4(w[:h], w[h : 2 * h], w[2 * h : 3 * h], w[3 * h :])
                h *= 4
            else:
                _butterflies2(v[:h], v[h : 2 * h])
                h *= 2
