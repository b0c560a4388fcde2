"""What the instances, the theory and the certificates of streams refuse, with messages that name the argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.random import Stream, as_stream


def integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return an integer of at least `least` and at most `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not whole or value < least or (most is not None and value > most):
        accepted = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {accepted}, got {value!r}")
    return int(value)


def reals(name: str, value: Any, least: float = -math.inf, *, strict: bool = False, infinite: bool = False) -> Any:
    """Return real numbers, none of them below `least` (or at it, with `strict`), as float64."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged sequence
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}") from error
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}")
    array = array.astype(np.float64)
    good = (array > least if strict else array >= least) & (np.isfinite(array) | (infinite & (array == math.inf)))
    if not np.all(good):
        accepted = ("" if infinite else "finite and ") + (f"{'>' if strict else '>='} {least:g}")
        accepted = "finite" if least == -math.inf and not infinite else accepted
        raise ValueError(f"{name} must be {accepted}, got {array[~good].flat[0]}")
    return array[()]


def matrix(name: str, rows: Any) -> Any:
    """Return an array or a SciPy sparse matrix ``(n, d)`` of real numbers as it is, lists as an array."""
    if isinstance(rows, (list, tuple)):
        rows = np.asarray(reals(name, rows))
    shape, dtype = getattr(rows, "shape", None), str(getattr(rows, "dtype", None))
    if shape is None:
        raise TypeError(f"{name} must be an array or a sparse matrix, got {type(rows).__name__}")
    if len(shape) != 2:
        raise ValueError(f"{name} must have shape (n, d), got {tuple(shape)}")
    if "complex" in dtype or dtype == "object":
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}")
    return rows


def one_stream(stream: Any) -> Stream:
    """Return a random stream that is no batch."""
    found = as_stream(stream)
    if found.batch_shape:
        raise ValueError(f"stream must name one stream, got a batch of shape {found.batch_shape}")
    return found


def spectrum(value: Any) -> np.ndarray:
    """Return eigenvalues lambda_1 > lambda_2 >= ... >= lambda_d >= 0 as a float64 vector, d >= 2."""
    values = np.asarray(reals("eigenvalues", value, 0.0))
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"eigenvalues must have shape (d,) with d >= 2, got {values.shape}")
    if not values[0] > values[1] or np.any(np.diff(values) > 0):
        raise ValueError(f"eigenvalues must fall, the first strictly above the second, got {values[:5]}...")
    return values
