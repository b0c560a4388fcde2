"""Numba kernels of the normal form: a symmetric matrix times vectors, and gradient descent as one loop.

The matrix is read once, by its upper triangle: each tile of rows serves its own dot products and, transposed, the sums
of the columns to its right. A whole-loop kernel pays because at small d a step costs less than the calls it would take.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}
FEW = 16  # vectors up to which the triangle beats BLAS on the full matrix


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def symmetric_product(h, r, active, out):
    """Overwrite out ``(B, d)`` with ``r h`` for symmetric h ``(d, d)``, of which the upper triangle is read."""
    d = h.shape[0]
    for b in range(r.shape[0]):
        if active[b]:
            out[b] = 0.0
    full = d // 4 * 4
    for i in range(0, full, 4):
        h0, h1, h2, h3 = h[i, i + 4 :], h[i + 1, i + 4 :], h[i + 2, i + 4 :], h[i + 3, i + 4 :]
        for b in range(r.shape[0]):
            if not active[b]:
                continue
            x0, x1, x2, x3 = r[b, i], r[b, i + 1], r[b, i + 2], r[b, i + 3]
            s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
            x = r[b, i + 4 :]
            o = out[b, i + 4 :]
            for j in range(d - i - 4):
                s0 += h0[j] * x[j]
                s1 += h1[j] * x[j]
                s2 += h2[j] * x[j]
                s3 += h3[j] * x[j]
                o[j] += (h0[j] * x0 + h1[j] * x1) + (h2[j] * x2 + h3[j] * x3)
            a01, a02, a03 = h[i, i + 1], h[i, i + 2], h[i, i + 3]
            a12, a13, a23 = h[i + 1, i + 2], h[i + 1, i + 3], h[i + 2, i + 3]
            out[b, i] += s0 + h[i, i] * x0 + a01 * x1 + a02 * x2 + a03 * x3
            out[b, i + 1] += s1 + a01 * x0 + h[i + 1, i + 1] * x1 + a12 * x2 + a13 * x3
            out[b, i + 2] += s2 + a02 * x0 + a12 * x1 + h[i + 2, i + 2] * x2 + a23 * x3
            out[b, i + 3] += s3 + a03 * x0 + a13 * x1 + a23 * x2 + h[i + 3, i + 3] * x3
    for b in range(r.shape[0]):
        if active[b]:
            for i in range(full, d):
                for j in range(full, d):
                    out[b, i] += h[i, j] * r[b, j]


def product(h, r):
    """Return ``r h`` for r ``(*batch, d)``: by the triangle for few vectors, by BLAS for many."""
    flat = np.ascontiguousarray(r).reshape(-1, r.shape[-1])
    if flat.shape[0] > FEW:
        return (flat @ h).reshape(r.shape)
    out = np.empty(flat.shape)
    symmetric_product(h, flat, np.ones(flat.shape[0], dtype=np.bool_), out)
    return out.reshape(r.shape)


@njit(cache=True, nogil=True, fastmath=FAST)
def gradient_descent(h, packed, symmetric, left, right, target, eta, n_steps, active, taken):
    """Take up to n_steps steps of gradient descent on the normal form, in place.

    Parameters
    ----------
    h : array ``(d, d)``
    packed : bool
        h acts on upper triangles (off-diagonal entries of the gradient count twice).
    symmetric : bool
        ``X <- X - eta sym(R) X`` on `left`; otherwise ``F <- F - eta R G, G <- G - eta R^T F`` at once.
    left, right : arrays ``(B, n1, k)``, ``(B, n2, k)``
        Overwritten. A trial whose next iterate is not finite stays at its last finite one and stops.
    target : array ``(B, n1, n2)`` or ``(1, n1, n2)``
    eta : array ``(B,)``
    active : bool array ``(B,)``
        The trials that move; overwritten with those that still do.
    taken : int array ``(B,)``
        Overwritten with the steps taken.
    """
    trials, n1, k = left.shape
    n2 = n1 if symmetric else right.shape[1]
    r = np.empty((trials, h.shape[0]))
    g = np.empty((trials, h.shape[0]))
    full = np.empty((n1, n2))
    next_left = np.empty((n1, k))
    next_right = np.empty((n2, k))
    for b in range(trials):
        taken[b] = 0
    for _ in range(n_steps):
        moving = False
        for b in range(trials):
            if not active[b]:
                continue
            moving = True
            f = left[b]
            e = left[b] if symmetric else right[b]
            goal = target[b if target.shape[0] > 1 else 0]
            p = 0
            for i in range(n1):
                for j in range(i if packed else 0, n2):
                    total = 0.0
                    lower = 0.0
                    for q in range(k):
                        total += f[i, q] * e[j, q]
                        lower += f[j, q] * e[i, q] if packed else 0.0
                    r[b, p] = 0.5 * (total + lower - goal[i, j] - goal[j, i]) if packed else total - goal[i, j]
                    p += 1
        if not moving:
            return
        symmetric_product(h, r, active, g)
        for b in range(trials):
            if not active[b]:
                continue
            f = left[b]
            e = left[b] if symmetric else right[b]
            p = 0
            for i in range(n1):
                for j in range(i if packed else 0, n2):
                    full[i, j] = g[b, p]
                    if packed and j > i:
                        full[i, j] = 0.5 * g[b, p]
                        full[j, i] = full[i, j]
                    p += 1
            if symmetric and not packed:
                for i in range(n1):
                    for j in range(i + 1, n1):
                        half = 0.5 * (full[i, j] + full[j, i])
                        full[i, j] = half
                        full[j, i] = half
            step = eta[b]
            total = 0.0  # not np.isfinite(x): it is x - x == 0, which reassociation turns into True
            next_left[:] = 0.0
            next_right[:] = 0.0
            for i in range(n1):
                for j in range(n2):
                    w = full[i, j]
                    for q in range(k):
                        next_left[i, q] += w * e[j, q]
                    if not symmetric:
                        for q in range(k):
                            next_right[j, q] += w * f[i, q]
            for i in range(n1):
                for q in range(k):
                    next_left[i, q] = f[i, q] - step * next_left[i, q]
                    total += 0.0 * next_left[i, q]
            if not symmetric:
                for j in range(n2):
                    for q in range(k):
                        next_right[j, q] = e[j, q] - step * next_right[j, q]
                        total += 0.0 * next_right[j, q]
            if total == 0.0:
                for q in range(k):
                    for i in range(n1):
                        f[i, q] = next_left[i, q]
                    if not symmetric:
                        for j in range(n2):
                            e[j, q] = next_right[j, q]
                taken[b] += 1
            else:
                active[b] = False
