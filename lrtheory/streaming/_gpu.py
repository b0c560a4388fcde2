"""CUDA twins for rows that lie on a device: blocks of rows through cuBLAS, the steps between them one thread a member.

Nothing here was run on a device yet: the kernel is compiled and emulated in the tests. The state stays on the host: it
is B d numbers, copied there and back once a chunk, which has millions.

A block of m rows costs 4 B d m + 2 d m^2 operations in matrix products and B m^2 in the kernel, which has the m^2
products of the rows in shared memory. Where a member leaves the range of floats within a block, its coefficients so far
and the factor of its w are scaled, so that no block is cut short as `_blocks` does on the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace, to_numpy
from lrtheory.operators import _gpu_launch

ROWS = 64  # of a block: their products take 32 KiB of the 48 KiB of shared memory that a block of threads may have
THREADS = 128
NORM2, LOG_SCALE, B, BEFORE, SINCE = range(5)  # as in `_cpu`
LONG_STEP = 1e20

STEP = r"""
__device__ double coefficient(  // of a row with <a, w> = s and ||a||^2 = r; ||w||^2 as the step leaves it
    long long kind, double eta, double s, double r, long long row, double* norm2, double* ada, double* before,
    double* since, long long* too_long)
{
    if ((row & (row - 1)) == 0) { *before = *since; *since = 0.0; }
    const double rho = s / *norm2 * s;
    *since += rho;
    double rate = eta, growth;
    if (kind == 1) {
        const double left = 1.0 - eta * rho;
        rate = eta / left;
        growth = (1.0 + eta * rho * (eta * (r > rho ? r - rho : 0.0))) / left / left;
    } else {
        if (kind == 2) { *ada = hypot(*ada, sqrt(r) * sqrt(rho)); rate = 1.0 / *ada; }
        growth = 1.0 + (2.0 * rate * rho + rate * r * (rate * rho));
    }
    if (fabs(rate) * r > LONG_STEP) *too_long = 1;
    *norm2 *= growth;
    return rate * s;
}

__device__ double into_range(double* norm2, double* log_scale)  // the power of two by which w is to be multiplied
{
    if (*norm2 < 1e100 && *norm2 > 1e-100) return 1.0;
    const double exponent = rint(0.5 * log(*norm2) / LN2), scale = exp2(-exponent);
    *norm2 = *norm2 * scale * scale;
    *log_scale += exponent * LN2;
    return scale;
}
"""
MACROS = {"LONG_STEP": LONG_STEP, "LN2": repr(math.log(2.0))}
STEPS = _gpu_launch.Source(
    STEP
    + r"""
extern "C" __global__ void steps(
    double* products, const double* squares, const double* rates, double* scalars, double* kept, long long* too_long,
    long long m, long long members, long long rate_stride, long long kind, long long seen)
{
    __shared__ double g[ROWS * ROWS];
    for (long long i = threadIdx.x; i < m * m; i += blockDim.x) g[i] = squares[i];
    __syncthreads();
    const long long b = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (b >= members) return;
    double norm2 = scalars[b], log_scale = scalars[members + b], ada = scalars[2 * members + b];
    double before = scalars[3 * members + b], since = scalars[4 * members + b], factor = 1.0;
    for (long long i = 0; i < m; ++i) {
        const double r = g[i * m + i], eta = rates[i * rate_stride + b];
        double s = factor * products[i * members + b];
        for (long long q = 0; q < i; ++q) s += g[i * m + q] * products[q * members + b];
        products[i * members + b] =
            coefficient(kind, eta, s, r, seen + i + 1, &norm2, &ada, &before, &since, too_long);
        const double scale = into_range(&norm2, &log_scale);
        if (scale != 1.0) {
            factor *= scale;
            for (long long q = 0; q <= i; ++q) products[q * members + b] *= scale;
        }
    }
    scalars[members + b] = log_scale;
    scalars[2 * members + b] = ada;
    scalars[3 * members + b] = before;
    scalars[4 * members + b] = since;
    kept[b] = factor;
}
""",
    variants=({"ROWS": ROWS} | MACROS,),
)
SOURCES = (STEPS,)


def take(rows: Array, rates: np.ndarray, kind: int, seen: int, w: np.ndarray, scalars: np.ndarray) -> float:
    """`_blocks.take` for rows on a device, w ``(B, d)`` and scalars ``(B, SCALARS)`` on the host.

    A chunk with NaN or infinity makes w NaN. Raises ValueError for a step of ``rate ||a||^2 > LONG_STEP``, which the
    CPU takes.
    """
    xp = namespace(rows)
    norm2 = _squared_norm(xp, rows)
    if not math.isfinite(norm2):
        w[:] = np.nan
        return norm2
    members = w.shape[0]
    vectors, numbers = xp.asarray(w), xp.asarray(np.ascontiguousarray(scalars.T))
    kept, too_long = xp.ones(members), xp.zeros(1, dtype=xp.int64)
    shared = rates.strides[0] == 0  # one row of rates for all rows
    on_device = xp.asarray(np.ascontiguousarray(rates[:1] if shared else rates))
    for first in range(0, rows.shape[0], ROWS):
        x = xp.astype(rows[first : first + ROWS], xp.float64)
        m = x.shape[0]
        products, squares = (xp.ascontiguousarray(xp.matmul(x, a.T)) for a in (vectors, x))
        step = on_device if shared else on_device[first : first + m]
        arguments = (products, squares, step, numbers, kept, too_long, m, members, 0 if shared else members, kind)
        grid = (-(-members // THREADS),)
        _gpu_launch.launch(STEPS, "steps", grid, (THREADS,), (*arguments, seen + first), STEPS.variants[0])
        vectors = kept[:, None] * vectors + xp.matmul(products.T, x)
        length2 = xp.sum(vectors * vectors, axis=1)
        exponents = xp.round(0.5 * xp.log2(length2))
        scales = xp.exp2(-exponents)
        vectors = scales[:, None] * vectors
        numbers[NORM2, :] = length2 * scales * scales
        numbers[LOG_SCALE, :] += exponents * math.log(2.0)
    check_steps(too_long, seen, rows.shape[0])
    w[:] = to_numpy(vectors)
    scalars[:] = to_numpy(numbers).T
    return norm2


def check_steps(too_long: Array, seen: int, m: int) -> None:
    """Raise ValueError if a kernel has met a step that is too long for it."""
    if int(too_long[0]):
        raise ValueError(
            f"a step of step_size ||a||^2 > {LONG_STEP:g} within rows {seen} to {seen + m - 1} of the stream: rows on "
            "a device take shorter ones only"
        )


def add_products(rows: Array, w: np.ndarray, y: np.ndarray) -> float:
    """`_products.add_products` for rows on a device, w and y ``(B, k, d)`` on the host."""
    xp = namespace(rows)
    x = xp.astype(rows, xp.float64)
    products = xp.matmul(x, xp.asarray(w.reshape(-1, w.shape[-1])).T)
    y += to_numpy(xp.matmul(products.T, x)).reshape(y.shape)
    return _squared_norm(xp, rows)


def _squared_norm(xp: Any, rows: Array) -> float:
    """Return the sum of squares in float64, some rows at a time."""
    total = xp.zeros((), dtype=xp.float64)
    for first in range(0, rows.shape[0], 4096):
        x = xp.astype(rows[first : first + 4096], xp.float64)
        total = total + xp.sum(x * x)
    return float(total)
