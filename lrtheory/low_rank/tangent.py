"""Geometry of the matrices of rank k: tangent space, projection onto it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrtheory.backend import Array, namespace, per_element
from lrtheory.factors import Factors, transpose
from lrtheory.low_rank.thresholding import truncate


@dataclass(frozen=True, eq=False)
class Tangent:
    """The tangent vector ``U M V^T + U_p V^T + U V_p^T`` with ``U^T U_p = 0`` and ``V^T V_p = 0``.

    Attributes
    ----------
    core : array ``(*batch, k, k)``
        M.
    left : array ``(*batch, n1, k)``
        U_p.
    right : array ``(*batch, n2, k)``
        V_p.
    """

    core: Array
    left: Array
    right: Array

    def __add__(self, other: Tangent) -> Tangent:
        return Tangent(self.core + other.core, self.left + other.left, self.right + other.right)

    def __mul__(self, scalar: Any) -> Tangent:
        """Return the vector times a number, or times an array of batch shape."""
        return Tangent(*(a * per_element(scalar, a) for a in (self.core, self.left, self.right)))

    def inner(self, other: Tangent) -> Array:
        """Return the Frobenius inner product of the two matrices, shape ``batch``."""
        xp = namespace(self.core)
        parts = ((self.core, other.core), (self.left, other.left), (self.right, other.right))
        return sum(xp.sum(a * b, axis=(-2, -1)) for a, b in parts)


@dataclass(frozen=True, eq=False)
class TangentSpace:
    """The tangent space at ``Z = U S V^T`` of the matrices of rank k, O((n1 + n2) k) numbers.

    Attributes
    ----------
    left : array ``(*batch, n1, k)``
        U, orthonormal.
    core : array ``(*batch, k, k)``
        S, not necessarily diagonal.
    right : array ``(*batch, n2, k)``
        V, orthonormal.
    """

    left: Array
    core: Array
    right: Array

    @classmethod
    def at(cls, x: Factors) -> TangentSpace:
        """Return the space at x, k <= min(n1, n2).

        At a matrix of smaller rank some of the bases' columns are arbitrary (those that Householder's QR makes up).
        """
        qr = namespace(x.left).linalg.qr
        (u, left), (v, right) = qr(x.left), qr(x.right)
        return cls(u, left @ transpose(right), v)

    def project(self, matrix: Any) -> Tangent:
        """Return the nearest tangent vector, ``P_T(R) = U U^T R + R V V^T - U U^T R V V^T``.

        R is an array ``(*batch, n1, n2)``, Factors, or whatever has ``R @ V`` and `lrtheory.factors.transpose`. The
        projection of a vector of another tangent space is its transport to this one.
        """
        u, v = self.left, self.right
        image, coimage = matrix @ v, transpose(matrix) @ u
        core = transpose(u) @ image
        return Tangent(core, image - u @ core, coimage - v @ transpose(core))

    def factors(self, tangent: Tangent) -> Factors:
        """Return a tangent vector as factors of 2 k columns, ``[U M + U_p, U] [V, V_p]^T``."""
        xp = namespace(self.left)
        left = xp.concat([self.left @ tangent.core + tangent.left, self.left], axis=-1)
        return Factors(left, xp.concat([self.right, tangent.right], axis=-1))

    def retract(self, tangent: Tangent) -> Factors:
        """Return the best approximation of rank k to ``Z + tangent``, as balanced factors.

        A retraction: it agrees with the sum to first order. O((n1 + n2) k^2) by QR factorisations and the singular
        value decomposition of a 2 k x 2 k matrix.
        """
        moved = self.factors(Tangent(self.core + tangent.core, tangent.left, tangent.right))
        x = Factors(self.left, self.right)
        return truncate(moved, x)[0]
