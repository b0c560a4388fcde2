"""Signed sums of rows by bucket, and back: the matrix with one entry +-1 in each column, which is never formed.

With buckets h(i) and signs s(i) the matrix C has ``C[h(i), i] = s(i)``, and is 0 elsewhere. `scatter` is C, `gather`
its transpose.
"""

from __future__ import annotations

from typing import Any

from lrtheory.backend import Array, namespace, twin


def scatter(rows: Array, buckets: Array, signs: Array, n_buckets: int) -> Array:
    """Return ``C rows``: row b is the sum of the rows i with h(i) = b, each times its sign.

    Parameters
    ----------
    rows : array ``(m, d)``
    buckets : int64 array ``(m,)``
        From 0 to n_buckets - 1.
    signs : float64 array ``(m,)``
    n_buckets : int

    Returns
    -------
    array ``(n_buckets, d)``
        Of the dtype of rows. NumPy's is summed in float64, at m d additions; libraries without kernels form C.

    Raises
    ------
    TypeError
        For buckets that are not integers.
    ValueError
        For rows that are not 2-d, buckets or signs of another length, or a bucket out of range.
    """
    xp = namespace(rows)
    _check(rows, buckets, signs, n_buckets, rows.shape[0])
    kernels = twin("lrtheory.scatter", rows)
    if kernels is None:
        hit = buckets[None, :] == xp.arange(n_buckets, dtype=buckets.dtype)[:, None]
        return (xp.astype(hit, rows.dtype) * xp.astype(signs, rows.dtype)[None, :]) @ rows
    out = xp.zeros((n_buckets, rows.shape[1]), dtype=xp.float64)
    kernels.add_rows(xp.ascontiguousarray(rows), buckets, signs, out)
    return out.astype(rows.dtype, copy=False)


def gather(kept: Array, buckets: Array, signs: Array) -> Array:
    """Return ``C^T kept``: row i is row h(i) of kept, times its sign.

    Parameters
    ----------
    kept : array ``(n_buckets, d)``
    buckets, signs
        As in `scatter`; m d multiplications.

    Returns
    -------
    array ``(m, d)``

    Raises
    ------
    TypeError, ValueError
        As `scatter` does.
    """
    xp = namespace(kept)
    _check(kept, buckets, signs, kept.shape[0], buckets.shape[0])
    kernels = twin("lrtheory.scatter", kept)
    if kernels is None:
        return xp.take(kept, buckets, axis=0) * xp.astype(signs, kept.dtype)[:, None]
    return kernels.take_rows(kept, buckets, signs)


def _check(rows: Array, buckets: Array, signs: Array, n_buckets: int, m: int) -> None:
    if rows.ndim != 2:
        raise ValueError(f"rows must have shape (m, d), got {rows.shape}")
    xp: Any = namespace(buckets)
    if not xp.isdtype(buckets.dtype, "integral"):
        raise TypeError(f"buckets must be integers, got {buckets.dtype}")
    for name, array in (("buckets", buckets), ("signs", signs)):
        if array.shape != (m,):
            raise ValueError(f"{name} must have shape ({m},), one for each row, got {array.shape}")
    if m and not (int(xp.min(buckets)) >= 0 and int(xp.max(buckets)) < n_buckets):
        raise ValueError(
            f"buckets must lie from 0 to {n_buckets - 1}, got {int(xp.min(buckets))} to {int(xp.max(buckets))}"
        )
