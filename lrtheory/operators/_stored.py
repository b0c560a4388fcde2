"""What the operators that keep their rows in memory share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace
from lrtheory.operators import _rows
from lrtheory.operators._checks import matrix, vector
from lrtheory.operators._links import check_link


class StoredRows:
    """A linear map given by rows ``(m, d)``, one for each measurement.

    Subclasses have `rows`, `matrix_shape` and `symmetric`, and say what the columns mean: ``flatten(z)`` takes matrices
    ``(*batch, n1, n2)`` to points ``(*batch, d)``, and ``restore(g)`` takes gradients ``(*batch, d)`` to matrices.
    """

    rows: Any
    matrix_shape: Any
    symmetric: Any

    def flatten(self, z: Array) -> Array:
        raise NotImplementedError

    def restore(self, g: Array) -> Array:
        raise NotImplementedError

    @property
    def m(self) -> int:
        """Number of measurements."""
        return self.rows.shape[0]

    @property
    def dtype(self) -> Any:
        """Storage precision. Sums are formed in the wider of it and the precision of the point."""
        return self.rows.dtype

    @property
    def unit_scale(self) -> float:
        """The scale s at which ``E |s A(Z)|^2 = |Z|_F^2`` for independent rows of unit variance: 1/sqrt(m)."""
        return 1.0 / math.sqrt(self.m)

    @property
    def nbytes(self) -> int:
        """Bytes that one pass reads."""
        return self.rows.shape[0] * self.rows.shape[1] * (4 if "32" in str(self.rows.dtype) else 8)

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
        return xp.reshape(_rows.forward(self.rows, _two_axes(xp, flat)), (*batch, self.m))

    def adjoint(self, v: Array) -> Array:
        """Return ``sum_i v_i A_i``: v ``(*batch, m)`` to ``(*batch, n1, n2)``."""
        v = vector(v, self.m, "v")
        xp = namespace(v)
        flat = _rows.adjoint(self.rows, _two_axes(xp, v))
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
        Reads the m d stored numbers once. One or two trials take a fused kernel each, more take two matrix products
        for each block of rows, all trials together.
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
        value, gradient = _rows.residual_and_gradient(
            self.rows, _two_axes(xp, flat), _two_axes(xp, y), float(scale), link, float(threshold)
        )
        return xp.reshape(value, batch), self.restore(xp.reshape(gradient, (*batch, gradient.shape[-1])))


def _two_axes(xp: Any, a: Array) -> Array:
    return xp.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
