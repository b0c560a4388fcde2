"""Numba kernel of S4's generating function: Cauchy sums, their combination and nothing in between."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lrtheory.operators._cpu import _run_parts

BLOCK = 128  # frequencies at a time: their sums stay in the first-level cache
PART = 2048  # frequencies of a unit of work


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def _sums(alpha, beta, x, y, cosine, tau, re, im, quotients):
    """Overwrite re + i im ``(p, K)`` with the sums over modes of the p products, see `dplr.generating_function`."""
    for j in range(x.shape[1]):
        for k in range(BLOCK):
            re[j, k], im[j, k] = 0.0, 0.0
    c_re, c_im, t_re, t_im = quotients[0], quotients[1], quotients[2], quotients[3]
    for n in range(alpha.size):
        for k in range(BLOCK):
            a, b, t = alpha[n] * cosine[k], beta[n] * cosine[k], tau[k]
            real, imag = a * a + (b - t) * (b + t), 2.0 * a * t
            scale = 1.0 / (real * real + imag * imag)
            real, imag = real * scale, imag * scale
            c_re[k], c_im[k], t_re[k], t_im[k] = cosine[k] * real, cosine[k] * imag, t * real, t * imag
        for j in range(x.shape[1]):
            u, v = x[n, j], y[n, j]
            row_re, row_im = re[j], im[j]
            for k in range(BLOCK):
                row_re[k] += u * c_re[k] + v * t_im[k]
                row_im[k] += v * t_re[k] - u * c_im[k]


@njit(cache=True, nogil=True, fastmath=False)
def _combine(rank, sums, g):
    """Return S_cb - g S_cp (I + g S_pp)^-1 S_pb of sums ``(1 + r, 1 + r)``, which are overwritten.

    By elimination without pivots: the Hermitian part of I + g S_pp is at least I, since the real parts of the poles
    are negative, so that its pivots are at least 1 in modulus.
    """
    for i in range(rank, 0, -1):
        pivot = 1.0 + g * sums[i, i]
        for row in range(i):
            factor = g * sums[row, i] / pivot
            for column in range(i):
                sums[row, column] -= factor * sums[i, column]
    return sums[0, 0]


@njit(cache=True, nogil=True)
def units(alpha, beta, x, y, dt, cosine, tau, rank, chunks, first, last, out):
    """Overwrite out ``(H, L // 2 + 1)`` for the units first..last-1: a channel's chunk of frequencies each."""
    products = x.shape[2]
    cos_block, tau_block, quotients = np.ones(BLOCK), np.ones(BLOCK), np.empty((4, BLOCK))
    re, im = np.empty((products, BLOCK)), np.empty((products, BLOCK))
    sums = np.empty((1 + rank, 1 + rank), np.complex128)
    for unit in range(first, last):
        h, begins = unit // chunks, unit % chunks * PART
        for begin in range(begins, min(begins + PART, cosine.size), BLOCK):
            count = min(BLOCK, cosine.size - begin)
            for k in range(count):
                cos_block[k], tau_block[k] = cosine[begin + k], tau[begin + k]
            _sums(alpha[h], beta[h], x[h], y[h], cos_block, tau_block, re, im, quotients)
            for k in range(count):
                for row in range(1 + rank):
                    for column in range(1 + rank):
                        j = row * (1 + rank) + column
                        sums[row, column] = complex(re[j, k], im[j, k])
                value = _combine(rank, sums, dt[h] * cos_block[k])
                out[h, begin + k] = dt[h] * value * complex(cos_block[k], tau_block[k] / 2.0)


def generating_function(alpha, beta, x, y, dt, cosine, tau):
    """Return the generating function ``(..., K)``, see `dplr.generating_function`."""
    lead, (M, width) = alpha.shape[:-1], x.shape[-3:-1]
    H, count = math.prod(lead), cosine.size
    alpha, beta, x, y, dt = (np.require(v, requirements=["C", "W"]) for v in (alpha, beta, x, y, dt))
    alpha, beta, dt = alpha.reshape(H, M), beta.reshape(H, M), dt.reshape(H)
    x, y = x.reshape(H, M, width * width), y.reshape(H, M, width * width)
    out = np.empty((H, count), np.complex128)
    chunks = -(-count // PART)
    if H:
        _run_parts(units, (alpha, beta, x, y, dt, cosine, tau, width - 1, chunks), H * chunks, 1, (out,))
    return out.reshape(*lead, count)
