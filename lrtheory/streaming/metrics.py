"""How good a direction is: its angle to the top eigenvector, and the share of the energy that it captures.

The sign of an eigenvector is arbitrary, hence squares: `corr2` is the squared correlation, `sin2` what is left to 1.
Where s_1 = s_2 there is no one top eigenvector, and the angle to it says nothing: `energy_ratio` and `near_top_mass`
still do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, like, namespace
from lrtheory.factors import transpose
from lrtheory.spectra import subspace_distance

from ._checks import matrix, reals

_BLOCK = 4096  # rows of a matrix at a time


def unit(name: str, v: Any) -> Array:
    """Return vectors ``(..., d)`` scaled to norm 1. Raises ValueError where one is 0 or not finite."""
    if not is_array(v):
        v = np.asarray(reals(name, v))
    xp = namespace(v)
    if xp.isdtype(v.dtype, "integral"):
        v = xp.astype(v, xp.float64)
    if not xp.isdtype(v.dtype, "real floating"):
        raise TypeError(f"{name} must be a real floating-point array, got {v.dtype}")
    if v.ndim == 0 or v.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., d) with d >= 1, got {tuple(v.shape)}")
    largest = xp.max(xp.abs(v), axis=-1, keepdims=True)  # first, lest the squares overflow or vanish
    if not bool(xp.all(xp.isfinite(largest) & (largest > 0))):
        raise ValueError(f"{name} must be finite and not zero: it has no direction")
    v = v / largest
    return v / xp.linalg.vector_norm(v, axis=-1, keepdims=True)


def corr2(v: Any, truth: Any) -> Array:
    """Return the squared correlation ``<v, v_1>^2 / (|v|^2 |v_1|^2)``, in [0, 1].

    Parameters
    ----------
    v, truth : array ``(..., d)``
        Of any length but 0, and of any sign.
    """
    v, truth = _pair(v, truth)
    xp = namespace(v, truth)
    overlap = xp.sum(v * truth, axis=-1)
    return xp.minimum(overlap * overlap, xp.ones_like(overlap))


def sin2(v: Any, truth: Any) -> Array:
    """Return the squared sine of the angle, ``1 - corr2``, accurate for small angles too.

    The squared norm of what is left of v beside v_1: exact to some eps^2, where 1 - corr2 is to eps.
    """
    v, truth = _pair(v, truth)
    xp = namespace(v, truth)
    rest = v - xp.sum(v * truth, axis=-1, keepdims=True) * truth
    found = xp.sum(rest * rest, axis=-1)
    return xp.minimum(found, xp.ones_like(found))


def _pair(v: Any, truth: Any) -> tuple[Array, Array]:
    v, truth = unit("v", v), unit("truth", truth)
    if v.shape[-1] != truth.shape[-1]:
        raise ValueError(f"v and truth must have one dimension, got {v.shape[-1]} and {truth.shape[-1]}")
    return v, truth


def subspace_sin2(components: Any, truth: Any) -> Array:
    """Return the squared sine of the largest principal angle between the spans of k rows each, ``(..., k, d)``."""
    components, truth = unit("components", components), unit("truth", truth)
    if components.shape[-2:] != truth.shape[-2:] or components.ndim < 2:
        raise ValueError(
            f"components and truth must have shape (..., k, d), got {tuple(components.shape)} and {tuple(truth.shape)}"
        )
    xp = namespace(components, truth)
    found = subspace_distance(xp.linalg.qr(transpose(components))[0], xp.linalg.qr(transpose(truth))[0]) ** 2
    return xp.minimum(found, xp.ones_like(found))


def energy(v: Any, rows: Any) -> Any:
    """Return ``|A v|^2`` for the unit vector along v: the second moment of the rows in that direction.

    Parameters
    ----------
    v : array ``(..., d)``
    rows : array ``(n, d)``, or any SciPy sparse matrix
        A, read some thousand rows at a time; summed in float64.
    """
    v, rows = unit("v", v), matrix("rows", rows)
    if rows.shape[1] != v.shape[-1]:
        raise ValueError(f"rows must have shape (n, {v.shape[-1]}), got {tuple(rows.shape)}")
    if hasattr(rows, "tocsr"):
        products = rows @ v.T if v.ndim < 3 else rows @ v.reshape(-1, v.shape[-1]).T
        return np.sum(np.square(products, dtype=np.float64), axis=0).reshape(v.shape[:-1])[()]
    xp = namespace(v)
    total: Any = 0.0
    for start in range(0, rows.shape[0], _BLOCK):
        product = v @ transpose(like(rows[start : min(start + _BLOCK, rows.shape[0]), :], v))
        total = total + xp.sum(product * product, axis=-1, dtype=xp.float64)
    return total


def energy_ratio(v: Any, rows: Any, top: float | None = None) -> Any:
    """Return ``|A v|^2 / s_1^2``, in [0, 1] up to rounding; 1 for every top direction, also where s_1 = s_2.

    Parameters
    ----------
    v : array ``(..., d)``
    rows : array or SciPy sparse matrix ``(n, d)``
    top : float, optional
        s_1^2. Default: from `lrtheory.streaming.offline.top_directions`.
    """
    if top is None:
        from .offline import top_directions

        top = float(top_directions(rows, 1)[0][0])
    if not reals("top", top) > 0:
        raise ValueError(f"top must be positive: with s_1 = 0 no direction is better than another, got {top!r}")
    return energy(v, rows) / top


def near_top_mass(v: Any, energies: Any, directions: Any, gamma: float) -> Array:
    """Return the share of |v|^2 on eigenvectors of energy at least ``(1 - gamma) s_1^2``: a target without a gap.

    Parameters
    ----------
    v : array ``(..., d)``
    energies : array ``(k,)``
        s_1^2 >= s_2^2 >= ...; those that may qualify, at least.
    directions : array ``(k, d)``
        The eigenvectors, orthonormal rows.
    gamma : float
        In [0, 1].
    """
    if not 0 <= reals("gamma", gamma) <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma!r}")
    v = unit("v", v)
    if not (is_array(energies) and is_array(directions)):
        raise TypeError(
            f"energies and directions must be arrays, got {type(energies).__name__} and {type(directions).__name__}"
        )
    if directions.ndim != 2 or tuple(energies.shape) != (directions.shape[0],) or directions.shape[1] != v.shape[-1]:
        raise ValueError(
            f"energies and directions must have shapes (k,) and (k, {v.shape[-1]}), got {tuple(energies.shape)} and "
            f"{tuple(directions.shape)}"
        )
    xp = namespace(v)
    overlaps = v @ transpose(directions)
    found = xp.sum(xp.where(energies >= (1 - gamma) * xp.max(energies), overlaps * overlaps, 0.0), axis=-1)
    return xp.minimum(found, xp.ones_like(found))


def canonical_signs(vectors: Array) -> Array:
    """Return vectors ``(..., d)`` whose entry of largest modulus, the first of equal ones, is > 0."""
    largest = np.argmax(np.abs(vectors), axis=-1, keepdims=True)
    return np.where(np.take_along_axis(vectors, largest, axis=-1) < 0, -vectors, vectors)
