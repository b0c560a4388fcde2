"""Numba kernel of the population case: gradient descent on ``|estimate - M|^2`` as one loop.

With ``M = U V^T`` in factors, ``R G = F (G^T G) - U (V^T G)``: a step costs O(n k (k + r)) and no n x n matrix is
formed. At the sizes of the experiments that is less than a microsecond, so the whole loop is one call. Factors are held
transposed, one contiguous row for each column of theirs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=False)
def _copy(a, out):
    """Overwrite out with a (assigning a whole array compiles its error message too, for seconds)."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j]


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _products(a, b, out):
    """Overwrite out with ``a b^T``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0.0
            for q in range(a.shape[1]):
                total += a[i, q] * b[j, q]
            out[i, j] = total


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _step(x, gram, truth, overlap, eta, out):
    """Overwrite out with ``x - eta (gram x - overlap truth)``; return whether it is finite."""
    finite = True
    n = x.shape[1]
    for i in range(x.shape[0]):
        out[i] = 0.0
        for j in range(x.shape[0]):
            w = gram[i, j]
            for q in range(n):
                out[i, q] += w * x[j, q]
        for j in range(truth.shape[0]):
            w = overlap[i, j]
            for q in range(n):
                out[i, q] -= w * truth[j, q]
        total = 0.0
        for q in range(n):
            out[i, q] = x[i, q] - eta * out[i, q]
            total += 0.0 * out[i, q]
        finite = finite and total == 0.0
    return finite


@njit(cache=True, nogil=True, fastmath=FAST)
def gradient_descent(symmetric, left, right, truth_left, truth_right, eta, n_steps, active, taken):
    """Take up to n_steps steps of gradient descent on ``|estimate - truth|^2``, in place.

    Parameters
    ----------
    symmetric : bool
        ``X <- X - eta (X X^T - U U^T) X`` on `left`; otherwise, at once, ``F <- F - eta (F G^T - U V^T) G`` and
        ``G <- G - eta (F G^T - U V^T)^T F``.
    left, right : arrays ``(B, k, n1)``, ``(B, k, n2)``
        Transposed factors, overwritten. A trial whose next iterate is not finite stays at its last finite one and
        stops.
    truth_left, truth_right : arrays ``(T, r, n1)``, ``(T, r, n2)``, T = 1 or B
        Transposed factors of M.
    eta : array ``(B,)``
    active : bool array ``(B,)``
        The trials that move.
    taken : int array ``(B,)``
        Overwritten with the steps taken.
    """
    k = left.shape[1]
    rank = truth_left.shape[1]
    f = np.empty((k, left.shape[2]))
    g = np.empty((k, right.shape[2]))
    f_next, g_next = np.empty_like(f), np.empty_like(g)
    gram_f, gram_g = np.empty((k, k)), np.empty((k, k))
    overlap_f, overlap_g = np.empty((k, rank)), np.empty((k, rank))
    for b in range(left.shape[0]):
        taken[b] = 0
        if not active[b]:
            continue
        u = truth_left[b if truth_left.shape[0] > 1 else 0]
        v = truth_right[b if truth_right.shape[0] > 1 else 0]
        _copy(left[b], f)
        _copy(right[b], g)
        for _ in range(n_steps):
            _products(f, f, gram_f)
            _products(f, u, overlap_f)
            if symmetric:
                if not _step(f, gram_f, u, overlap_f, eta[b], f_next):
                    break
            else:
                _products(g, g, gram_g)
                _products(g, v, overlap_g)
                if not _step(f, gram_g, u, overlap_g, eta[b], f_next):
                    break
                if not _step(g, gram_f, v, overlap_f, eta[b], g_next):
                    break
                g, g_next = g_next, g
            f, f_next = f_next, f
            taken[b] += 1
        _copy(f, left[b])
        if not symmetric:
            _copy(g, right[b])
