"""Numba kernels of the block methods: products with a direction that is frozen within a block, and the largest rows.

Rows are taken one by one, each multiplied and then added while it is in cache: cutting a stream into calls elsewhere
changes no bit, and the rows are read from memory once. Two or four rows at a time would save some 20 % of the time from
thousands of columns on, and cost as much or more below.

The fast-math flags allow sums to be reordered and multiply-adds to be fused; they never assume that NaN and infinity
are absent.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lrtheory._cpu_scatter import sparse_parts

FAST = {"reassoc", "contract", "nsz", "arcp"}
CLOSED, FILLED = 0, 1
"""Counts of History PCA: blocks that are closed, and rows in the open one."""
LARGE = 1e280  # squared norm beyond which, or below whose inverse, a vector is scaled before it is squared
EPSILON = 2.0**-52
COPIED_ENTRIES = 1 << 15  # of read-only rows, another signature to compile, copied at a time: they stay in cache


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def power_pass(rows, w, y):
    """Add ``sum_i <a_i, w> a_i`` to y ``(d,)`` for rows ``(m, d)``; return ``sum_i ||a_i||^2``."""
    total = 0.0
    for i in range(rows.shape[0]):
        s, r = 0.0, 0.0
        for j in range(rows.shape[1]):
            a = np.float64(rows[i, j])
            s += a * w[j]
            r += a * a
        total += r
        for j in range(rows.shape[1]):
            y[j] += s * rows[i, j]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def csr_power_pass(values, indices, pointers, w, y):
    """`power_pass` for rows in CSR form, O(nnz)."""
    total = 0.0
    for i in range(pointers.size - 1):
        s, r = 0.0, 0.0
        for p in range(pointers[i], pointers[i + 1]):
            a = np.float64(values[p])
            s += a * w[indices[p]]
            r += a * a
        total += r
        for p in range(pointers[i], pointers[i + 1]):
            y[indices[p]] += s * values[p]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _squared_norm(y):
    total = 0.0
    for j in range(y.size):
        total += y[j] * y[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def normalize(y):
    """Divide y by its norm, unless that is 0; return the norm."""
    total = _squared_norm(y)
    scale = 1.0
    if not (total < LARGE and total > 1.0 / LARGE):
        largest = 0.0
        for j in range(y.size):
            largest = max(largest, abs(y[j]))
        if largest == 0.0:
            return 0.0
        scale = math.ldexp(1.0, max(math.frexp(largest)[1], -1000))
        for j in range(y.size):
            y[j] /= scale
        total = _squared_norm(y)
    length = math.sqrt(total)
    inverse = 1.0 / length
    for j in range(y.size):
        y[j] *= inverse
    return length * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _combine(old, weight, w, y):
    for j in range(y.size):
        y[j] = old * w[j] + weight * y[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def close_block(w, y, eigenvalue, counts):
    """Make w the direction of ``(t - 1) / t lambda w + y / (t filled)``, t the block's number, and empty y."""
    t = counts[CLOSED] + 1.0
    _combine((t - 1.0) / t * eigenvalue[0], 1.0 / t / counts[FILLED], w, y)
    eigenvalue[0] = normalize(y)
    if eigenvalue[0] != 0.0:
        w[:] = y
    y[:] = 0.0
    counts[CLOSED] += 1
    counts[FILLED] = 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
def _project(v, basis, count):
    """Subtract from v its part in the span of orthonormal rows, twice: once more for what rounding left."""
    for _ in range(2):
        for i in range(count):
            s = 0.0
            for j in range(v.size):
                s += basis[i, j] * v[j]
            for j in range(v.size):
                v[j] -= s * basis[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def orthonormalize(rows, w, lengths):
    """Make rows ``(k, d)`` orthonormal by Gram-Schmidt, in their order; lengths ``(k,)`` are overwritten.

    A row that depends on those before it, up to rounding, gets length 0 and the largest part of a row of w ``(k, d)``,
    orthonormal, that is left over.
    """
    k, d = rows.shape
    for j in range(k):
        lengths[j] = normalize(rows[j])
        if j > 0 and lengths[j] != 0.0:
            _project(rows[j], rows, j)
            length = normalize(rows[j])
            lengths[j] *= length if length > 8.0 * d * EPSILON else 0.0
        if lengths[j] != 0.0:
            continue
        if j == 0:
            rows[0] = w[0]
            continue
        largest = 0.0
        for i in range(k):
            left = w[i].copy()
            _project(left, rows, j)
            length = normalize(left)
            if length > largest:
                largest = length
                rows[j] = left


@njit(cache=True, nogil=True, error_model="numpy")
def history_pass(rows, block_size, w, y, eigenvalue, counts):
    """Take rows by History PCA, changing w, y, eigenvalue and counts; a full block is closed when the next row arrives.

    Returns ``sum_i ||a_i||^2``.
    """
    total, first = 0.0, 0
    while first < rows.shape[0]:
        if counts[FILLED] == block_size:
            close_block(w, y, eigenvalue, counts)
        end = min(first + block_size - counts[FILLED], rows.shape[0])
        total += power_pass(rows[first:end], w, y)
        counts[FILLED] += end - first
        first = end
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def csr_history_pass(values, indices, pointers, block_size, w, y, eigenvalue, counts):
    """`history_pass` for rows in CSR form: O(nnz), and O(d) a block."""
    total, first, m = 0.0, 0, pointers.size - 1
    while first < m:
        if counts[FILLED] == block_size:
            close_block(w, y, eigenvalue, counts)
        end = min(first + block_size - counts[FILLED], m)
        total += csr_power_pass(values, indices, pointers[first : end + 1], w, y)
        counts[FILLED] += end - first
        first = end
    return total


def power(rows, w, y):
    """`power_pass` or `csr_power_pass`, for a chunk of either kind."""
    if not isinstance(rows, np.ndarray):
        values, indices, pointers = sparse_parts(rows)
        return csr_power_pass(values, indices, pointers, w, y)
    return sum(power_pass(part, w, y) for part in _writable(rows))


def history(rows, block_size, w, y, eigenvalue, counts):
    """`history_pass` or `csr_history_pass`, for a chunk of either kind."""
    if not isinstance(rows, np.ndarray):
        values, indices, pointers = sparse_parts(rows)
        return csr_history_pass(values, indices, pointers, block_size, w, y, eigenvalue, counts)
    return sum(history_pass(part, block_size, w, y, eigenvalue, counts) for part in _writable(rows))


def _writable(rows):
    if rows.flags.writeable:
        return [rows]
    step = max(1, COPIED_ENTRIES // rows.shape[1])
    return (rows[i : i + step].copy() for i in range(0, rows.shape[0], step))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _row_energies(rows, energies):
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            a = np.float64(rows[i, j])
            total += a * a
        energies[i] = total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _csr_row_energies(values, pointers, energies):
    for i in range(energies.size):
        total = 0.0
        for p in range(pointers[i], pointers[i + 1]):
            a = np.float64(values[p])
            total += a * a
        energies[i] = total


def row_energies(rows):
    """Return the squared norms ``(m,)`` of the rows of a chunk, dense or CSR, in float64."""
    energies = np.empty(rows.shape[0])
    if not isinstance(rows, np.ndarray):
        values, _, pointers = sparse_parts(rows)
        _csr_row_energies(values, pointers, energies)
        return energies
    first = 0
    for part in _writable(rows):
        _row_energies(part, energies[first : first + part.shape[0]])
        first += part.shape[0]
    return energies


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def _before(energy, number, other_energy, other_number):
    """Whether a row leaves before another: it is smaller or, among equals, newer."""
    return energy < other_energy or (energy == other_energy and number > other_number)


@njit(cache=True, nogil=True, error_model="numpy")
def offer(energies, arrivals, kept, numbers, sources, count, left):
    """Offer rows with the given squared norms to a heap that keeps the largest, of equal ones the oldest.

    The root is the row that leaves next. A row that finds the heap full drives it out or is refused itself: one row
    leaves for each that comes.

    Parameters
    ----------
    energies, arrivals : arrays ``(m,)``
        Squared norms and numbers of the rows.
    kept, numbers, sources : arrays ``(h_max,)``
        The heap: squared norms, numbers of the rows, and where they are: the row's place in this call, or -1 less its
        place in what was stored before.
    count : int
        Entries of the heap.
    left : array ``(m,)``
        Overwritten with the sources of the rows that leave.

    Returns
    -------
    count, departures : int
    largest : float
        The largest squared norm of the rows that leave.
    """
    departures, largest = 0, 0.0
    for i in range(energies.size):
        energy, number = energies[i], arrivals[i]
        p = count
        if count < kept.size:
            count += 1
            while p > 0:  # up
                above = (p - 1) // 2
                if not _before(energy, number, kept[above], numbers[above]):
                    break
                kept[p], numbers[p], sources[p] = kept[above], numbers[above], sources[above]
                p = above
        elif count == 0 or _before(energy, number, kept[0], numbers[0]):
            left[departures] = i
            largest = max(largest, energy)
            departures += 1
            continue
        else:
            left[departures] = sources[0]
            largest = max(largest, kept[0])
            departures += 1
            p = 0
            while 2 * p + 1 < count:  # down
                q = 2 * p + 1
                if q + 1 < count and _before(kept[q + 1], numbers[q + 1], kept[q], numbers[q]):
                    q += 1
                if not _before(kept[q], numbers[q], energy, number):
                    break
                kept[p], numbers[p], sources[p] = kept[q], numbers[q], sources[q]
                p = q
        kept[p], numbers[p], sources[p] = energy, number, i
    return count, departures, largest
