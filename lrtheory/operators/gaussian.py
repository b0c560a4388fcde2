"""Random Gaussian measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import as_array, check_device
from lrtheory.operators._checks import check_size
from lrtheory.operators.dense import Dense
from lrtheory.operators.packed import SymmetricPacked, pack_matrices
from lrtheory.random import as_stream

STORAGES = ("float64", "float32")
DRAWN_ROWS = 32  # that share a stream: row i depends on its stream and its place in it, never on m


def gaussian(
    m: int,
    n1: int,
    n2: int | None = None,
    *,
    symmetric: bool = False,
    storage: str = "float64",
    packed: bool = False,
    stream: Any = 0,
    device: str = "cpu",
) -> Dense | SymmetricPacked:
    """Return m measurement matrices with independent standard normal entries.

    Parameters
    ----------
    m, n1 : int
    n2 : int, optional
        Default n1.
    symmetric : bool
        Symmetrised: ``(G + G^T) / 2``. ``E <A, Z>^2 = |Z|_F^2`` for every Z without, for symmetric Z with it.
    storage : {"float64", "float32"}
        float32 is the rounding of the float64 draw, and then *is* the operator.
    packed : bool
        Keep n(n+1)/2 columns (`SymmetricPacked`) of the same draw; needs ``symmetric=True``.
    stream : Stream or int
        Names the draw. The first rows do not depend on m.
    device : str

    Raises
    ------
    ValueError
        For sizes that are no positive integers, an unknown storage, or a symmetric operator that is not square.

    Notes
    -----
    Rows are drawn 32 at a time, straight into their place: little more memory than the result is used.
    """
    m, n1 = check_size("m", m), check_size("n1", n1)
    n2 = n1 if n2 is None else check_size("n2", n2)
    if storage not in STORAGES:
        raise ValueError(f"storage must be one of {STORAGES}, got {storage!r}")
    if symmetric and n1 != n2:
        raise ValueError(f"symmetric=True needs square matrices, got {n1} x {n2}")
    if packed and not symmetric:
        raise ValueError("packed=True keeps symmetric matrices only: it needs symmetric=True")
    check_device(device)
    stream = as_stream(stream)
    shape = (m, n1 * (n1 + 1) // 2) if packed else (m, n1, n2)
    result = np.empty(shape, dtype=storage)
    for first in range(0, m, DRAWN_ROWS):
        count = min(DRAWN_ROWS, m - first)
        rows = stream.child("gaussian", n1, n2, first // DRAWN_ROWS).generator().standard_normal((count, n1, n2))
        if symmetric:
            rows = (rows + rows.transpose(0, 2, 1)) / 2
        result[first : first + count] = pack_matrices(rows) if packed else rows
    data = as_array(result, device)
    return SymmetricPacked(data, n1) if packed else Dense(data, symmetric)
