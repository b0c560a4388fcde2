"""From arrays whose leading axes broadcast to the rows that kernels take: systems, signals and states."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_numpy, namespace

broadcast = lru_cache(maxsize=256)(np.broadcast_shapes)  # which takes longer than short signals do


def batch_shape(x: Array, b: Array, c: Array, u: Array, state: Array | None) -> tuple[int, ...]:
    shapes = [tuple(v.shape[:-1]) for v in (x, b, c, u)]
    return broadcast(*shapes, () if state is None else tuple(state.shape[:-1]))


@lru_cache(maxsize=64)
def layout(
    systems: tuple[int, ...], sources: tuple[int, ...], states: tuple[int, ...] | None
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the batch shape, and for each of its rows the flat indices of system, source and row, systems in order."""
    batch = np.broadcast_shapes(systems, sources, states or ())
    system, source = (
        np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), batch).ravel() for shape in (systems, sources)
    )
    order = np.argsort(system, kind="stable")  # a kernel makes the tables of a system once
    return batch, np.stack([system[order], source[order], order])


def bare(a: Array) -> Any:
    """Return NumPy itself, whose array-API wrapper takes a microsecond a call, or the namespace of a device's array."""
    return np if is_numpy(a) else namespace(a)


def flat(v: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return `v`, broadcast to the shape, as rows that a kernel can take: read-only is another signature to compile."""
    if not is_numpy(v):
        xp = namespace(v)
        rows = xp.reshape(xp.broadcast_to(v, shape), (-1, shape[-1]))
        return xp.ascontiguousarray(xp.astype(rows, dtype, copy=False))
    if v.shape != shape or v.dtype != dtype or not (v.flags.c_contiguous and v.flags.writeable):
        given, v = v, np.empty(shape, dtype)
        v[...] = given
    return v.reshape(-1, shape[-1])


def states(state: Array | None, batch: tuple[int, ...], x: Array) -> Array:
    """Return new rows of states, one for each mode of x, for a kernel to advance."""
    modes, xp = x.shape[-1], bare(x)
    if state is None:
        return xp.zeros((math.prod(batch), modes), dtype=np.complex128)
    return xp.array(xp.broadcast_to(state, (*batch, modes)), dtype=np.complex128, order="C").reshape(-1, modes)


def real_pairs(z: Array, dtype: Any) -> Array:
    """Return the real parts of the last axis and after them the imaginary parts."""
    xp = namespace(z)
    return xp.astype(xp.concat([xp.real(z), xp.imag(z)], axis=-1), dtype, copy=False)


def from_pairs(pairs: Array) -> Array:
    xp = namespace(pairs)
    half = pairs.shape[-1] // 2
    return xp.astype(pairs[..., :half], xp.complex128) + 1j * xp.astype(pairs[..., half:], xp.complex128)
