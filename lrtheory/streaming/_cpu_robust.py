"""Numba kernels of the robust variants."""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def clip_factors(energies, quantile, seen, log_threshold, factors):
    """Overwrite factors with ``min(1, threshold / ||a||)``, row by row; return the new logarithm of the threshold.

    The threshold of a row is that of the rows before it; the first that is not zero sets it. Zero rows count for
    nothing: `seen` are the others. See `ClippedOja`.
    """
    for i in range(energies.size):
        factors[i] = 1.0
        if energies[i] == 0.0:
            continue
        length = 0.5 * math.log(energies[i])
        seen += 1
        if seen == 1:
            log_threshold = length
            continue
        above = length > log_threshold
        if above:
            factors[i] = math.exp(log_threshold - length)
        log_threshold += (quantile - (0.0 if above else 1.0)) / seen**0.6
    return seen, log_threshold
