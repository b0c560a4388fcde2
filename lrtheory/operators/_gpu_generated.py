"""CUDA kernels of the operators whose entries are made from bits: stored signs, and words made from a counter.

Twins of `_cpu_generated`, with the same integers: word c of an operator is output c + 1 of SplitMix64 seeded by its
key, and a row takes ``width`` words. The laws "sign" (64 entries a word) and "quantised" (4) are those of the CPU bit
for bit. The law "normal" is for GPUs: the halves of a word, h (upper 32 bits) and l (lower), are the two entries

    sqrt(-2 log((h + 1/2) / 2^32)) (cos, sin)(2 pi l / 2^32)

(Box and Muller; entries reach 6.7 standard deviations). The integers are equal on all machines, the numbers to 4 ulp.

For up to three trials a kernel makes the entries twice, for the dot products and for the adjoint. Threads of a block
first make the words of a panel, once each, in shared memory; then each thread takes its columns of the panel. For more
trials 32 MB of rows at a time are made in memory, and cuBLAS multiplies. Nothing here was measured on a device yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace
from lrtheory.operators import _gpu_launch
from lrtheory.operators._gpu import start_add_chunks
from lrtheory.operators._gpu_launch import Source

STORED, SIGN, QUANTISED, NORMAL = 0, 1, 2, 3  # where entries come from
PER_WORD = {STORED: 64, SIGN: 64, QUANTISED: 4, NORMAL: 2}
ROWS = {STORED: 16, SIGN: 16, QUANTISED: 8, NORMAL: 4}  # whose panels of words fit shared memory together
THREADS, COLUMNS = 256, 4  # a panel has 1024 columns, four a thread
PANEL = THREADS * COLUMNS
FEW = 3  # trials that have the entries made for each of them
BLOCK_ENTRIES = 1 << 22  # of the rows that more trials have in memory at a time
MAX_CHUNKS, BLOCKS = 128, 1024  # partial sums of an adjoint, at most, and blocks of threads that keep a device busy

_CODE = r"""
#define PANEL (THREADS * COLUMNS)
#define WORDS (PANEL / PER_WORD)

__device__ unsigned long long mix(unsigned long long key, unsigned long long c)
{
    unsigned long long x = key + (c + 1ULL) * 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

struct Panel {
#if LAW == 3
    double values[ROWS][PANEL];
#else
    unsigned long long words[ROWS][WORDS];
#endif
};

// Make the words first..first + WORDS - 1 of the rows i..i + ROWS - 1; zeros beyond the end of a row and beyond row m.
__device__ void make(Panel* panel, const unsigned long long* bits, unsigned long long key, long long width,
                     long long m, long long i, long long first)
{
    for (int s = threadIdx.x; s < ROWS * WORDS; s += THREADS) {
        const int q = s / WORDS, w = s % WORDS;
        const bool inside = i + q < m && first + w < width;
        const long long c = (i + q) * width + first + w;
#if LAW == 0
        const unsigned long long h = inside ? bits[c] : 0ULL;
#else
        const unsigned long long h = inside ? mix(key, (unsigned long long)c) : 0ULL;
#endif
#if LAW == 3
        const double radius = sqrt(-2.0 * log(((double)(h >> 32) + 0.5) * 0x1p-32));
        double sine, cosine;
        sincospi((double)(h & 0xFFFFFFFFULL) * 0x1p-31, &sine, &cosine);
        panel->values[q][2 * w] = radius * cosine;
        panel->values[q][2 * w + 1] = radius * sine;
#else
        panel->words[q][w] = h;
#endif
    }
}

// Column l of the panel, row q.
__device__ double entry(const Panel* panel, const double* table, int q, int l)
{
#if LAW == 3
    return panel->values[q][l];
#elif LAW == 2
    return table[(panel->words[q][l / 4] >> (12 * (l % 4))) & 4095ULL];
#else
    return (panel->words[q][l / 64] >> (l % 64)) & 1ULL ? 1.0 : -1.0;
#endif
}

// out[trial][i] = <rows_i, z[trial]>: block x takes ROWS rows, block y is the trial.
extern "C" __global__ void __launch_bounds__(THREADS) dots(
    const unsigned long long* bits, const double* table, unsigned long long key, long long width, long long m,
    long long d, const double* z, double* out)
{
    __shared__ Panel panel;
    __shared__ double sums[ROWS][THREADS / 32];
    const int t = threadIdx.x;
    const long long i = (long long)blockIdx.x * ROWS, trial = blockIdx.y;
    double s[ROWS];
    #pragma unroll
    for (int q = 0; q < ROWS; ++q) s[q] = 0.0;
    for (long long a = 0; a < d; a += PANEL) {
        make(&panel, bits, key, width, m, i, a / PER_WORD);
        __syncthreads();
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            const int l = t + c * THREADS;
            if (a + l < d) {
                const double x = z[trial * d + a + l];
                #pragma unroll
                for (int q = 0; q < ROWS; ++q) s[q] += entry(&panel, table, q, l) * x;
            }
        }
        __syncthreads();
    }
    #pragma unroll
    for (int q = 0; q < ROWS; ++q) {
        double part = s[q];
        for (int step = 16; step > 0; step /= 2) part += __shfl_down_sync(0xffffffffu, part, step);
        if (t % 32 == 0) sums[q][t / 32] = part;
    }
    __syncthreads();
    if (t < ROWS && i + t < m) {
        double total = 0.0;
        for (int w = 0; w < THREADS / 32; ++w) total += sums[t][w];
        out[trial * m + i + t] = total;
    }
}

// partials[trial][chunk][j] = sum of v[trial][i] rows_i[j] over the rows of a chunk: block x is the panel, y the chunk
// of tiles_each tiles of ROWS rows, z the trial.
extern "C" __global__ void __launch_bounds__(THREADS) adds(
    const unsigned long long* bits, const double* table, unsigned long long key, long long width, long long m,
    long long d, const double* v, long long tiles_each, double* partials)
{
    __shared__ Panel panel;
    __shared__ double weights[ROWS];
    const int t = threadIdx.x;
    const long long a = (long long)blockIdx.x * PANEL, trial = blockIdx.z;
    const long long first = (long long)blockIdx.y * tiles_each * ROWS;
    double s[COLUMNS];
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) s[c] = 0.0;
    for (long long i = first; i < first + tiles_each * ROWS && i < m; i += ROWS) {
        make(&panel, bits, key, width, m, i, a / PER_WORD);
        if (t < ROWS) weights[t] = i + t < m ? v[trial * m + i + t] : 0.0;
        __syncthreads();
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            const int l = t + c * THREADS;
            #pragma unroll
            for (int q = 0; q < ROWS; ++q) s[c] += weights[q] * entry(&panel, table, q, l);
        }
        __syncthreads();
    }
    double* part = partials + (trial * gridDim.y + blockIdx.y) * d;
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const long long j = a + t + c * THREADS;
        if (j < d) part[j] = s[c];
    }
}

// rows[i - first][j], the rows first..first + count - 1 themselves: block x is the panel, y the tile of ROWS rows.
extern "C" __global__ void __launch_bounds__(THREADS) fill(
    const unsigned long long* bits, const double* table, unsigned long long key, long long width, long long first,
    long long count, long long d, double* rows)
{
    __shared__ Panel panel;
    const long long a = (long long)blockIdx.x * PANEL, i = (long long)blockIdx.y * ROWS;
    make(&panel, bits, key, width, first + count, first + i, a / PER_WORD);
    __syncthreads();
    for (int c = 0; c < COLUMNS; ++c) {
        const int l = threadIdx.x + c * THREADS;
        for (int q = 0; q < ROWS; ++q)
            if (a + l < d && i + q < count) rows[(i + q) * d + a + l] = entry(&panel, table, q, l);
    }
}
"""


def _macros(law: int) -> dict[str, Any]:
    return {"LAW": law, "PER_WORD": PER_WORD[law], "ROWS": ROWS[law], "THREADS": THREADS, "COLUMNS": COLUMNS}


GENERATED = Source(_CODE, tuple(_macros(law) for law in PER_WORD))
SOURCES = (GENERATED,)


def forward(source, m, z):
    """Return ``z rows^T``, ``(B, m)`` in float64, of rows from `source`: (law, bits, table, key, width).

    Parameters
    ----------
    source : tuple
        law: STORED, SIGN, QUANTISED or NORMAL; bits ``(m, width)``, uint64, the stored words, and table ``(4096,)``,
        the values of the quantised law (any arrays for the other laws); key; width, words a row. Arrays of the host are
        moved.
    m : int
    z : array ``(B, d)``
    """
    xp = namespace(z)
    z = xp.ascontiguousarray(xp.astype(z, xp.float64, copy=False))
    trials, d = z.shape
    if trials > FEW:
        return xp.concat([z @ rows.T for _, rows in _blocks(source, m, d, z)], axis=1)
    law, made_from = _arguments(source, z)
    out = xp.empty((trials, m))
    _start("dots", law, (-(-m // ROWS[law]), trials), (*made_from, m, d, z, out))
    return out


def adjoint(source, d, v):
    """Return ``v rows``, ``(B, d)`` in float64: v ``(B, m)``, `source` as in `forward`."""
    xp = namespace(v)
    v = xp.ascontiguousarray(xp.astype(v, xp.float64, copy=False))
    trials, m = v.shape
    if trials > FEW:
        total = xp.zeros((trials, d))
        for b, rows in _blocks(source, m, d, v):
            total += v[:, b] @ rows
        return total
    law, made_from = _arguments(source, v)
    chunks, each = adjoint_shape(law, m, d)
    partials, total = xp.empty((trials, chunks, d)), xp.empty((trials, d))
    _start("adds", law, (-(-d // PANEL), chunks, trials), (*made_from, m, d, v, each, partials))
    start_add_chunks(partials, total)
    return total


def adjoint_shape(law: int, m: int, d: int) -> tuple[int, int]:
    """Return the number of partial sums of an adjoint, and the number of tiles of rows that each takes."""
    tiles = -(-m // ROWS[law])
    chunks = min(tiles, MAX_CHUNKS, max(1, BLOCKS // -(-d // PANEL)))
    each = -(-tiles // chunks)
    return -(-tiles // each), each


def rows_of(source, first, last, d, prototype):
    """Return the rows first..last-1 as numbers, ``(last - first, d)``, in the library of `prototype`."""
    law, made_from = _arguments(source, prototype)
    rows = namespace(prototype).empty((last - first, d))
    _start("fill", law, (-(-d // PANEL), -(-(last - first) // ROWS[law])), (*made_from, first, last - first, d, rows))
    return rows


def _start(kernel: str, law: int, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
    _gpu_launch.launch(GENERATED, kernel, grid, (THREADS,), arguments, _macros(law))


def _arguments(source: tuple[Any, ...], prototype: Array) -> tuple[int, tuple[Any, ...]]:
    law, bits, table, key, width = source
    xp = namespace(prototype)
    bits, table = xp.asarray(bits), xp.asarray(table)
    return int(law), (bits, table, np.uint64(key), int(width))


def _blocks(source, m, d, prototype):
    """Yield all rows, some at a time."""
    size = min(max(1, BLOCK_ENTRIES // d), 65535 * ROWS[int(source[0])])  # and a grid has at most 65535 tiles
    for first in range(0, m, size):
        last = min(first + size, m)
        yield slice(first, last), rows_of(source, first, last, d, prototype)
