"""Diagonal systems as real matrices over the state (Re x, Im x)."""

from __future__ import annotations

from lrtheory.backend import Array, namespace


def multiplication(a: Array) -> Array:
    """Return [[Re a, -Im a], [Im a, Re a]] of diagonal blocks, the product with a ``(..., M)``: ``(..., 2 M, 2 M)``."""
    xp = namespace(a)
    one = xp.eye(a.shape[-1], dtype=xp.real(a).dtype)
    re, im = xp.real(a)[..., None] * one, xp.imag(a)[..., None] * one
    return xp.concat([xp.concat([re, -im], axis=-1), xp.concat([im, re], axis=-1)], axis=-2)


def parts(b: Array) -> Array:
    """Return the state (Re b, Im b), ``(..., 2 M)``."""
    xp = namespace(b)
    return xp.concat([xp.real(b), xp.imag(b)], axis=-1)


def readout(c: Array) -> Array:
    """Return the real row whose product with (Re x, Im x) is Re sum_n c_n x_n, ``(..., 2 M)``."""
    xp = namespace(c)
    return xp.concat([xp.real(c), -xp.imag(c)], axis=-1)
