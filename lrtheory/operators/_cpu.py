"""Numba kernels of the stored operators: one fused pass over the rows, for one trial and for many.

Measured on one core (Zen 4). For one trial a tile of eight rows, read once from memory for the dot products and a
second time from cache for the adjoint, beats four rows and beats software pipelining of the two loops (the extra
streams defeat the prefetcher); explicit prefetching was slower still. For many trials tiles of 6 rows and 4 trials keep
24 sums in registers, which takes the 32 vector registers of AVX-512 or ARM: both products then run at 85 to 95 % of the
speed of a large matrix product, where BLAS, which packs its operands first, reaches 70 %, and rows stored in float32
are widened in registers. With 16 registers the sums would spill, and BLAS serves.

The fast-math flags allow sums to be reordered and multiply-adds to be fused. They never assume that NaN and infinity
are absent, so a non-finite operator, point or observation always reaches value and gradient.
"""

from __future__ import annotations

import importlib
import platform
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numba import njit

from lrtheory import backend
from lrtheory.operators._links import evaluate, link_code
from lrtheory.operators._rows import blocks

FAST = {"reassoc", "contract", "nsz", "arcp"}
TILE = 8  # rows of the pass for one trial
CHUNK_ENTRIES = 1 << 17  # a chunk of rows has at least so many entries ...
MAX_CHUNKS = 16  # ... and there are at most so many chunks
ROWS, TRIALS = 6, 4  # of a tile of the pass for many
BLOCK_TILES = 4  # tiles of rows between its two products: both find them in cache
COLUMNS = 2048  # likewise
FEW = 3  # trials up to which one fused pass each beats two BLAS products for all


@njit(cache=True, nogil=True, fastmath=False)
def _link(r, code, threshold):
    if code == 0:
        return 0.5 * r * r, r
    if code == 1:
        return abs(r), 1.0 if r > 0 else (-1.0 if r < 0 else r)
    c = threshold if r > threshold else (-threshold if r < -threshold else r)
    return abs(c) * (abs(r) - 0.5 * abs(c)), c


@njit(cache=True, nogil=True, fastmath=FAST)
def fused_rows(rows, z, y, scale, code, threshold, bounds, first_chunk, last_chunk, values, partials):
    """Overwrite, for each chunk of rows, values with ``sum phi(r_i)`` and partials with ``scale sum link(r_i) rows_i``.

    Chunk c is the rows ``bounds[c]..bounds[c + 1] - 1``; the chunks first_chunk..last_chunk-1 are done.
    """
    d = rows.shape[1]
    r = np.empty(8)
    for c in range(first_chunk, last_chunk):
        gradient = partials[c]
        first, last = bounds[c], bounds[c + 1]
        value = 0.0
        gradient[:] = 0.0
        full = first + (last - first) // 8 * 8
        for i in range(first, full, 8):
            a0, a1, a2, a3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
            a4, a5, a6, a7 = rows[i + 4], rows[i + 5], rows[i + 6], rows[i + 7]
            s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(d):
                x = z[j]
                s0 += a0[j] * x
                s1 += a1[j] * x
                s2 += a2[j] * x
                s3 += a3[j] * x
                s4 += a4[j] * x
                s5 += a5[j] * x
                s6 += a6[j] * x
                s7 += a7[j] * x
            r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7] = s0, s1, s2, s3, s4, s5, s6, s7
            for q in range(8):
                phi, pulled = _link(scale * r[q] - y[i + q], code, threshold)
                value += phi
                r[q] = scale * pulled
            s0, s1, s2, s3, s4, s5, s6, s7 = r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
            for j in range(d):
                gradient[j] += ((s0 * a0[j] + s1 * a1[j]) + (s2 * a2[j] + s3 * a3[j])) + (
                    (s4 * a4[j] + s5 * a5[j]) + (s6 * a6[j] + s7 * a7[j])
                )
        for i in range(full, last):
            a0 = rows[i]
            s0 = 0.0
            for j in range(d):
                s0 += a0[j] * z[j]
            phi, pulled = _link(scale * s0 - y[i], code, threshold)
            value += phi
            r[0] = scale * pulled
            s0 = r[0]
            for j in range(d):
                gradient[j] += s0 * a0[j]
        values[c] = value


@njit(cache=True, nogil=True, fastmath=FAST)
def forward_rows(rows, z, bounds, first_chunk, last_chunk, seen):
    """Overwrite seen ``(m,)`` with ``<rows_i, z>`` for the rows of the chunks first_chunk..last_chunk-1."""
    first, last = bounds[first_chunk], bounds[last_chunk]
    full = first + (last - first) // 8 * 8
    for i in range(first, full, 8):
        a0, a1, a2, a3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        a4, a5, a6, a7 = rows[i + 4], rows[i + 5], rows[i + 6], rows[i + 7]
        s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(z.size):
            x = z[j]
            s0 += a0[j] * x
            s1 += a1[j] * x
            s2 += a2[j] * x
            s3 += a3[j] * x
            s4 += a4[j] * x
            s5 += a5[j] * x
            s6 += a6[j] * x
            s7 += a7[j] * x
        seen[i], seen[i + 1], seen[i + 2], seen[i + 3] = s0, s1, s2, s3
        seen[i + 4], seen[i + 5], seen[i + 6], seen[i + 7] = s4, s5, s6, s7
    for i in range(full, last):
        a0 = rows[i]
        s0 = 0.0
        for j in range(z.size):
            s0 += a0[j] * z[j]
        seen[i] = s0


@njit(cache=True, nogil=True)
def add_chunks(values, partial, gradient):
    """Overwrite gradient with the sum of the partial ones, in their order; return the sum of the values."""
    value = 0.0
    gradient[:] = 0.0
    for c in range(values.size):
        value += values[c]
        gradient += partial[c]
    return value


@cache
def chunk_bounds(m: int, d: int) -> np.ndarray:
    """Return the row numbers at which a pass over (m, d) entries is cut. The shape alone decides, so that any number
    of threads adds the same partial sums in the same order."""
    chunks = 1
    while chunks < MAX_CHUNKS and m * d >= 2 * chunks * CHUNK_ENTRIES and m >= 2 * chunks * TILE:
        chunks *= 2
    tiles = -(-m // TILE)
    return np.minimum(np.arange(chunks + 1) * tiles // chunks * TILE, m).astype(np.int64)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers - 1, thread_name_prefix="lrtheory")


def fused_pass(rows, z, y, scale, code, threshold):
    """One pass over the rows for each trial: values ``(B,)`` and gradients ``(B, d)``, see `_rows`.

    Sums are accumulated in float64 whatever the storage; results have the wider precision of rows and z.
    """
    dtype = np.result_type(rows, z)
    z, y = (np.require(a, np.float64, ["C", "W"]) for a in (z, y))  # read-only is another signature to compile
    bounds = chunk_bounds(*rows.shape)
    chunks = bounds.size - 1
    values = np.empty(chunks)
    partials = np.empty((chunks, rows.shape[1]))
    value = np.empty(z.shape[0])
    gradient = np.empty(z.shape)
    for b in range(z.shape[0]):
        arguments = (rows, z[b], y[b if y.shape[0] > 1 else 0], float(scale), code, float(threshold), bounds)
        _run_parts(fused_rows, arguments, chunks, 1, (values, partials))
        value[b] = add_chunks(values, partials, gradient[b])
    return value.astype(dtype, copy=False), gradient.astype(dtype, copy=False)


def forward(rows, z):
    """Return ``z rows^T``, ``(B, m)``, by one kernel a trial: rows in float32 or int8, z ``(B, d)`` in float64.

    BLAS would want a copy of the rows in float64, which takes three times as long as the product.
    """
    z = np.require(z, requirements=["C", "W"])  # read-only is another signature to compile
    bounds = chunk_bounds(*rows.shape)
    seen = np.empty((z.shape[0], rows.shape[0]))
    for b in range(z.shape[0]):
        _run_parts(forward_rows, (rows, z[b], bounds), bounds.size - 1, 1, (seen[b],))
    return seen


def _run_parts(kernel, arguments, parts, grain, results):
    """Call ``kernel(*arguments, first, last, *results)`` for all parts; on several threads if there are some.

    Threads claim `grain` parts at a time: one that wakes up late takes fewer.
    """
    workers = min(backend.threads(), -(-parts // grain))
    if workers == 1:
        kernel(*arguments, 0, parts, *results)
        return
    claims = iter(range(0, parts, grain))

    def work():
        for first in claims:
            kernel(*arguments, first, min(first + grain, parts), *results)

    tasks = [_pool(workers).submit(work) for _ in range(1, workers)]
    work()
    for task in tasks:
        task.result()


@cache
def suits_this_machine() -> bool:
    """Return whether the processor has the 32 vector registers that the tiles of `batched_pass` take."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return True
    return bool(importlib.import_module("llvmlite.binding").get_host_cpu_features().get("avx512f", False))


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
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


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
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
                    phi, pulled = _link(seen, code, threshold)
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

    Arithmetic has the wider precision of rows and z, and float64 for rows of integers. A trial's numbers do not depend
    on the others, nor on threads.
    """
    (m, d), trials = rows.shape, z.shape[0]
    result = np.result_type(rows, z)
    dtype = np.float64 if rows.dtype == np.int8 else result  # integers with float32 would be one more to compile
    padded = -(-trials // TRIALS) * TRIALS
    points = np.zeros((padded, d), dtype)
    points[:trials] = z
    observed = np.zeros((1 if y.shape[0] == 1 else padded, -(-m // ROWS) * ROWS))
    observed[: y.shape[0], :m] = y
    rest = np.zeros((ROWS, d), rows.dtype)
    rest[: m % ROWS] = rows[m - m % ROWS :]
    values, gradient = np.empty(padded), np.empty((padded, d), dtype)
    arguments = (rows, rest, points, observed, float(scale), code, float(threshold))
    grain = max(1, -(-padded // TRIALS // backend.threads()))  # the more trials together, the better
    _run_parts(batched_rows, arguments, padded // TRIALS, grain, (values, gradient))
    return values[:trials].astype(result, copy=False), gradient[:trials].astype(result, copy=False)


def blas_pass(rows, z, y, scale, link, threshold):
    """The same by BLAS: two matrix products for each block of rows, which the second finds in cache."""
    dtype = np.result_type(rows, z)
    z = np.ascontiguousarray(z, dtype=dtype)
    y = np.asarray(y, dtype=dtype)
    value = np.zeros(z.shape[0], dtype=dtype)
    gradient = np.zeros(z.shape, dtype=dtype)
    part = np.empty_like(gradient)
    for b in blocks(rows.shape[0]):
        block = rows[b].astype(dtype, copy=False)
        r = z @ block.T
        r *= scale
        r -= y[:, b]
        phi, pulled = evaluate(r, link, threshold)
        value += phi
        np.matmul(pulled, block, out=part)
        gradient += part
    gradient *= scale
    return value, gradient


def one_pass(rows, z, y, scale, link, threshold):
    """The pass that the number of trials asks for (and nothing else: where a loop over passes is cut must never change
    a number)."""
    if z.shape[0] == 1:
        return fused_pass(rows, z, y, scale, link_code(link), threshold)
    if suits_this_machine():
        return batched_pass(rows, z, y, scale, link_code(link), threshold)
    if z.shape[0] <= FEW:
        return fused_pass(rows, z, y, scale, link_code(link), threshold)
    return blas_pass(rows, z, y, scale, link, threshold)
