"""CUDA kernels of the stored operators: one fused pass for one trial, two products for each block of rows for many.

Nothing here was measured on a device yet; the shapes follow from counting bytes. A block of threads keeps a tile of
rows in registers between the dot products and the adjoint, so that each entry is read once, and its part of the
gradient too. There is one partial gradient for each block of threads, and a second kernel adds them in their order:
no atomics, so results are reproducible, and the number of partial sums depends on the shape alone, never on the device.
Rows of more than 6144 columns do not fit; they, and batches, take cuBLAS.

Sums are accumulated in float64 whatever the storage. There are no fast-math options, so NaN and infinity stay honest.
"""

from __future__ import annotations

from typing import Any

from lrtheory.backend import namespace
from lrtheory.operators import _gpu_launch
from lrtheory.operators._gpu_launch import Source
from lrtheory.operators._links import evaluate, link_code
from lrtheory.operators._rows import blocks, precision

STORAGE = {"float64": "double", "float32": "float", "int8": "int8"}  # int8 is a typedef of the source
MAX_CHUNKS = 256  # partial gradients: about two blocks of threads for each multiprocessor of a large device
L2_BYTES = 1 << 24  # of rows between two products: the second finds them in the cache of 40 MB or more
FUSED_COLUMNS = 6144

LINK = r"""
__device__ double link(double r, int code, double threshold, double* phi)
{
    if (code == 0) { *phi = 0.5 * r * r; return r; }
    if (code == 1) { *phi = fabs(r); return r > 0.0 ? 1.0 : (r < 0.0 ? -1.0 : r); }
    double c = r > threshold ? threshold : (r < -threshold ? -threshold : r);
    *phi = fabs(c) * (fabs(r) - 0.5 * fabs(c));
    return c;
}
"""

_FUSED = (
    LINK
    + r"""
typedef signed char int8;

// The rows of block x of threads are tiles_each tiles of TILE rows. Overwrites partials[trial][chunk] with
// scale sum link(r_i) rows_i, d numbers, and sum phi(r_i). Thread t holds the columns t, t + THREADS, ...
extern "C" __global__ void __launch_bounds__(THREADS) fused_rows(
    const STORAGE* rows, const double* z, const double* y, long long m, long long d, long long y_stride,
    double scale, long long code, double threshold, long long tiles_each, double* partials)
{
    __shared__ double sums[TILE][THREADS / 32];
    __shared__ double weights[TILE];
    const int t = threadIdx.x;
    const long long trial = blockIdx.y;
    double point[COLUMNS], gradient[COLUMNS], value = 0.0;
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const long long j = t + (long long)c * THREADS;
        point[c] = j < d ? z[trial * d + j] : 0.0;
        gradient[c] = 0.0;
    }
    const long long first = (long long)blockIdx.x * tiles_each * TILE;
    for (long long i = first; i < first + tiles_each * TILE && i < m; i += TILE) {
        STORAGE held[TILE][COLUMNS];
        #pragma unroll
        for (int q = 0; q < TILE; ++q) {
            #pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                const long long j = t + (long long)c * THREADS;
                held[q][c] = i + q < m && j < d ? rows[(i + q) * d + j] : (STORAGE)0;
            }
        }
        #pragma unroll
        for (int q = 0; q < TILE; ++q) {
            double s = 0.0;
            #pragma unroll
            for (int c = 0; c < COLUMNS; ++c) s += (double)held[q][c] * point[c];
            for (int step = 16; step > 0; step /= 2) s += __shfl_down_sync(0xffffffffu, s, step);
            if (t % 32 == 0) sums[q][t / 32] = s;
        }
        __syncthreads();
        if (t < TILE) {
            double s = 0.0, phi;
            for (int w = 0; w < THREADS / 32; ++w) s += sums[t][w];
            weights[t] = 0.0;
            if (i + t < m) {
                weights[t] = scale * link(scale * s - y[trial * y_stride + i + t], (int)code, threshold, &phi);
                value += phi;
            }
        }
        __syncthreads();
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            #pragma unroll
            for (int q = 0; q < TILE; ++q) gradient[c] += weights[q] * (double)held[q][c];
        }
    }
    double* part = partials + (trial * gridDim.x + blockIdx.x) * (d + 1);
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const long long j = t + (long long)c * THREADS;
        if (j < d) part[j] = gradient[c];
    }
    __syncthreads();
    if (t < TILE) sums[t][0] = value;
    __syncthreads();
    if (t == 0) {
        for (int q = 1; q < TILE; ++q) value += sums[q][0];
        part[d] = value;
    }
}
"""
)

_CHUNKS = r"""
// totals[trial][j] = sum_c partials[trial][c][j], in an order that the number of chunks alone decides; 32 x 8 threads.
extern "C" __global__ void add_chunks(const double* partials, long long chunks, long long d, double* totals)
{
    __shared__ double sums[8][32];
    const long long j = (long long)blockIdx.x * 32 + threadIdx.x;
    const double* part = partials + blockIdx.y * chunks * d;
    double s = 0.0;
    if (j < d)
        for (long long c = threadIdx.y; c < chunks; c += 8) s += part[c * d + j];
    sums[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y == 0 && j < d) {
        for (int q = 1; q < 8; ++q) s += sums[q][threadIdx.x];
        totals[blockIdx.y * d + j] = s;
    }
}
"""


def fused_macros(d: int, storage: str) -> dict[str, Any]:
    """Return the macros of the fused pass over rows of d <= 6144 columns: what a thread holds fits its registers."""
    threads = 256 if d <= 2048 else 512
    columns = -(-d // threads)
    return {"STORAGE": STORAGE[storage], "THREADS": threads, "TILE": 4 if columns <= 8 else 2, "COLUMNS": columns}


FUSED = Source(_FUSED, tuple(fused_macros(d, s) for s in STORAGE for d in (1, 2048, 2049, 4096, 4097, FUSED_COLUMNS)))
CHUNKS = Source(_CHUNKS)
SOURCES = (FUSED, CHUNKS)


def fused_shape(m: int, d: int) -> tuple[int, int]:
    """Return the number of partial sums of a fused pass, and the number of tiles that each takes."""
    tiles = -(-m // fused_macros(d, "float64")["TILE"])
    each = -(-tiles // MAX_CHUNKS)
    return -(-tiles // each), each


def start_fused(rows, z, y, scale, code, threshold, partials, totals):
    """Start the fused pass for each trial: totals ``(B, d + 1)`` are the gradients, and the values behind them.

    z ``(B, d)``, y ``(B or 1, m)``, partials ``(B, chunks, d + 1)`` and totals are float64 and contiguous.
    """
    m, d = rows.shape
    chunks, each = fused_shape(m, d)
    macros = fused_macros(d, str(rows.dtype))
    stride = m if y.shape[0] > 1 else 0
    grid = (chunks, z.shape[0])
    arguments = (rows, z, y, m, d, stride, float(scale), code, float(threshold), each, partials)
    _gpu_launch.launch(FUSED, "fused_rows", grid, (macros["THREADS"],), arguments, macros)
    start_add_chunks(partials, totals)


def start_add_chunks(partials, totals):
    """Start the sum over the second axis of partials ``(B, chunks, d)``: totals ``(B, d)``."""
    trials, chunks, d = partials.shape
    _gpu_launch.launch(CHUNKS, "add_chunks", (-(-d // 32), trials), (32, 8), (partials, chunks, d, totals))


def fused_pass(rows, z, y, scale, code, threshold):
    """One pass over the rows for each trial: values ``(B,)`` and gradients ``(B, d)``, see `_rows`.

    Raises ValueError for more than 6144 columns.
    """
    m, d = rows.shape
    if d > FUSED_COLUMNS:
        raise ValueError(f"the fused pass takes rows of at most {FUSED_COLUMNS} columns, got {d}")
    xp = namespace(rows, z, y)
    dtype = precision(rows, z)
    rows = xp.ascontiguousarray(rows)
    z, y = (xp.ascontiguousarray(xp.astype(a, xp.float64, copy=False)) for a in (z, y))
    partials = xp.empty((z.shape[0], fused_shape(m, d)[0], d + 1))
    totals = xp.empty((z.shape[0], d + 1))
    start_fused(rows, z, y, scale, code, threshold, partials, totals)
    return xp.astype(totals[:, d], dtype), xp.astype(totals[:, :d], dtype)


def blas_pass(rows, z, y, scale, link, threshold):
    """The same by cuBLAS: two matrix products for each block of rows.

    Blocks, rather than the whole at once, for two reasons: the second product finds 16 MB of rows in the cache, and
    rows in a narrower storage are widened 16 MB at a time, never all together.
    """
    xp = namespace(rows, z, y)
    dtype = precision(rows, z)
    z, y = xp.astype(z, dtype, copy=False), xp.astype(y, dtype, copy=False)
    value = xp.zeros(z.shape[0], dtype=dtype)
    gradient = xp.zeros(z.shape, dtype=dtype)
    for b in blocks(rows.shape[0], max(1, L2_BYTES // (rows.shape[1] * z.dtype.itemsize))):
        block = xp.astype(rows[b, :], dtype, copy=False)
        phi, pulled = evaluate(scale * (z @ block.T) - y[:, b], link, threshold)
        value += phi
        gradient += pulled @ block
    return value, scale * gradient


def one_pass(rows, z, y, scale, link, threshold):
    """The fused pass for one trial whose rows fit the registers, cuBLAS for others."""
    if z.shape[0] == 1 and rows.shape[1] <= FUSED_COLUMNS:
        return fused_pass(rows, z, y, scale, link_code(link), threshold)
    return blas_pass(rows, z, y, scale, link, threshold)
