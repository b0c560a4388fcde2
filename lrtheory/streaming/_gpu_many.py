"""Streams side by side on a device: one block of threads for each, its w in registers, each row read once.

Not run on a device yet: the kernel is compiled and emulated in the tests. While threads add up the products of one row,
the next one is on its way. A row costs one barrier.
"""

from __future__ import annotations

import numpy as np

from lrtheory.backend import Array, namespace, to_numpy
from lrtheory.operators import _gpu_launch
from lrtheory.streaming import _gpu

SHAPES = ((32, 2), (32, 8), (128, 8), (256, 16))
"""Threads of a block and columns of each, the narrowest that hold a row are taken."""
WIDEST = SHAPES[-1][0] * SHAPES[-1][1]

SIDE_BY_SIDE = _gpu_launch.Source(
    _gpu.STEP
    + r"""
extern "C" __global__ void __launch_bounds__(THREADS) side_by_side(
    const STORAGE* rows, const double* rates, double* points, double* scalars, double* totals, long long* too_long,
    long long m, long long d, long long per_row, long long per_stream, long long kind, long long seen)
{
    __shared__ double sums[2][2][THREADS / 32];
    const int t = threadIdx.x;
    const long long stream = blockIdx.x;
    const STORAGE* mine = rows + stream * m * d;
    double* numbers = scalars + stream * 5;
    double norm2 = numbers[0], log_scale = numbers[1], ada = numbers[2], before = numbers[3], since = numbers[4];
    double w[COLUMNS], total = 0.0;
    STORAGE next[COLUMNS];
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const long long j = t + (long long)c * THREADS;
        w[c] = j < d ? points[stream * d + j] : 0.0;
        next[c] = j < d ? mine[j] : (STORAGE)0;
    }
    for (long long i = 0; i < m; ++i) {
        double row[COLUMNS], s = 0.0, r = 0.0;
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) row[c] = (double)next[c];
        if (i + 1 < m) {
            #pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                const long long j = t + (long long)c * THREADS;
                if (j < d) next[c] = mine[(i + 1) * d + j];
            }
        }
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) { s += row[c] * w[c]; r += row[c] * row[c]; }
        for (int step = 16; step > 0; step /= 2) {
            s += __shfl_down_sync(0xffffffffu, s, step);
            r += __shfl_down_sync(0xffffffffu, r, step);
        }
        double (*shared)[THREADS / 32] = sums[i & 1];  // those of the row before may still be read
        if (t % 32 == 0) { shared[0][t / 32] = s; shared[1][t / 32] = r; }
        __syncthreads();
        s = r = 0.0;
        for (int q = 0; q < THREADS / 32; ++q) { s += shared[0][q]; r += shared[1][q]; }
        total += r;
        const double eta = rates[i * per_row + stream * per_stream];
        const double step =
            coefficient(kind, eta, s, r, seen + i + 1, &norm2, &ada, &before, &since, too_long);
        const double scale = into_range(&norm2, &log_scale);
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) w[c] = scale * (w[c] + step * row[c]);
    }
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const long long j = t + (long long)c * THREADS;
        if (j < d) points[stream * d + j] = w[c];
    }
    if (t == 0) {
        totals[stream] = total;
        numbers[0] = norm2;
        numbers[1] = log_scale;
        numbers[2] = ada;
        numbers[3] = before;
        numbers[4] = since;
    }
}
""",
    variants=tuple(
        {"THREADS": threads, "COLUMNS": columns, "STORAGE": storage} | _gpu.MACROS
        for threads, columns in SHAPES
        for storage in ("double", "float")
    ),
)
SOURCES = (SIDE_BY_SIDE,)


def take_each(rows: Array, rates: np.ndarray, kind: int, seen: int, w: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """`_cpu_many.take_each` for rows on a device; the other arrays are on the host."""
    xp = namespace(rows)
    streams, m, d = rows.shape
    if d > WIDEST:  # wide enough for matrix products of one stream
        return np.array(
            [
                _gpu.take(rows[s], rates[:, s : s + 1], kind, seen, w[s : s + 1], scalars[s : s + 1])
                for s in range(streams)
            ]
        )
    per_row, per_stream = (int(stride != 0) for stride in rates.strides)
    used = np.ascontiguousarray(rates[: m if per_row else 1, : streams if per_stream else 1])
    vectors, numbers = xp.asarray(w), xp.asarray(scalars)
    totals, too_long = xp.zeros(streams), xp.zeros(1, dtype=xp.int64)
    threads, columns = next(shape for shape in SHAPES if shape[0] * shape[1] >= d)
    macros = {"THREADS": threads, "COLUMNS": columns, "STORAGE": {4: "float", 8: "double"}[rows.dtype.itemsize]}
    sizes = (m, d, per_row * used.shape[1], per_stream, kind, seen)
    _gpu_launch.launch(
        SIDE_BY_SIDE,
        "side_by_side",
        (streams,),
        (threads,),
        (rows, xp.asarray(used), vectors, numbers, totals, too_long, *sizes),
        macros | _gpu.MACROS,
    )
    _gpu.check_steps(too_long, seen, m)
    w[:], scalars[:] = to_numpy(vectors), to_numpy(numbers)
    return to_numpy(totals)
