"""CUDA kernels that apply diagonal systems: a scan in chunks of 64 samples, states carried over chunks, transforms.

`scan` runs the recurrence twice, with all chunks, modes and rows in parallel: `drive` finds what each chunk adds to the
state, `carry` the states before the chunks, and `respond` starts from these. That is 14 M multiply-adds a sample, where
the matrix products of `application.chunked` have 4 M + 64, but four launches where these are some sixty array
operations. `carry` serves both: blocks of 16 threads for each mode take a part of the chunks each, twice, and between
the two passes add up what the parts before theirs leave.

States are float64 whatever the signal's precision. Nothing here was run on a device yet, and `recommended` counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace
from lrtheory.operators import _gpu_launch
from lrtheory.operators._gpu_launch import Source
from lrtheory.ssm._gpu_sources import EXPONENTIAL, REAL

CHUNK, PIECE = 64, 16  # samples of a chunk, and those whose sums over modes are made together
LINES = 8  # chunks of a block of threads that find what they add to the state
ANSWERS = 4  # chunks of a block of threads that make the response
PARTS = 16  # of a row's chunks, for each of which a thread carries the state of a mode
LOWEST = -1000.0  # exponentials below 2 to this power are 0
CALLS = 1 << 27
"""Modes times samples up to which `scan` is recommended. It moves as many bytes as the matrix products do and takes
10 M multiply-adds a sample more, which for so many last as long as sixty calls of 5 us at 5e12 a second. A count."""
TRANSFORMED = 128
"""Modes above which Fourier transforms are recommended. With 10 operations for each byte, the matrix products cost
69 + 2 M bytes a sample, with states that are written and read five times for each 64 samples; three transforms of twice
the length, what pads, multiplies and scales them, and the kernel cost 264 + 0.4 M. A count."""

_CODE = (
    EXPONENTIAL
    + r"""
// added[place][q] = what the samples of chunk q add to the state, [Re, Im] (2 M numbers): block x is LINES chunks of a
// row, thread y the chunk, thread x of block y the mode. row_of (3, rows): system, source and place of each row.
extern "C" __global__ void drive(
    const double* x, const double* b, const SIGNAL* u, const long long* row_of, long long rows, long long length,
    long long chunks, long long groups, long long modes, double lowest, double* added)
{
    const long long r = blockIdx.x / groups, q = blockIdx.x % groups * blockDim.y + threadIdx.y;
    const long long n = blockIdx.y * 32 + threadIdx.x;
    if (q >= chunks || n >= modes) return;
    const long long at = 2 * (row_of[r] * modes + n), last = (q + 1) * CHUNK < length ? (q + 1) * CHUNK : length;
    const SIGNAL* signal = u + row_of[rows + r] * length;
    double cosine, sine, re = 0.0, im = 0.0;
    exponential(x[at], x[at + 1], 1.0, lowest, &cosine, &sine);
    for (long long l = q * CHUNK; l < last; ++l) {  // with a unit weight: b multiplies the sum
        const double next = re * cosine - im * sine + (double)signal[l];
        im = re * sine + im * cosine;
        re = next;
    }
    double* place = added + 2 * modes * (row_of[2 * rows + r] * chunks + q) + n;
    place[0] = b[at] * re - b[at + 1] * im;
    place[modes] = b[at] * im + b[at + 1] * re;
}

// before[place][q] = the state before chunk q, z[place] the last one: turn z + added[source] for each chunk. Block x is
// the row, thread x of block y the mode, and thread y takes the chunks y each, ..., (y + 1) each - 1.
extern "C" __global__ void carry(
    const double* turn, const SIGNAL* added, const long long* row_of, long long rows, long long chunks, long long each,
    long long modes, double* z, SIGNAL* before)
{
    __shared__ double ends[2][PARTS][32];
    const int t = threadIdx.x, y = threadIdx.y;
    const long long r = blockIdx.x, n = blockIdx.y * 32 + t;
    const long long first = y * each, last = first + each < chunks ? first + each : chunks;
    const bool inside = n < modes;
    const long long at = row_of[r] * modes + n, place = row_of[2 * rows + r];
    const SIGNAL* gains = added + 2 * modes * row_of[rows + r] * chunks + n;
    double a = 0.0, b = 0.0, z_re = 0.0, z_im = 0.0, re = 0.0, im = 0.0;
    if (inside) {
        a = turn[2 * at];
        b = turn[2 * at + 1];
        z_re = z[2 * (place * modes + n)];
        z_im = z[2 * (place * modes + n) + 1];
        for (long long q = first; q < last; ++q) {
            const double next = a * re - b * im + (double)gains[2 * modes * q];
            im = a * im + b * re + (double)gains[2 * modes * q + modes];
            re = next;
        }
    }
    ends[0][y][t] = re;
    ends[1][y][t] = im;
    __syncthreads();
    if (!inside || first >= last) return;
    double c = a, d = b, e = 1.0, f = 0.0;  // (e, f) = turn to the power each, by squares
    for (long long k = each; k > 0; k /= 2) {
        if (k % 2) {
            const double next = e * c - f * d;
            f = e * d + f * c;
            e = next;
        }
        const double next = c * c - d * d;
        d = 2.0 * c * d;
        c = next;
    }
    for (int k = 0; k < y; ++k) {
        const double next = e * z_re - f * z_im + ends[0][k][t];
        z_im = e * z_im + f * z_re + ends[1][k][t];
        z_re = next;
    }
    for (long long q = first; q < last; ++q) {
        SIGNAL* now = before + 2 * modes * (place * chunks + q) + n;
        now[0] = (SIGNAL)z_re;
        now[modes] = (SIGNAL)z_im;
        const double next = a * z_re - b * z_im + (double)gains[2 * modes * q];
        z_im = a * z_im + b * z_re + (double)gains[2 * modes * q + modes];
        z_re = next;
    }
    if (last == chunks) {
        z[2 * (place * modes + n)] = z_re;
        z[2 * (place * modes + n) + 1] = z_im;
    }
}

// y[place] = Re sum_n c_n z_n, from the states before each chunk, and z[place] the state after the last sample: block x
// is ANSWERS chunks of a row, thread y the chunk; threads x are modes, 32 at a time, and then samples.
extern "C" __global__ void respond(
    const double* x, const double* b, const double* c, const SIGNAL* u, const double* before, const long long* row_of,
    long long rows, long long length, long long chunks, long long groups, long long modes, double lowest, double* z,
    SIGNAL* y)
{
    __shared__ double terms[ANSWERS][PIECE][33];
    const int t = threadIdx.x, line = threadIdx.y;
    const long long r = blockIdx.x / groups, q = blockIdx.x % groups * ANSWERS + line, place = row_of[2 * rows + r];
    const SIGNAL* signal = u + row_of[rows + r] * length;
    double sums[CHUNK / PIECE];
    #pragma unroll
    for (int k = 0; k < CHUNK / PIECE; ++k) sums[k] = 0.0;
    for (long long first = 0; first < modes; first += 32) {
        const long long n = first + t, at = 2 * (row_of[r] * modes + n);
        double cosine = 0.0, sine = 0.0, b_re = 0.0, b_im = 0.0, c_re = 0.0, c_im = 0.0, re = 0.0, im = 0.0;
        if (q < chunks && n < modes) {
            exponential(x[at], x[at + 1], 1.0, lowest, &cosine, &sine);
            b_re = b[at];
            b_im = b[at + 1];
            c_re = c[at];
            c_im = c[at + 1];
            re = before[2 * modes * (place * chunks + q) + n];
            im = before[2 * modes * (place * chunks + q) + modes + n];
        }
        #pragma unroll
        for (int k = 0; k < CHUNK / PIECE; ++k) {
            for (int i = 0; i < PIECE; ++i) {
                const long long l = q * CHUNK + k * PIECE + i;
                if (l < length) {
                    const double v = (double)signal[l], next = re * cosine - im * sine + b_re * v;
                    im = re * sine + im * cosine + b_im * v;
                    re = next;
                }
                terms[line][i][t] = c_re * re - c_im * im;
            }
            __syncthreads();
            double s = 0.0;  // threads t and t + 16 add half of the modes each, for sample t % 16
            #pragma unroll
            for (int j = 0; j < 16; ++j) s += terms[line][t % PIECE][t / PIECE * 16 + j];
            sums[k] += s + __shfl_down_sync(0xffffffffu, s, PIECE);
            __syncthreads();
        }
        if (q == chunks - 1 && n < modes) {
            z[2 * (place * modes + n)] = re;
            z[2 * (place * modes + n) + 1] = im;
        }
    }
    #pragma unroll
    for (int k = 0; k < CHUNK / PIECE; ++k) {
        const long long l = q * CHUNK + k * PIECE + t;
        if (t < PIECE && l < length) y[place * length + l] = (SIGNAL)sums[k];
    }
}
"""
)


def macros(dtype: str) -> dict[str, Any]:
    """Return the macros for signals of a dtype."""
    return {"SIGNAL": REAL[dtype], "CHUNK": CHUNK, "PIECE": PIECE, "ANSWERS": ANSWERS, "PARTS": PARTS}


SCAN = Source(_CODE, tuple(macros(dtype) for dtype in REAL))
SOURCES = (SCAN,)


def scan(x, b, c, u, row_of, z, y):
    """Overwrite y ``(rows, L)`` with the responses to u, and z ``(rows, M)`` with the states after the last sample.

    x, b, c are complex ``(systems, M)``. Result ``row_of[2, r]`` is that of system ``row_of[0, r]`` and input
    ``row_of[1, r]``; `row_of` is on the host. Memory beyond the result: 32 M bytes for each 64 samples of a row.
    """
    xp = namespace(u, y)
    (rows, length), modes = y.shape, x.shape[1]
    if rows == 0:
        return
    chunks = -(-length // CHUNK)
    added, before = (xp.empty((rows, chunks, 2 * modes)) for _ in range(2))
    flat_x, flat_b, flat_c = (v.view(xp.float64) for v in (x, b, c))
    moved, tiles, given = xp.asarray(row_of), -(-modes // 32), macros(np.dtype(u.dtype).name)
    groups = -(-chunks // LINES)
    driven = (flat_x, flat_b, u, moved, rows, length, chunks, groups, modes, LOWEST, added)
    _gpu_launch.launch(SCAN, "drive", (rows * groups, tiles), (32, LINES), driven, given)
    own = np.stack([row_of[0], row_of[2], row_of[2]])  # what a chunk adds is the row's own
    carry(xp.exp(CHUNK * x), added, own, z, before)
    groups = -(-chunks // ANSWERS)
    arguments = (flat_x, flat_b, flat_c, u, before, moved, rows, length, chunks, groups, modes, LOWEST)
    results = (z.view(xp.float64), y)  # the last chunk may be shorter, so that its end is not what was carried
    _gpu_launch.launch(SCAN, "respond", (rows * groups,), (32, ANSWERS), (*arguments, *results), given)


def carry(turn, added, row_of, z, before):
    """Overwrite before ``(rows, chunks, 2 M)`` with the states before each chunk, real parts first.

    A chunk multiplies the state by turn ``(systems, M)`` and adds its part of added ``(sources, chunks, 2 M)``; z
    ``(rows, M)`` is overwritten with the last states. `row_of` is that of `scan`.
    """
    xp = namespace(added, z)
    (rows, chunks), modes = before.shape[:2], turn.shape[1]
    if rows == 0:
        return
    each = -(-chunks // PARTS)
    table, turns = xp.asarray(row_of), xp.ascontiguousarray(turn).view(xp.float64)
    arguments = (turns, added, table, rows, chunks, each, modes, z.view(xp.float64), before)
    given = macros(np.dtype(added.dtype).name)
    _gpu_launch.launch(SCAN, "carry", (rows, -(-modes // 32)), (32, PARTS), arguments, given)


def rfft(v: Array, size: int) -> Array:
    """Return the transform of v filled up with zeros to `size`; CuPy keeps the plans of the last 16 shapes."""
    from cupyx.scipy import fft

    return fft.rfft(v, size)


def irfft(v: Array, size: int) -> Array:
    """Return the inverse transform, of which the argument is no longer needed: it saves a copy."""
    from cupyx.scipy import fft

    return fft.irfft(v, size, overwrite_x=True)


def recommended(length: int, modes: int, rows: int) -> tuple[str, str]:
    """Return the name of the algorithm for `rows` signals of `length` samples, and why: counts, nothing measured."""
    if length * modes * rows <= CALLS:
        return "scan", f"{rows} signals of {length} samples, {modes} modes: the fewest launches, by count"
    if modes > TRANSFORMED:
        return "fft", f"more than {TRANSFORMED} modes: transforms move fewer bytes than states do, by count"
    return "chunked", "matrix products have the fewest operations and bytes, by count"
