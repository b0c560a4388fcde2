"""Numba kernels of `scatter`."""

from __future__ import annotations

import numpy as np
from numba import njit

COPIED_ENTRIES = 1 << 15  # of read-only rows, another signature to compile, copied at a time


@njit(cache=True, nogil=True)
def _add_rows(rows, buckets, signs, out):
    for i in range(rows.shape[0]):
        row, sign, kept = rows[i], signs[i], out[buckets[i]]
        for j in range(row.size):
            kept[j] += sign * row[j]


@njit(cache=True, nogil=True)
def _add_sparse_rows(values, columns, pointers, buckets, signs, out):
    for i in range(pointers.size - 1):
        sign, kept = signs[i], out[buckets[i]]
        for p in range(pointers[i], pointers[i + 1]):
            kept[columns[p]] += sign * values[p]


@njit(cache=True, nogil=True)
def _take_rows(kept, buckets, signs, out):
    for i in range(out.shape[0]):
        row, sign, taken = kept[buckets[i]], signs[i], out[i]
        for j in range(row.size):
            taken[j] = sign * row[j]


def add_rows(rows, buckets, signs, out):
    """Add row i of rows ``(m, d)``, times its sign, to row buckets[i] of out ``(r, d)``, float64."""
    if rows.flags.writeable:
        _add_rows(rows, buckets, signs, out)
        return
    step = max(1, COPIED_ENTRIES // max(rows.shape[1], 1))
    for i in range(0, rows.shape[0], step):
        some = slice(i, i + step)
        _add_rows(rows[some].copy(), buckets[some], signs[some], out)


def sparse_parts(rows):
    """Return values, columns and pointers of CSR rows as kernels want them."""
    # 32-bit column numbers wherever they suffice: another kind would be another signature to compile
    columns = rows.indices.astype(np.int32 if rows.shape[1] < 1 << 31 else np.int64, copy=False)
    values, columns = (np.require(a, requirements=["C", "W"]) for a in (rows.data, columns))
    return values, columns, rows.indptr.astype(np.int64)


def add_sparse_rows(parts, first, last, buckets, signs, out):
    """`add_rows` for the rows first..last-1 of CSR rows, given by their parts."""
    values, columns, pointers = parts
    _add_sparse_rows(values, columns, pointers[first : last + 1], buckets, signs, out)


def take_rows(kept, buckets, signs):
    """Return the rows buckets[i] of kept ``(r, d)``, each times its sign."""
    out = np.empty((buckets.size, kept.shape[1]), kept.dtype)
    _take_rows(np.require(kept, requirements=["C", "W"]), buckets, signs, out)
    return out
