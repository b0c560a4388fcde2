"""Factorised matrices: ``X X^T`` (symmetric) or ``F G^T``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace


class Factors:
    """A matrix given by its factors, ``X X^T`` from ``Factors(X)`` or ``F G^T`` from ``Factors(F, G)``.

    Parameters
    ----------
    left : array ``(*batch, n1, k)``
    right : array ``(*batch, n2, k)``, optional
        Absent for the symmetric factorisation.

    Notes
    -----
    A point of the space in which factored methods move: sums, differences and products with a scalar (or with an
    array shaped by `backend.per_element`) act on the factors. ``factors @ B`` is the matrix product
    ``left (right^T B)``, which never forms the n1 x n2 matrix.
    """

    __slots__ = ("_right", "left")
    __array_ufunc__ = None  # numpy_array * factors goes to Factors.__rmul__

    def __init__(self, left: Array, right: Array | None = None) -> None:
        given: dict[str, Any] = {"left": left} if right is None else {"left": left, "right": right}
        for name, factor in given.items():
            if not is_array(factor) or factor.ndim < 2:
                raise ValueError(
                    f"{name} factor must be an array (..., n, k), got {getattr(factor, 'shape', type(factor).__name__)}"
                )
        if right is not None and (left.shape[-1] != right.shape[-1] or left.shape[:-2] != right.shape[:-2]):
            raise ValueError(
                f"left {left.shape} and right {right.shape} factors must agree in the batch and in the last axis"
            )
        self.left = left
        self._right = right

    @property
    def symmetric(self) -> bool:
        """True for ``X X^T``."""
        return self._right is None

    @property
    def right(self) -> Array:
        """The right factor; the left one again when symmetric."""
        return self.left if self._right is None else self._right

    @property
    def k(self) -> int:
        """Inner dimension."""
        return self.left.shape[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n1, n2) of the matrix."""
        return self.left.shape[-2], self.right.shape[-2]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.left.shape[:-2])

    @property
    def dtype(self) -> Any:
        return self.left.dtype

    def map(self, f: Callable[..., Array], *others: Factors) -> Factors:
        """Return the factors ``f(left, ...)``, ``f(right, ...)``; the others must be of the same kind."""
        for other in others:
            if not isinstance(other, Factors) or other.symmetric != self.symmetric:
                raise TypeError(f"cannot combine {self!r} with {other!r}")
        left = f(self.left, *(o.left for o in others))
        return Factors(left) if self.symmetric else Factors(left, f(self.right, *(o.right for o in others)))

    def __add__(self, other: Factors) -> Factors:
        return self.map(lambda a, b: a + b, other)

    def __sub__(self, other: Factors) -> Factors:
        return self.map(lambda a, b: a - b, other)

    def __neg__(self) -> Factors:
        return self.map(lambda a: -a)

    def __mul__(self, scalar: Any) -> Factors:
        return self.map(lambda a: a * scalar)

    __rmul__ = __mul__

    def __truediv__(self, scalar: Any) -> Factors:
        return self.map(lambda a: a / scalar)

    def __matmul__(self, b: Array) -> Array:
        return self.left @ (transpose(self.right) @ b)

    def product(self) -> Array:
        """Return the matrix ``left right^T``, shape ``(*batch, n1, n2)``."""
        return self.left @ transpose(self.right)

    def transposed(self) -> Factors:
        """Return the factors of the transposed matrix."""
        return self if self.symmetric else Factors(self.right, self.left)

    def inner(self, other: Factors) -> Array:
        """Return the inner product of the factors (not of the matrices), shape ``batch``."""
        xp = namespace(self.left)
        total = xp.sum(self.left * other.left, axis=(-2, -1))
        return total if self.symmetric else total + xp.sum(self.right * other.right, axis=(-2, -1))

    def __repr__(self) -> str:
        shapes = f"{self.left.shape}" if self.symmetric else f"{self.left.shape}, {self.right.shape}"
        return f"Factors({shapes})"


def transpose(a: Any) -> Any:
    """Transpose the matrices in the last two axes of an array, or a matrix in another form (Factors, sparse)."""
    return a.transposed() if hasattr(a, "transposed") else namespace(a).matrix_transpose(a)


def as_matrix(a: Any) -> Array:
    """Return an array as it is, and what has a `product` (Factors, sparse) as the array ``(*batch, n1, n2)``."""
    return a.product() if hasattr(a, "product") else a


def concatenate(a: Factors, b: Factors, sign: float = 1.0) -> Factors:
    """Return factors of the sum ``A + sign * B``: the columns of both side by side (batches broadcast)."""
    xp = namespace(a.left, b.left)

    def side_by_side(p: Array, q: Array) -> Array:
        if p.shape[:-2] != q.shape[:-2]:
            batch = np.broadcast_shapes(tuple(p.shape[:-2]), tuple(q.shape[:-2]))
            p, q = (xp.broadcast_to(f, batch + tuple(f.shape[-2:])) for f in (p, q))
        return xp.concat([p, q], axis=-1)

    left = side_by_side(a.left, sign * b.left)
    return Factors(left, left if sign == 1.0 and a.symmetric and b.symmetric else side_by_side(a.right, b.right))
