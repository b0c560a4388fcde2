"""Numba kernels between matrices and packed upper triangles."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def pack(z, packed):
    """Overwrite packed ``(B, n(n+1)/2)`` with the upper triangles of ``(z + z^T) / 2``, z ``(B, n, n)``."""
    n = z.shape[1]
    for b in range(z.shape[0]):
        p = 0
        for i in range(n):
            packed[b, p] = z[b, i, i]
            p += 1
            for j in range(i + 1, n):
                packed[b, p] = 0.5 * (z[b, i, j] + z[b, j, i])
                p += 1


@njit(cache=True, nogil=True)
def unpack(packed, z):
    """Overwrite z ``(B, n, n)`` with the symmetric matrices that the packed gradients stand for."""
    n = z.shape[1]
    for b in range(z.shape[0]):
        p = 0
        for i in range(n):
            z[b, i, i] = packed[b, p]
            p += 1
            for j in range(i + 1, n):
                half = 0.5 * packed[b, p]
                z[b, i, j] = half
                z[b, j, i] = half
                p += 1
