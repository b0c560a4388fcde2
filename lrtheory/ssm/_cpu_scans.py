"""Numba kernel of a diagonal recurrence over time."""

from __future__ import annotations

import numpy as np
from numba import njit

from lrtheory.operators._cpu import _run_parts


@njit(cache=True, nogil=True, fastmath={"contract"})
def scan_rows(turn, of, first, last, states):
    """Overwrite the sequences first..last-1 of states ``(S, L, 2 M)``, which hold the inputs.

    Real and imaginary parts alternate; sequence i has the transition ``turn[of[i]]``.
    """
    for i in range(first, last):
        a = turn[of[i]]
        for k in range(1, states.shape[1]):
            before, row = states[i, k - 1], states[i, k]
            for n in range(a.size):
                re, im = before[2 * n], before[2 * n + 1]
                row[2 * n] += a[n].real * re - a[n].imag * im
                row[2 * n + 1] += a[n].real * im + a[n].imag * re


def scan(turn, v):
    """Return s_k = turn s_{k-1} + v_k, s_0 = v_0, for turn ``(..., M)`` and v ``(..., L, M)``."""
    lead, M = v.shape[:-2], v.shape[-1]
    states = np.array(v, dtype=np.complex128, order="C").reshape(-1, *v.shape[-2:])
    flat = np.require(turn, np.complex128, ["C", "W"]).reshape(-1, M)
    of = np.broadcast_to(np.arange(len(flat)).reshape(turn.shape[:-1]), lead).ravel()
    if len(states):
        _run_parts(scan_rows, (flat, of), len(states), 1, (states.view(np.float64),))
    return states.reshape(v.shape)
