"""What the operators share that are given by rows, one for each measurement, stored or generated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace
from lrtheory.operators._checks import matrix, vector
from lrtheory.operators._links import check_link


class RowOperator:
    """A linear map given by rows ``(m, d)``.

    Subclasses have `m`, `matrix_shape`, `symmetric` and `dtype`, and say what the columns mean: ``flatten(z)`` takes
    matrices ``(*batch, n1, n2)`` to points ``(*batch, d)``, and ``restore(g)`` takes gradients ``(*batch, d)`` to
    matrices. They have ``block(first, last)``, some of the rows as a float64 NumPy array, and three maps of points with
    one batch axis: ``flat_forward(z)``, ``(B, d)`` to ``(B, m)``; ``flat_adjoint(v)``, back; and
    ``flat_pass(z, y, scale, link, threshold)``, the values ``(B,)`` and gradients ``(B, d)`` of
    `residual_and_gradient`. `compiled` says whether kernels serve the latter for NumPy points.
    """

    m: Any
    matrix_shape: Any
    symmetric: Any
    dtype: Any
    compiled: Any

    def flatten(self, z: Array) -> Array:
        raise NotImplementedError

    def restore(self, g: Array) -> Array:
        raise NotImplementedError

    def block(self, first: int, last: int) -> np.ndarray:
        raise NotImplementedError

    def flat_forward(self, z: Array) -> Array:
        raise NotImplementedError

    def flat_adjoint(self, v: Array) -> Array:
        raise NotImplementedError

    def flat_pass(self, z: Array, y: Array, scale: float, link: str, threshold: float) -> tuple[Array, Array]:
        raise NotImplementedError

    @property
    def unit_scale(self) -> float:
        """The scale s for which ``E |s A(Z)|^2 = |Z|_F^2`` over random measurements: 1/sqrt(m)."""
        return 1.0 / math.sqrt(self.m)

    def forward(self, z: Any) -> Array:
        """Return ``<A_i, Z>`` for all i.

        Parameters
        ----------
        z : array ``(*batch, n1, n2)``, or Factors

        Returns
        -------
        array ``(*batch, m)``

        Raises
        ------
        ValueError, TypeError
            For another shape, or data that are not real floating point.
        """
        flat = self.flatten(matrix(z, self.matrix_shape))
        batch = tuple(flat.shape[:-1])
        xp = namespace(flat)
        return xp.reshape(self.flat_forward(_two_axes(xp, flat)), (*batch, self.m))

    def adjoint(self, v: Array) -> Array:
        """Return ``sum_i v_i A_i``: v ``(*batch, m)`` to ``(*batch, n1, n2)``."""
        v = vector(v, self.m, "v")
        xp = namespace(v)
        flat = self.flat_adjoint(_two_axes(xp, v))
        return self.restore(xp.reshape(flat, (*v.shape[:-1], flat.shape[-1])))

    def residual_and_gradient(
        self, z: Any, y: Array, scale: float = 1.0, link: str = "residual", threshold: float = 1.0
    ) -> tuple[Array, Array]:
        """Return ``sum_i phi(r_i)`` and ``scale sum_i link(r_i) A_i``, ``r = scale A(z) - y``, in one pass.

        Parameters
        ----------
        z : array ``(*batch, n1, n2)``, or Factors
        y : array ``(*batch, m)``
            Batches of z and y broadcast.
        scale : float
        link : {"residual", "sign", "clip"}
            phi = r^2/2, abs(r), or Huber's with `threshold`.
        threshold : float

        Returns
        -------
        value : array ``batch``
        gradient : array ``(*batch, n1, n2)``

        Notes
        -----
        Rows that are stored are read once: one or two trials take a fused kernel each, more take two matrix products
        for each block of rows, all trials together. Rows that are made from bits are made twice, for all trials at
        once.
        """
        check_link(link, threshold)
        flat = self.flatten(matrix(z, self.matrix_shape))
        y = vector(y, self.m)
        xp = namespace(flat, y)
        batch = np.broadcast_shapes(tuple(flat.shape[:-1]), tuple(y.shape[:-1]))
        if tuple(flat.shape[:-1]) != batch:
            flat = xp.broadcast_to(flat, (*batch, flat.shape[-1]))
        if y.ndim > 1 and tuple(y.shape[:-1]) != batch:
            y = xp.broadcast_to(y, (*batch, self.m))
        value, gradient = self.flat_pass(_two_axes(xp, flat), _two_axes(xp, y), float(scale), link, float(threshold))
        return xp.reshape(value, batch), self.restore(xp.reshape(gradient, (*batch, gradient.shape[-1])))


def _two_axes(xp: Any, a: Array) -> Array:
    return xp.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
