"""The answer that a stream is measured against: eigenvectors of A^T A from the whole matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import integer, matrix
from .metrics import canonical_signs

_DENSE = 4096  # d up to which A^T A is formed
_BLOCK = 4096  # rows of A at a time


def second_moment(rows: Any) -> np.ndarray:
    """Return A^T A in float64, dense, from an array or a SciPy sparse matrix; some thousand rows at a time."""
    n, d = rows.shape
    total = np.zeros((d, d))
    for start in range(0, n, _BLOCK):
        block = rows[start : start + _BLOCK]
        block = block.astype(np.float64) if hasattr(block, "tocsr") else np.asarray(block, dtype=np.float64)
        product = block.T @ block
        total += product.toarray() if hasattr(product, "toarray") else product
    return total


def top_directions(rows: Any, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the k largest squared singular values of A, and the right singular vectors, from the whole matrix.

    Through the eigenvectors of A^T A (or A A^T, where that is smaller), in O(n d min(n, d)); beyond 4096 dimensions on
    both sides by ARPACK. Not centred.

    Parameters
    ----------
    rows : array or SciPy sparse matrix ``(n, d)``
    k : int
        At most min(n, d).

    Returns
    -------
    energies : array ``(k,)``
        s_1^2 >= ... >= s_k^2, each to some eps * s_1^2.
    directions : array ``(k, d)``
        Unit rows, the entry of largest modulus positive. The error of the first is some eps * R / (R - 1).

    Raises
    ------
    ValueError
        For k out of range, and for rows that are not finite.
    """
    rows = matrix("rows", rows)
    if 0 in rows.shape:
        raise ValueError(f"rows must have shape (n, d) with n, d >= 1, got {tuple(rows.shape)}")
    n, d = rows.shape
    k = integer("k", k, 1, min(n, d))
    if min(n, d) > _DENSE:
        from scipy.sparse.linalg import svds

        if k == min(n, d):
            raise ValueError(f"k must be below min(n, d) = {min(n, d)} beyond {_DENSE} dimensions, got {k}")
        _, values, vectors = svds(rows, k=k, v0=np.random.Generator(np.random.Philox(0)).standard_normal(min(n, d)))
        order = np.argsort(-values)
        return np.square(values[order]), canonical_signs(vectors[order])
    moment = second_moment(rows if d <= n else rows.T)
    if not np.all(np.isfinite(moment)):
        raise ValueError("rows must be finite, with squares that are: got NaN, infinity or entries beyond 1e150")
    values, vectors = np.linalg.eigh(moment)
    energies, vectors = np.maximum(values[::-1][:k], 0.0), vectors[:, ::-1][:, :k].T
    if d > n:
        vectors = np.asarray((rows.T @ vectors.T).T)
        vectors = np.linalg.qr(vectors.T)[0].T
    return energies, canonical_signs(np.ascontiguousarray(vectors))
