"""What the functions of this package ask of arrays and numbers, and conversions between their kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace


def floating(name: str, value: Array) -> Array:
    """Return a floating-point array, integers as float64."""
    xp = namespace(value)
    if xp.isdtype(value.dtype, "integral"):
        return xp.astype(value, xp.float64)
    if value.dtype not in (xp.float32, xp.float64, xp.complex64, xp.complex128):
        raise TypeError(f"{name} must be of single or double precision, got dtype {value.dtype}")
    return value


def numbers(name: str, value: Any) -> Array:
    """Return a finite floating-point array, real or complex."""
    if not is_array(value):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}")
    value = floating(name, value)
    xp = namespace(value)
    if not bool(xp.all(xp.isfinite(value))):
        raise ValueError(f"{name} must be finite")
    return value


def vector(name: str, value: Any) -> Array:
    """Return a finite floating-point array with an axis of modes."""
    value = numbers(name, value)
    if value.ndim == 0 or value.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., M) with M >= 1, got {tuple(value.shape)}")
    return value


def real_numbers(name: str, value: Any) -> Array:
    """Return a finite floating-point array that is not complex."""
    return _real(name, numbers(name, value))


def real_values(name: str, value: Any) -> Any:
    """Return a finite real number or array."""
    value = _real(name, value)
    if not _holds(lambda xp: xp.isfinite(value), value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return value


def positive(name: str, value: Any) -> Any:
    """Return a positive finite real number or array."""
    value = _real(name, value)
    if not _holds(lambda xp: xp.isfinite(value) & (value > 0), value):
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return value


def positive_number(name: str, value: Any) -> float:
    if is_array(value):
        raise TypeError(f"{name} must be a number, got an array")
    return positive(name, value)


def _real(name: str, value: Any) -> Any:
    if not is_array(value):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a real number or an array, got {value!r}")
        return float(value)
    value = floating(name, value)
    if namespace(value).isdtype(value.dtype, "complex floating"):
        raise TypeError(f"{name} must be real, got dtype {value.dtype}")
    return value


def _holds(condition: Callable[[Any], Any], value: Any) -> bool:
    """Return whether a condition, given an array namespace, is true of a number or of every entry of an array."""
    return bool(namespace(value).all(condition(namespace(value)))) if is_array(value) else bool(condition(math))


def count(name: str, value: Any, least: int = 1) -> int:
    """Return an integer that is not too small."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)


def boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def as_complex(a: Array) -> Array:
    """Return a complex array of the precision of `a`."""
    xp = namespace(a)
    if xp.isdtype(a.dtype, "complex floating"):
        return a
    return xp.astype(a, xp.complex64 if a.dtype == xp.float32 else xp.complex128)


def widened(a: Array) -> Array:
    """Return an array in double precision, real ones as real ones."""
    xp = namespace(a)
    wide = xp.complex128 if xp.isdtype(a.dtype, "complex floating") else xp.float64
    return xp.astype(a, wide, copy=False)


def as_double(a: Array) -> Array:
    xp = namespace(a)
    return xp.astype(a, xp.complex128, copy=False)
