"""Passes over a stored operator: rows ``(m, d)``, one for each measurement, in any array library.

Points are flat here, ``(B, d)``; `dense` and `packed` know what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrtheory.backend import Array, is_numpy, namespace, twin
from lrtheory.operators._links import evaluate

BLOCK_ROWS = 256  # of a stored operator that BLAS sees at a time: the second product finds them in cache
FEW = 3  # trials up to which one kernel each beats BLAS products that need the rows in another precision


def blocks(m: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Yield the slices that cut m rows into blocks."""
    for first in range(0, m, size):
        yield slice(first, min(first + size, m))


def precision(rows: Array, z: Array) -> Any:
    """Return the wider of the two precisions: that of z where the rows are integers."""
    xp = namespace(rows, z)
    return xp.result_type(rows, z) if xp.isdtype(rows.dtype, "real floating") else z.dtype


def forward(rows: Array, z: Array) -> Array:
    """Return ``z rows^T``: z ``(B, d)`` to ``(B, m)``, in the wider of the two precisions."""
    xp = namespace(rows, z)
    if rows.dtype != z.dtype and z.dtype == xp.float64 and z.shape[0] <= FEW and is_numpy(rows, z):
        from lrtheory.operators import _cpu

        return _cpu.forward(rows, z)
    return plain_forward(rows, z)


def plain_forward(rows: Array, z: Array) -> Array:
    """`forward` as an expression of any array library."""
    xp = namespace(rows, z)
    dtype = precision(rows, z)
    z = xp.astype(z, dtype, copy=False)
    if rows.dtype == dtype:
        return z @ rows.T
    return xp.concat([z @ xp.astype(rows[b, :], dtype).T for b in blocks(rows.shape[0])], axis=-1)


def adjoint(rows: Array, v: Array) -> Array:
    """Return ``v rows``: v ``(B, m)`` to ``(B, d)``, in the wider of the two precisions."""
    xp = namespace(rows, v)
    dtype = precision(rows, v)
    v = xp.astype(v, dtype, copy=False)
    if rows.dtype == dtype:
        return v @ rows
    total = xp.zeros((v.shape[0], rows.shape[1]), dtype=dtype, device=v.device)
    for b in blocks(rows.shape[0]):
        total = total + v[:, b] @ xp.astype(rows[b, :], dtype)
    return total


def residual_and_gradient(
    rows: Array, z: Array, y: Array, scale: float, link: str, threshold: float
) -> tuple[Array, Array]:
    """Return ``sum_i phi(r_i)``, ``(B,)``, and ``scale sum_i link(r_i) rows_i``, ``(B, d)``, ``r = scale rows z - y``.

    Parameters
    ----------
    rows : array ``(m, d)``
    z : array ``(B, d)``
    y : array ``(B, m)`` or ``(1, m)``
    """
    kernels = twin("lrtheory.operators.", rows, z, y)
    if kernels is None:
        return reference_pass(rows, z, y, scale, link, threshold)
    return kernels.one_pass(rows, z, y, scale, link, threshold)


def reference_pass(rows: Any, z: Any, y: Any, scale: float, link: str, threshold: float) -> tuple[Any, Any]:
    """The plain expression of `residual_and_gradient`, in two passes."""
    value, pulled = evaluate(scale * plain_forward(rows, z) - y, link, threshold)
    return value, scale * adjoint(rows, pulled)
