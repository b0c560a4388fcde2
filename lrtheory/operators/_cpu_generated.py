"""Numba kernels of the operators whose entries are made from bits: stored signs, and words made from a counter.

The words are those of `_counter`. They are made (or fetched) four rows and a block of columns at a time into a few
kilobytes, which all trials share, once for the dot products and once more for the adjoint: making 64 signs again costs
less than keeping anything. Up to three trials take signs in registers, where a sign is a blend and costs no
multiplication; more take tiles of four rows and four trials, with 16 sums in registers. Byte tables, the published
alternative for stored signs, were slower (see docs/decisions.md).

Sums are accumulated in float64. Every trial, every row and every column has its own sum, in one order whatever the
number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lrtheory.operators._counter import GAMMA, MIX, SHIFTS
from lrtheory.operators._cpu import FAST, _run_parts

STORED, SIGN, QUANTISED = 0, 1, 2  # where entries come from
TILE = 4  # rows
GROUP = 64  # rows that a part of `dots` takes: each finds the block of the point in cache
COLUMNS = 4096  # of a block, at most
PARTS, FEW_COLUMNS = 4, 512  # `adds` is cut into so many parts where that leaves each so many columns

_ONE, _LEVEL = np.uint64(1), np.uint64(4095)
_GAMMA, _FIRST, _SECOND = np.uint64(GAMMA), np.uint64(MIX[0]), np.uint64(MIX[1])
_S0, _S1, _S2 = (np.uint64(shift) for shift in SHIFTS)
_Q1, _Q2, _Q3 = np.uint64(12), np.uint64(24), np.uint64(36)


@njit(cache=True, nogil=True, fastmath=False)
def _word(key, c):
    x = key + (c + _ONE) * _GAMMA
    x = (x ^ (x >> _S0)) * _FIRST
    x = (x ^ (x >> _S1)) * _SECOND
    return x ^ (x >> _S2)


@njit(cache=True, nogil=True, fastmath=False)
def _fetch(law, bits, key, width, i, first, last, words):
    """Overwrite words ``(4, ...)`` with the words first..last-1 of the rows i..i+3."""
    for q in range(4):
        row = words[q]
        if law == STORED:
            stored = bits[min(i + q, bits.shape[0] - 1), first:last]  # beyond the last row anything will do
            for w in range(last - first):
                row[w] = stored[w]
        else:
            c = np.uint64(i + q) * np.uint64(width) + np.uint64(first)
            for w in range(last - first):
                row[w] = _word(key, c + np.uint64(w))


@njit(cache=True, nogil=True, fastmath=False)
def _spread(law, table, words, count, values):
    """Overwrite values ``(4, ...)`` with the entries that the first `count` words of each row stand for."""
    for q in range(4):
        row, into = words[q], values[q]
        if law == QUANTISED:
            for w in range(count):
                h = row[w]
                into[4 * w] = table[h & _LEVEL]
                into[4 * w + 1] = table[(h >> _Q1) & _LEVEL]
                into[4 * w + 2] = table[(h >> _Q2) & _LEVEL]
                into[4 * w + 3] = table[(h >> _Q3) & _LEVEL]
        else:
            for w in range(count):
                h = row[w]
                for j in range(64):
                    into[64 * w + j] = 1.0 if h & (_ONE << np.uint64(j)) else -1.0


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _sign_dots(words, count, z, out):
    """Add to out ``(4,)`` the dot products of four rows of signs with a block of one point."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for w in range(count):
        b0, b1, b2, b3 = words[0, w], words[1, w], words[2, w], words[3, w]
        x = z[64 * w : 64 * w + 64]
        for j in range(64):
            bit = _ONE << np.uint64(j)
            s0 += x[j] if b0 & bit else -x[j]
            s1 += x[j] if b1 & bit else -x[j]
            s2 += x[j] if b2 & bit else -x[j]
            s3 += x[j] if b3 & bit else -x[j]
    out[0] += s0
    out[1] += s1
    out[2] += s2
    out[3] += s3


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _sign_add(words, count, r, g):
    """Add to g the four rows of signs, weighted by r ``(4,)``."""
    r0, r1, r2, r3 = r[0], r[1], r[2], r[3]
    for w in range(count):
        b0, b1, b2, b3 = words[0, w], words[1, w], words[2, w], words[3, w]
        into = g[64 * w : 64 * w + 64]
        for j in range(64):
            bit = _ONE << np.uint64(j)
            into[j] += ((r0 if b0 & bit else -r0) + (r1 if b1 & bit else -r1)) + (
                (r2 if b2 & bit else -r2) + (r3 if b3 & bit else -r3)
            )


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _dots(values, count, z, out):
    """Add to out ``(4,)`` the dot products of four rows with a block of one point."""
    a0, a1, a2, a3 = values[0], values[1], values[2], values[3]
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for j in range(count):
        x = z[j]
        s0 += a0[j] * x
        s1 += a1[j] * x
        s2 += a2[j] * x
        s3 += a3[j] * x
    out[0] += s0
    out[1] += s1
    out[2] += s2
    out[3] += s3


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _add(values, count, r, g):
    """Add to g the four rows, weighted by r ``(4,)``."""
    a0, a1, a2, a3 = values[0], values[1], values[2], values[3]
    r0, r1, r2, r3 = r[0], r[1], r[2], r[3]
    for j in range(count):
        g[j] += (r0 * a0[j] + r1 * a1[j]) + (r2 * a2[j] + r3 * a3[j])


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _dots_of_four(values, count, z, t, first, out, q):
    """Add to ``out[t : t + 4, q : q + 4]`` the dot products of four rows with a block of four points."""
    a0, a1, a2, a3 = values[0, :count], values[1, :count], values[2, :count], values[3, :count]
    z0, z1 = z[t, first : first + count], z[t + 1, first : first + count]
    z2, z3 = z[t + 2, first : first + count], z[t + 3, first : first + count]
    s00, s01, s02, s03 = 0.0, 0.0, 0.0, 0.0
    s10, s11, s12, s13 = 0.0, 0.0, 0.0, 0.0
    s20, s21, s22, s23 = 0.0, 0.0, 0.0, 0.0
    s30, s31, s32, s33 = 0.0, 0.0, 0.0, 0.0
    for j in range(count):
        x0, x1, x2, x3 = a0[j], a1[j], a2[j], a3[j]
        w = z0[j]
        s00 += x0 * w
        s01 += x1 * w
        s02 += x2 * w
        s03 += x3 * w
        w = z1[j]
        s10 += x0 * w
        s11 += x1 * w
        s12 += x2 * w
        s13 += x3 * w
        w = z2[j]
        s20 += x0 * w
        s21 += x1 * w
        s22 += x2 * w
        s23 += x3 * w
        w = z3[j]
        s30 += x0 * w
        s31 += x1 * w
        s32 += x2 * w
        s33 += x3 * w
    sums = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
    for b in range(4):
        for c in range(4):
            out[t + b, q + c] += sums[b][c]


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _add_of_four(values, count, r, t, i, g, first):
    """Add the four rows to a block of the gradients t..t+3, weighted by ``r[t : t + 4, i : i + 4]``."""
    a0, a1, a2, a3 = values[0, :count], values[1, :count], values[2, :count], values[3, :count]
    g0, g1 = g[t, first : first + count], g[t + 1, first : first + count]
    g2, g3 = g[t + 2, first : first + count], g[t + 3, first : first + count]
    r00, r01, r02, r03 = r[t, i], r[t, i + 1], r[t, i + 2], r[t, i + 3]
    r10, r11, r12, r13 = r[t + 1, i], r[t + 1, i + 1], r[t + 1, i + 2], r[t + 1, i + 3]
    r20, r21, r22, r23 = r[t + 2, i], r[t + 2, i + 1], r[t + 2, i + 2], r[t + 2, i + 3]
    r30, r31, r32, r33 = r[t + 3, i], r[t + 3, i + 1], r[t + 3, i + 2], r[t + 3, i + 3]
    for j in range(count):
        x0, x1, x2, x3 = a0[j], a1[j], a2[j], a3[j]
        g0[j] += (r00 * x0 + r01 * x1) + (r02 * x2 + r03 * x3)
        g1[j] += (r10 * x0 + r11 * x1) + (r12 * x2 + r13 * x3)
        g2[j] += (r20 * x0 + r21 * x1) + (r22 * x2 + r23 * x3)
        g3[j] += (r30 * x0 + r31 * x1) + (r32 * x2 + r33 * x3)


@njit(cache=True, nogil=True)
def dots(law, bits, table, key, width, z, first_group, last_group, out):
    """Overwrite the columns 64 first_group..64 last_group-1 of out ``(B, m')`` with the dot products of these rows.

    Parameters
    ----------
    law : int
        STORED, SIGN or QUANTISED.
    bits : array ``(m, width)``, uint64
        The stored words; any array for the other laws.
    table : array ``(4096,)``
        The values of the quantised law; any array for the others.
    key : uint64
    width : int
        Words a row.
    z : array ``(B, d')``
        Filled up with zeros to whole words. B is 1, 2, 3 or a multiple of 4.
    out : array ``(B, m')``, m' the least multiple of 4 that is >= m
    """
    trials, each = z.shape[0], 4 if law == QUANTISED else 64
    block = COLUMNS // each
    words, values = np.empty((4, block), np.uint64), np.empty((4, COLUMNS))
    for group in range(first_group, last_group):
        top, bottom = GROUP * group, min(GROUP * (group + 1), out.shape[1])
        out[:, top:bottom] = 0.0
        for a in range(0, width, block):
            b = min(a + block, width)
            first, last = each * a, each * b
            for i in range(top, bottom, 4):
                _fetch(law, bits, key, width, i, a, b, words)
                if law == QUANTISED or trials > 3:
                    _spread(law, table, words, b - a, values)
                if trials > 3:
                    for t in range(0, trials, 4):
                        _dots_of_four(values, last - first, z, t, first, out, i)
                elif law == QUANTISED:
                    for t in range(trials):
                        _dots(values, last - first, z[t, first:last], out[t, i : i + 4])
                else:
                    for t in range(trials):
                        _sign_dots(words, b - a, z[t, first:last], out[t, i : i + 4])


@njit(cache=True, nogil=True)
def adds(law, bits, table, key, width, block, r, first_block, last_block, g):
    """Overwrite blocks of g ``(B, d')`` with ``sum_i r_i rows_i``: the words block * first_block.. of each row.

    The other arguments are those of `dots`, with r ``(B, m')`` zero beyond m.
    """
    trials, each = r.shape[0], 4 if law == QUANTISED else 64
    words, values = np.empty((4, block), np.uint64), np.empty((4, each * block))
    for part in range(first_block, last_block):
        a, b = block * part, min(block * (part + 1), width)
        first, last = each * a, each * b
        g[:, first:last] = 0.0
        for i in range(0, r.shape[1], 4):
            _fetch(law, bits, key, width, i, a, b, words)
            if law == QUANTISED or trials > 3:
                _spread(law, table, words, b - a, values)
            if trials > 3:
                for t in range(0, trials, 4):
                    _add_of_four(values, last - first, r, t, i, g, first)
            elif law == QUANTISED:
                for t in range(trials):
                    _add(values, last - first, r[t, i : i + 4], g[t, first:last])
            else:
                for t in range(trials):
                    _sign_add(words, b - a, r[t, i : i + 4], g[t, first:last])


def forward(source, m, z):
    """Return ``z rows^T``, ``(B, m)`` in float64, of rows from `source`, the first five arguments of `dots`."""
    law, width = source[0], source[4]
    points = _filled_up(z, width * (4 if law == QUANTISED else 64))
    out = np.empty((points.shape[0], -(-m // TILE) * TILE))
    _run_parts(dots, (*source, points), -(-m // GROUP), 1, (out,))
    return out[: z.shape[0], :m]


def adjoint(source, d, v):
    """Return ``v rows``, ``(B, d)`` in float64."""
    law, width = source[0], source[4]
    each = 4 if law == QUANTISED else 64
    weights = _filled_up(v, -(-v.shape[1] // TILE) * TILE)
    parts = max(min(PARTS, d // FEW_COLUMNS), -(-d // COLUMNS), 1)
    block = -(-width // parts)
    g = np.empty((weights.shape[0], width * each))
    _run_parts(adds, (*source, block, weights), -(-width // block), 1, (g,))
    return g[: v.shape[0], :d]


def _filled_up(a, columns):
    """Return a float64 copy with zeros for more columns, and for more trials where there are more than three."""
    trials = a.shape[0] if a.shape[0] <= 3 else -(-a.shape[0] // 4) * 4
    full = np.zeros((trials, columns))
    full[: a.shape[0], : a.shape[1]] = a
    return full
