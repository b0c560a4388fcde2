"""Thresholds and truncations: the proximal maps and projections of sparse and low-rank recovery."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace, per_element
from lrtheory.factors import Factors, as_matrix, transpose


def soft_threshold(z: Array, tau: Any) -> Array:
    """Return ``sign(z) max(|z| - tau, 0)``, the proximal map of ``tau |z|_1``.

    Parameters
    ----------
    z : array ``(*batch, ...)``
    tau : float or array of batch shape
        Not negative.

    Raises
    ------
    ValueError
        If tau is negative, NaN or infinite, or its shape is not that of leading axes of z.
    """
    tau = _threshold(tau, z)
    xp = namespace(z)
    return xp.sign(z) * xp.clip(xp.abs(z) - tau, min=0.0)


def hard_threshold(z: Array, tau: Any) -> Array:
    """Return z with its entries of modulus up to tau set to 0, the proximal map of ``tau^2 / 2 |z|_0``.

    Parameters and errors as in `soft_threshold`.
    """
    tau = _threshold(tau, z)
    xp = namespace(z)
    return xp.where(xp.abs(z) <= tau, xp.zeros_like(z), z)


def singular_value_threshold(z: Any, tau: Any) -> Array:
    """Return ``U soft_threshold(S, tau) V^T`` for ``z = U S V^T``, the proximal map of ``tau |z|_*``.

    Parameters
    ----------
    z : array ``(*batch, n1, n2)``, Factors, or an object whose ``product()`` is such an array
    tau : float or array of batch shape
        Not negative.

    Raises
    ------
    ValueError
        If tau is negative, NaN or infinite, or of another shape.

    Notes
    -----
    A matrix with NaN or infinity gives NaN. O(n1 n2 min(n1, n2)).
    """
    u, s, v = truncated_svd(z)
    return (u * soft_threshold(s, tau)[..., None, :]) @ transpose(v)


def truncated_svd(z: Any, k: int | None = None) -> tuple[Array, Array, Array]:
    """Return U, s and V of the best rank-k approximation ``U diag(s) V^T``.

    Parameters
    ----------
    z : array ``(*batch, n1, n2)``, Factors, or an object whose ``product()`` is such an array
    k : int, optional
        1 <= k <= min(n1, n2), and at most the columns of Factors. Default: the largest.

    Returns
    -------
    u : array ``(*batch, n1, k)``
    s : array ``(*batch, k)``
        Descending.
    v : array ``(*batch, n2, k)``

    Raises
    ------
    ValueError
        If k is out of range.

    Notes
    -----
    A matrix with NaN or infinity has NaN for s (LAPACK would raise). O(n1 n2 min(n1, n2)); for Factors with c columns
    fewer than rows O((n1 + n2) c^2), through the QR factorisations of both: no n1 x n2 matrix is formed.
    """
    z = _small_or_dense(z)
    top = min(z.shape[-2:]) if not isinstance(z, Factors) else z.k
    k = _check_rank(k, top)
    if not isinstance(z, Factors):
        return _svd(z, k)
    if z.symmetric:
        u, s, _ = _svd(z.left, k)
        return u, s * s, u
    qr = namespace(z.left).linalg.qr
    (q_left, left), (q_right, right) = qr(z.left), qr(z.right)
    u, s, v = _svd(left @ transpose(right), k)
    return q_left @ u, s, q_right @ v


def truncated_eigh(z: Any, k: int | None = None) -> tuple[Array, Array]:
    """Return w and V of ``V diag(w) V^T``, the best positive semi-definite matrix of rank k to the symmetric part of z.

    Parameters
    ----------
    z : array ``(*batch, n, n)``, Factors of such a matrix, or an object whose ``product()`` is such an array
    k : int, optional
        1 <= k <= n, and at most the columns of Factors. Default: the largest.

    Returns
    -------
    w : array ``(*batch, k)``
        The k largest eigenvalues of ``(z + z^T) / 2``, descending, the negative ones replaced by 0.
    v : array ``(*batch, n, k)``
        Their orthonormal eigenvectors.

    Raises
    ------
    ValueError
        If k is out of range or the matrices are not square.

    Notes
    -----
    A matrix with NaN or infinity has NaN for w. O(n^3); for Factors with c columns, 2 c < n, O(n c^2).
    """
    if z.shape[-1] != z.shape[-2]:
        raise ValueError(f"z must be square matrices, got {z.shape[-2]} x {z.shape[-1]}")
    z = _small_or_dense(z, 2)
    k = _check_rank(k, z.k if isinstance(z, Factors) else z.shape[-1])
    if not isinstance(z, Factors):
        return _eigh((z + transpose(z)) / 2, k)
    xp = namespace(z.left)
    q, both = xp.linalg.qr(z.left if z.symmetric else xp.concat([z.left, z.right], axis=-1))
    left, right = both[..., : z.k], both[..., -z.k :]
    core = left @ transpose(right)
    w, v = _eigh((core + transpose(core)) / 2, k)
    return w, q @ v


def _small_or_dense(z: Any, sides: int = 1) -> Any:
    """Return Factors as they are where their columns are fewer than rows, and everything else as an array."""
    return z if isinstance(z, Factors) and sides * z.k < min(z.shape) else as_matrix(z)


def _finite(z: Array) -> tuple[Array, Array]:
    """Return which matrices are finite, shape ``(*batch, 1)``, and z with zeros for the others."""
    xp = namespace(z)
    finite = xp.all(xp.isfinite(z), axis=(-2, -1))[..., None]
    return finite, z if bool(xp.all(finite)) else xp.where(finite[..., None], z, xp.zeros_like(z))


def _svd(z: Array, k: int) -> tuple[Array, Array, Array]:
    xp = namespace(z)
    finite, z = _finite(z)
    u, s, vt = xp.linalg.svd(z, full_matrices=False)
    s = xp.where(finite, s, xp.full_like(s, xp.nan))
    return u[..., :k], s[..., :k], transpose(vt)[..., :k]


def _eigh(z: Array, k: int) -> tuple[Array, Array]:
    xp = namespace(z)
    finite, z = _finite(z)
    w, v = xp.linalg.eigh(z)
    w = xp.where(finite, xp.clip(w, min=0.0), xp.full_like(w, xp.nan))
    return xp.flip(w, axis=-1)[..., :k], xp.flip(v, axis=-1)[..., :k]


def _check_rank(k: Any, top: int) -> int:
    if k is None:
        return top
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= top:
        raise ValueError(f"k must be an integer in 1..{top}, got {k!r}")
    return int(k)


def _threshold(tau: Any, z: Array) -> Any:
    """Return tau shaped to z, refused unless it is finite and not negative."""
    value = per_element(tau, z)
    if is_array(value):
        xp = namespace(value)
        fine = bool(xp.all(xp.isfinite(value) & (value >= 0)))
    else:
        fine = 0 <= value < np.inf
    if not fine:
        raise ValueError(f"tau must be finite and not negative, got {tau!r}")
    return value
