"""Numba kernels of one pass over stored rows for many trials: the two matrix products of a batch, fused.

Tiles of 6 rows and 4 trials keep 24 sums in registers, which takes the 32 vector registers of AVX-512 or ARM. There
both products run at 85 to 95 % of the speed of a large BLAS product (Zen 4, one core), where BLAS itself, which packs
its operands, reaches 70 %; rows stored in float32 are widened in registers. On 16 registers the sums would spill:
`_cpu.blas_pass` serves such machines.
"""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
from numba import njit

from lrtheory import backend
from lrtheory.operators._cpu import link_of, run_parts

FAST = {"reassoc", "contract", "nsz", "arcp"}
ROWS, TRIALS = 6, 4  # of a tile
BLOCK_TILES = 4  # tiles of rows between the two products: both find them in cache
COLUMNS = 2048  # likewise


@cache
def suits_this_machine() -> bool:
    """Return whether the processor has 32 vector registers."""
    import llvmlite.binding

    if platform.machine().lower() in ("aarch64", "arm64"):
        return True
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))


@njit(cache=True, nogil=True, fastmath=FAST)
def _dots(rows, z, i, t, first, last, out):
    """Add ``<rows_i, z_t>`` over the columns first..last-1 to out ``(trials, 6)``, for 6 rows and 4 trials."""
    a0, a1, a2 = rows[i, first:last], rows[i + 1, first:last], rows[i + 2, first:last]
    a3, a4, a5 = rows[i + 3, first:last], rows[i + 4, first:last], rows[i + 5, first:last]
    z0, z1, z2, z3 = z[t, first:last], z[t + 1, first:last], z[t + 2, first:last], z[t + 3, first:last]
    o = z.dtype.type(0)
    s00, s10, s20, s30, s40, s50 = o, o, o, o, o, o
    s01, s11, s21, s31, s41, s51 = o, o, o, o, o, o
    s02, s12, s22, s32, s42, s52 = o, o, o, o, o, o
    s03, s13, s23, s33, s43, s53 = o, o, o, o, o, o
    for j in range(last - first):
        x0, x1, x2, x3, x4, x5 = a0[j], a1[j], a2[j], a3[j], a4[j], a5[j]
        w = z0[j]
        s00 += x0 * w
        s10 += x1 * w
        s20 += x2 * w
        s30 += x3 * w
        s40 += x4 * w
        s50 += x5 * w
        w = z1[j]
        s01 += x0 * w
        s11 += x1 * w
        s21 += x2 * w
        s31 += x3 * w
        s41 += x4 * w
        s51 += x5 * w
        w = z2[j]
        s02 += x0 * w
        s12 += x1 * w
        s22 += x2 * w
        s32 += x3 * w
        s42 += x4 * w
        s52 += x5 * w
        w = z3[j]
        s03 += x0 * w
        s13 += x1 * w
        s23 += x2 * w
        s33 += x3 * w
        s43 += x4 * w
        s53 += x5 * w
    sums = (
        (s00, s10, s20, s30, s40, s50),
        (s01, s11, s21, s31, s41, s51),
        (s02, s12, s22, s32, s42, s52),
        (s03, s13, s23, s33, s43, s53),
    )
    for b in range(4):
        for q in range(6):
            out[t + b, q] += sums[b][q]


@njit(cache=True, nogil=True, fastmath=FAST)
def _add(rows, r, i, t, first, last, gradient):
    """Add ``sum_q r_tq rows_(i+q)`` to the columns first..last-1 of the gradients of 4 trials."""
    a0, a1, a2 = rows[i, first:last], rows[i + 1, first:last], rows[i + 2, first:last]
    a3, a4, a5 = rows[i + 3, first:last], rows[i + 4, first:last], rows[i + 5, first:last]
    g0, g1 = gradient[t, first:last], gradient[t + 1, first:last]
    g2, g3 = gradient[t + 2, first:last], gradient[t + 3, first:last]
    r00, r10, r20, r30, r40, r50 = r[t, 0], r[t, 1], r[t, 2], r[t, 3], r[t, 4], r[t, 5]
    t += 1
    r01, r11, r21, r31, r41, r51 = r[t, 0], r[t, 1], r[t, 2], r[t, 3], r[t, 4], r[t, 5]
    t += 1
    r02, r12, r22, r32, r42, r52 = r[t, 0], r[t, 1], r[t, 2], r[t, 3], r[t, 4], r[t, 5]
    t += 1
    r03, r13, r23, r33, r43, r53 = r[t, 0], r[t, 1], r[t, 2], r[t, 3], r[t, 4], r[t, 5]
    for j in range(last - first):
        x0, x1, x2, x3, x4, x5 = a0[j], a1[j], a2[j], a3[j], a4[j], a5[j]
        g0[j] += r00 * x0 + r10 * x1 + r20 * x2 + r30 * x3 + r40 * x4 + r50 * x5
        g1[j] += r01 * x0 + r11 * x1 + r21 * x2 + r31 * x3 + r41 * x4 + r51 * x5
        g2[j] += r02 * x0 + r12 * x1 + r22 * x2 + r32 * x3 + r42 * x4 + r52 * x5
        g3[j] += r03 * x0 + r13 * x1 + r23 * x2 + r33 * x3 + r43 * x4 + r53 * x5


@njit(cache=True, nogil=True)
def batched_rows(rows, rest, z, y, scale, code, threshold, first, last, values, gradient):
    """Overwrite values ``(B,)`` with ``sum phi(r)`` and gradient ``(B, d)``, for the trials 4 first..4 last - 1.

    Parameters
    ----------
    rows : array ``(m, d)``
    rest : array ``(6, d)``
        The last ``m % 6`` rows, and zeros.
    z : array ``(B, d)``
        B is a multiple of 4.
    y : array ``(B, m')`` or ``(1, m')``, with m' the least multiple of 6 that is >= m, filled up with zeros.
    """
    d = rows.shape[1]
    tiles = y.shape[1] // 6
    full = rows.shape[0] // 6
    r = np.empty((BLOCK_TILES, z.shape[0], 6), z.dtype)
    for t in range(4 * first, 4 * last):
        values[t] = 0.0
        gradient[t] = 0.0
    for block in range(0, tiles, BLOCK_TILES):
        end = min(block + BLOCK_TILES, tiles)
        r[:] = 0.0
        for a in range(0, d, COLUMNS):
            b = min(a + COLUMNS, d)
            for t in range(4 * first, 4 * last, 4):
                for q in range(block, end):
                    if q < full:
                        _dots(rows, z, 6 * q, t, a, b, r[q - block])
                    else:
                        _dots(rest, z, 0, t, a, b, r[q - block])
        for q in range(block, end):
            for t in range(4 * first, 4 * last):
                for c in range(6):
                    seen = scale * r[q - block, t, c] - y[t if y.shape[0] > 1 else 0, 6 * q + c]
                    phi, pulled = link_of(seen, code, threshold)
                    values[t] += phi
                    r[q - block, t, c] = scale * pulled
        for a in range(0, d, COLUMNS):
            b = min(a + COLUMNS, d)
            for t in range(4 * first, 4 * last, 4):
                for q in range(block, end):
                    if q < full:
                        _add(rows, r[q - block], 6 * q, t, a, b, gradient)
                    else:
                        _add(rest, r[q - block], 0, t, a, b, gradient)


def batched_pass(rows, z, y, scale, code, threshold):
    """One pass over the rows for all trials: values ``(B,)`` and gradients ``(B, d)``, see `_rows`.

    Arithmetic has the wider precision of rows and z. A trial's numbers do not depend on the others, nor on threads.
    """
    (m, d), trials = rows.shape, z.shape[0]
    dtype = np.result_type(rows, z)
    padded = -(-trials // TRIALS) * TRIALS
    points = np.zeros((padded, d), dtype)
    points[:trials] = z
    observed = np.zeros((1 if y.shape[0] == 1 else padded, -(-m // ROWS) * ROWS))
    observed[: y.shape[0], :m] = y
    rest = np.zeros((ROWS, d), rows.dtype)
    rest[: m % ROWS] = rows[m - m % ROWS :]
    values, gradient = np.empty(padded), np.empty((padded, d), dtype)
    arguments = (rows, rest, points, observed, float(scale), code, float(threshold))
    run_parts(batched_rows, arguments, padded // TRIALS, backend.threads(), (values, gradient))
    return values[:trials].astype(dtype, copy=False), gradient[:trials]
