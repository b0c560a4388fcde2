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
    value = floating(name, an_array(name, value))
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
    if is_array(value) or isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
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


def an_array(name: str, value: Any) -> Array:
    if not is_array(value):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}")
    return value


def function(name: str, value: Any, home: str) -> None:
    """Raise TypeError unless a value can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, one of {home} or of that kind, got {value!r}")


def broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common shape of the arguments with these names."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{', '.join(shapes)} must broadcast, got {given}") from None


def count(name: str, value: Any, least: int = 1) -> int:
    """Return an integer that is not too small."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)


def boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def signal(
    u: Any, x0: Any, poles: Array, dtype: Any, channels: tuple[int, ...], state: str = "x0"
) -> tuple[Array, Array | None, tuple[int, ...]]:
    """Return the input of a system with these poles, at least of the given dtype, its first state (the argument of that
    name), and the batch shape of both and the channels."""
    u = an_array("u", u)
    xp, modes = namespace(u, poles), poles.shape[-1]
    if xp.isdtype(u.dtype, "complex floating"):
        raise TypeError("u must be real: give Re u and Im u one after the other, the system is real and linear")
    u = floating("u", u)
    if u.ndim == 0 or u.shape[-1] == 0:
        raise ValueError(f"u must have shape (..., L) with L >= 1, got {tuple(u.shape)}")
    u = xp.astype(u, xp.result_type(u.dtype, dtype), copy=False)
    shapes = [tuple(u.shape[:-1]), channels]
    if x0 is not None:
        x0 = vector(state, x0)
        if x0.shape[-1] != modes:
            raise ValueError(f"{state} must have shape (..., {modes}), a number for each mode, got {x0.shape}")
        shapes.append(tuple(x0.shape[:-1]))
        x0 = as_double(as_complex(x0))
    try:
        batch = channels if len(set(shapes)) == 1 else np.broadcast_shapes(*shapes)
    except ValueError:
        given = f"u {tuple(u.shape)}, channels {channels}"
        given += "" if x0 is None else f", {state} {tuple(x0.shape)}"
        raise ValueError(f"the leading axes of u, the channels and {state} must broadcast, got {given}") from None
    if not bool(xp.all(xp.isfinite(u))):
        raise ValueError("u must be finite")
    return u, x0, batch


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
