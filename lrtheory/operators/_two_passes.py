"""What the operators share whose forward and adjoint are fast transforms rather than reads of stored rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array
from lrtheory.operators._checks import vector
from lrtheory.operators._links import check_link, evaluate


class TwoPasses:
    """A linear map whose fused pass is `forward` and then `adjoint`, which subclasses define."""

    m: Any

    def forward(self, z: Any) -> Array:
        raise NotImplementedError

    def adjoint(self, v: Array) -> Array:
        raise NotImplementedError

    @property
    def unit_scale(self) -> float:
        """The scale s at which ``E |s A(Z)|^2 = |Z|_F^2``: 1/sqrt(m)."""
        return 1.0 / math.sqrt(self.m)

    def residual_and_gradient(
        self, z: Any, y: Array, scale: float = 1.0, link: str = "residual", threshold: float = 1.0
    ) -> tuple[Array, Any]:
        """Return ``sum_i phi(r_i)`` and ``scale sum_i link(r_i) A_i``, ``r = scale A(z) - y``.

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
        """
        check_link(link, threshold)
        seen, y = self.forward(z), vector(y, self.m)
        np.broadcast_shapes(tuple(seen.shape[:-1]), tuple(y.shape[:-1]))  # a ValueError in every library
        value, pulled = evaluate(scale * seen - y, link, threshold)
        return value, scale * self.adjoint(pulled)
