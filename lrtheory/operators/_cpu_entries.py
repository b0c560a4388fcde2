"""Numba kernel of sampled entries: the residual at factors, without the matrix.

Measured on one core (Zen 4): a pass that also forms R G takes as long as this one and SciPy's product after it, and one
that forms R^T F as well takes longer than all three, so the kernel stops at the residual.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lrtheory.operators import _cpu

FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=FAST)
def residual(offsets, columns, left, right, y, scale, code, threshold, bounds, first_chunk, last_chunk, values, pulled):
    """Overwrite, for each chunk of rows, values with ``sum phi(r_p)`` and pulled with ``scale link(r_p)``.

    ``r_p = scale <left_i, right_j> - y_p`` for the stored number p at (i, j); rows ``bounds[c]..bounds[c + 1] - 1`` are
    chunk c.
    """
    k = left.shape[1]
    for c in range(first_chunk, last_chunk):
        value = 0.0
        for i in range(bounds[c], bounds[c + 1]):
            f = left[i]
            for p in range(offsets[i], offsets[i + 1]):
                g = right[columns[p]]
                total = 0.0
                for q in range(k):
                    total += f[q] * g[q]
                r = scale * total - y[p]
                if code == 0:
                    value += 0.5 * r * r
                elif code == 1:
                    value += abs(r)
                    r = 1.0 if r > 0 else (-1.0 if r < 0 else r)
                else:
                    clipped = threshold if r > threshold else (-threshold if r < -threshold else r)
                    value += abs(clipped) * (abs(r) - 0.5 * abs(clipped))
                    r = clipped
                pulled[p] = scale * r
        values[c] = value


def residuals(offsets, columns, left, right, y, scale, code, threshold, bounds):
    """The same for trials: left ``(B, n1, k)``, right ``(B, n2, k)``, y ``(B or 1, m)`` to ``(B,)`` and ``(B, m)``.

    A row belongs to one thread, and chunks are added in order: any number of threads gives the same bits.
    """
    chunks = bounds.size - 1
    values = np.empty((left.shape[0], chunks))
    pulled = np.empty((left.shape[0], columns.size), dtype=left.dtype)
    for b in range(left.shape[0]):
        observed = y[b if y.shape[0] > 1 else 0]
        arguments = (offsets, columns, left[b], right[b], observed, float(scale), code, float(threshold), bounds)
        _cpu._run_parts(residual, arguments, chunks, 1, (values[b], pulled[b]))
    return values.sum(axis=-1).astype(left.dtype, copy=False), pulled
