"""Numba kernel of CCIPCA."""

from __future__ import annotations

import math

from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # never assume that NaN and infinity are absent
NOTHING = 1e-14
"""What is left of a row, relative to it, that counts as rounding."""
LONG_STEP = 1e100
"""Relative length of a step from which nothing is left of what was there."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def average(rows, amnesic, ages, v, lengths):
    """Take rows ``(m, d)``, which are overwritten, into the averages, as `CCIPCA` says, of ages ``(k,)``.

    These are ``lengths[c] v[c]``, with v ``(k, d)`` of unit rows: a length has the unit of squared rows, and its square
    may leave the range of floats where theirs do not. A length of 0 is a component that has not begun.
    """
    m, d = rows.shape
    for i in range(m):
        whole = 0.0
        for j in range(d):
            whole += rows[i, j] * rows[i, j]
        for c in range(v.shape[0]):
            along, rest = 0.0, 0.0
            for j in range(d):
                along += v[c, j] * rows[i, j]
                rest += rows[i, j] * rows[i, j]
            length = math.sqrt(rest)
            if lengths[c] == 0.0:
                if rest > NOTHING**2 * whole:
                    ages[c] = 1
                    lengths[c] = rest
                    for j in range(d):
                        v[c, j] = rows[i, j] / length
                break
            ages[c] += 1
            weight = min((1.0 + amnesic) / ages[c], 1.0)
            if weight == 1.0 and along == 0.0:  # v would vanish
                weight = 0.0
            kept, step = 1.0 - weight, weight * along / lengths[c]
            if not abs(step) * length <= LONG_STEP:  # what was there is below rounding, and the step may overflow
                kept, step = 0.0, 1.0 / length
                lengths[c] = weight * abs(along) * length
            now = 0.0
            for j in range(d):
                v[c, j] = kept * v[c, j] + step * rows[i, j]
                now += v[c, j] * v[c, j]
            now = math.sqrt(now)
            lengths[c] *= now
            along = 0.0
            for j in range(d):
                v[c, j] /= now
                along += v[c, j] * rows[i, j]
            for j in range(d):
                rows[i, j] -= along * v[c, j]
