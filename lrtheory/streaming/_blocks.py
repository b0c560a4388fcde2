"""Rows in blocks: the steps of Oja's family for many members, or of several components, through matrix products.

For a block X ``(m, d)`` the products ``X W^T`` and ``X X^T`` hold all that m steps need (a recurrence of small
vectors); ``W <- W + C^T X`` then takes them at once. These are the steps one after another, exactly, at the speed of
BLAS.
"""

from __future__ import annotations

import math

import numpy as np

from lrtheory.backend import twin
from lrtheory.streaming._starts import orthonormal_rows
from lrtheory.streaming.sources import Chunk

BLOCK = 64  # rows of a block at most
NORM2 = 0
LARGE = 1e100  # as in `_cpu`
"""Squared norm from which a member is scaled."""
SPREAD = 1e4
"""Largest growth of a component within a block: the others lose so many times the rounding error."""


def take_rows(rows: Chunk, rates: np.ndarray, kind: int, seen: int, w: np.ndarray, scalars: np.ndarray) -> float:
    """Take rows for one member, w ``(d,)``, one after another, changing w and scalars; return sum ||a_i||^2."""
    kernels = twin("lrtheory.streaming.", w)
    take = kernels.dense_rows if isinstance(rows, np.ndarray) else kernels.csr_rows
    return take(rows, rates, kind, seen, w, scalars)


def take(rows: np.ndarray, rates: np.ndarray, kind: int, seen: int, w: np.ndarray, scalars: np.ndarray) -> float:
    """Take dense rows for all members, w ``(B, d)``, changing w and scalars ``(B, SCALARS)``; return sum ||a_i||^2."""
    kernels = twin("lrtheory.streaming.", w)
    members, total, first = w.shape[0], 0.0, 0
    size = max(8, min(BLOCK, members // 2))
    by_name = np.ascontiguousarray(scalars.T)
    while first < rows.shape[0]:
        x = rows[first : first + size].astype(np.float64, copy=False)
        products, squares = x @ w.T, x @ x.T
        step = np.ascontiguousarray(rates[first : first + size])
        done, stuck = kernels.block_steps(products, squares, step, kind, seen + first, by_name)
        if done:
            kernels.add_product(w, products[:done], x[:done])
        total += float(np.trace(squares[:done, :done]))
        first += done
        scalars[:] = by_name.T
        for far in np.flatnonzero(~((by_name[NORM2] < LARGE) & (by_name[NORM2] > 1 / LARGE))):
            kernels.rescale(w[far], scalars[far])
        if stuck:  # a row whose step may overflow: as it is, for each member
            row = rows[first : first + 1].copy()
            for b in range(members):
                norm2 = take_rows(row, rates[first : first + 1, b].copy(), kind, seen + first, w[b], scalars[b])
            total += norm2
            first += 1
        by_name[:] = scalars.T
    return total


def take_subspaces(
    rows: Chunk,
    rates: np.ndarray,
    seen: int,
    w: np.ndarray,
    log_lengths: np.ndarray,
    before: np.ndarray,
    since: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Take rows by Oja's step for members of several components, w ``(B, k, d)`` with orthonormal rows.

    Returns the new w and sum ||a_i||^2; adds, for each component, the logarithm of its growth to log_lengths ``(B, k)``
    and its energies to before and since.
    """
    kernels = twin("lrtheory.streaming.", w)
    members, k, d = w.shape
    total, first = 0.0, 0
    while first < rows.shape[0]:
        x = rows[first : first + BLOCK]
        x = x.astype(np.float64, copy=False)
        products, squares = _products(x, w.reshape(-1, d))
        factors = np.tile(np.eye(k), (members, 1, 1))
        step = np.ascontiguousarray(rates[first : first + BLOCK])
        done = kernels.subspace_steps(products, squares, step, seen + first, factors, before, since, SPREAD)
        if done:
            w, lengths = orthonormal_rows(w + _combination(products[:done], x[:done]).reshape(members, k, d))
            log_lengths += np.log(lengths)
            total += float(np.trace(squares[:done, :done]))
        else:
            done = 1
            total += float(squares[0, 0])
            if not math.isfinite(total):  # a row that the caller refuses, or has not asked to be told of
                return np.full_like(w, np.nan), total
            a = x[0] if isinstance(x, np.ndarray) else x[:1].toarray()[0]
            w = _long_steps(w, products[0].reshape(members, k), a, rates[first], log_lengths)
        first += done
    return w, total


def _products(x: Chunk, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    squares = x @ x.T
    return np.ascontiguousarray(x @ w.T), squares if isinstance(squares, np.ndarray) else squares.toarray()


def _combination(c: np.ndarray, x: Chunk) -> np.ndarray:
    return c.T @ x if isinstance(x, np.ndarray) else np.ascontiguousarray((x.T @ c).T)


def _long_steps(w: np.ndarray, s: np.ndarray, a: np.ndarray, rates: np.ndarray, log_lengths: np.ndarray) -> np.ndarray:
    """Return ``w + rate s a^T``, s = w a, orthonormalised, for a step that may be longer than any float.

    With p the first component that the row touches, w_p moves, and w_j - (s_j / s_p) w_p, j > p, spans with it what
    w_j + rate s_j a does: no long vector is subtracted from another.
    """
    length = math.sqrt(float(a @ a))
    w = w.copy()
    for b in range(w.shape[0]):
        touched = np.flatnonzero(s[b])
        if touched.size == 0 or rates[b] == 0:
            continue
        p = touched[0]
        # squared lengths of the leading minors: 1 + beta sum_(l <= j) s_l^2, beta = 2 rate + rate^2 ||a||^2
        log_beta = math.log(rates[b]) + np.logaddexp(math.log(2), math.log(rates[b]) + 2 * math.log(length))
        minors = np.logaddexp(0.0, log_beta + np.log(np.cumsum(s[b, p:] ** 2)))
        log_lengths[b, p:] += 0.5 * np.diff(minors, prepend=0.0)
        w[b, p + 1 :] -= (s[b, p + 1 :] / s[b, p])[:, None] * w[b, p]
        moved = math.log(rates[b]) + math.log(abs(s[b, p])) + math.log(length)
        kept, along = (math.exp(-moved), 1.0) if moved > 0 else (1.0, math.exp(moved))
        w[b, p] = kept * w[b, p] + math.copysign(along, s[b, p]) / length * a
    return orthonormal_rows(w)[0]
