"""Numba kernels of the stored operators: one fused pass over the rows, packing, and a symmetric matrix times a vector.

Measured on one core (Zen 4): a tile of eight rows, read once from memory for the dot products and a second time from
cache for the adjoint, beats four rows and beats software pipelining of the two loops (the extra streams defeat the
prefetcher); explicit prefetching was slower still.

The fast-math flags allow sums to be reordered and multiply-adds to be fused. They never assume that NaN and infinity
are absent, so a non-finite operator, point or observation always reaches value and gradient.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numba import njit

from lrtheory import backend
from lrtheory.operators._links import evaluate
from lrtheory.operators._rows import blocks

FAST = {"reassoc", "contract", "nsz", "arcp"}
TILE = 8
CHUNK_ENTRIES = 1 << 18  # a chunk of rows has at least so many entries ...
MAX_CHUNKS = 16  # ... and there are at most so many chunks


@njit(cache=True, nogil=True)
def link_of(r, code, threshold):
    if code == 0:
        return 0.5 * r * r, r
    if code == 1:
        return abs(r), 1.0 if r > 0 else (-1.0 if r < 0 else r)
    c = threshold if r > threshold else (-threshold if r < -threshold else r)
    return abs(c) * (abs(r) - 0.5 * abs(c)), c


@njit(cache=True, nogil=True, fastmath=FAST)
def fused_rows(rows, z, y, scale, code, threshold, first, last, gradient):
    """Overwrite gradient with ``scale sum_i link(r_i) rows_i`` over the rows first..last-1; return ``sum phi(r_i)``."""
    d = rows.shape[1]
    r = np.empty(8)
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
            phi, pulled = link_of(scale * r[q] - y[i + q], code, threshold)
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
        phi, pulled = link_of(scale * s0 - y[i], code, threshold)
        value += phi
        r[0] = scale * pulled
        s0 = r[0]
        for j in range(d):
            gradient[j] += s0 * a0[j]
    return value


@njit(cache=True, nogil=True)
def fused_chunks(rows, z, y, scale, code, threshold, bounds, first, last, values, partial):
    """Run `fused_rows` on the chunks first..last-1 of the rows, each with its own partial sums."""
    for c in range(first, last):
        values[c] = fused_rows(rows, z, y, scale, code, threshold, bounds[c], bounds[c + 1], partial[c])


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
    partial = np.empty((chunks, rows.shape[1]))
    value = np.empty(z.shape[0])
    gradient = np.empty(z.shape)
    for b in range(z.shape[0]):
        arguments = (rows, z[b], y[b if y.shape[0] > 1 else 0], float(scale), code, float(threshold), bounds)
        run_parts(fused_chunks, arguments, chunks, backend.threads(), (values, partial))
        value[b] = add_chunks(values, partial, gradient[b])
    return value.astype(dtype, copy=False), gradient.astype(dtype, copy=False)


def run_parts(kernel, arguments, parts, workers, results):
    """Call ``kernel(*arguments, first, last, *results)`` for all parts, on several threads if there are some."""
    workers = min(workers, parts)
    cuts = [parts * w // workers for w in range(workers + 1)]
    tasks = [_pool(workers).submit(kernel, *arguments, cuts[w], cuts[w + 1], *results) for w in range(1, workers)]
    kernel(*arguments, cuts[0], cuts[1], *results)
    for task in tasks:
        task.result()


def blas_pass(rows, z, y, scale, link, threshold):
    """The same for many trials: two matrix products for each block of rows, which the second finds in cache."""
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
