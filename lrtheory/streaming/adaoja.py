"""AdaOja: Oja's method without a step size to choose."""

from __future__ import annotations

import numpy as np

from lrtheory.backend import Array
from lrtheory.random import Stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import positive, squared_norm
from lrtheory.streaming._products import add_products, next_directions, norms
from lrtheory.streaming._starts import orthonormal_rows
from lrtheory.streaming.oja import B, _RowSteps
from lrtheory.streaming.sources import Chunk


class AdaOja(_RowSteps):
    """b <- (b^2 + ||G||^2)^{1/2},  w <- (w + G / b) / ||w + G / b||,  G = Y^T (Y w) / m, for batches Y of m rows [1]_.

    For k > 1 each row w_j of W has its own G_j and b_j, and the rows are made orthonormal, in their order.

    Parameters
    ----------
    batch_size : int
        m. A result takes the rows of an open batch as a batch, and leaves it open.
    first_b : float
        b before the first batch, > 0. It has the unit of ||a||^2, and hardly matters where it is far below their mean:
        give another one, or `scale`, for rows shorter than some 0.01.
    n_components : int
        k.
    start, center, scale, check_finite, stream
        As of `Oja`.

    Attributes
    ----------
    b_ : array ``(*batch,)``, or ``(*batch, k)`` for k > 1 or m > 1
    log_growth_ : array of the same shape
        Of the batches that are full.

    Notes
    -----
    The others are those of `StreamingEstimator`; the batch shape is the broadcast of those of start and stream. The
    rate falls like the inverse root of the number of rows, so that on independent rows the error does too: see
    `theory.adaoja_sin2`. In turn it does not forget an early v_1, and finds a late one.

    Cost: that of `Oja` for k = m = 1, O(nnz) for CSR rows; else 4 k d operations a row and some k^2 d, with some twenty
    microseconds of calls, a batch. Not mergeable.

    References
    ----------
    .. [1] A. Henriksen, R. Ward, AdaOja: adaptive learning rates for streaming PCA, arXiv:1905.12115.
    """

    _kind = "adaoja"

    def __init__(
        self,
        *,
        batch_size: int = 1,
        first_b: float = 1e-5,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        self.batch_size = batch_size
        self.first_b = first_b
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        integer("batch_size", self.batch_size)
        b = positive("first_b", self.first_b)
        self._make(d, ())
        self._by_rows = self.batch_size == 1 and self.n_components == 1
        if self._by_rows:
            self._scalars[:, B] = b
            return
        self._w = orthonormal_rows(self._w)[0]
        shape = self._w.shape[:2]
        self._b, self._log_lengths, self._energy = np.full(shape, b), np.zeros(shape), np.zeros(shape)
        self._sums, self._count = np.zeros_like(self._w), 0

    @property
    def _takes_device_rows(self) -> bool:
        return self.n_components == 1 and self.batch_size == 1

    @property
    def checks_first(self) -> bool:  # type: ignore[override]
        return not self._by_rows

    def _rates_of(self, m: int) -> np.ndarray:
        return np.zeros((m, self._w.shape[0]))  # the kernel sets them

    def _absorb(self, rows: Chunk) -> float:
        if self._by_rows:
            return super()._absorb(rows)
        first = 0
        while first < rows.shape[0]:
            part = rows[first : first + self.batch_size - self._count]
            add_products(part, self._w, self._sums)
            self._count += part.shape[0]
            first += part.shape[0]
            if self._count == self.batch_size:
                self._energy += np.einsum("bkd,bkd->bk", self._w, self._sums)
                self._w, self._b, lengths = self._step()
                self._log_lengths += np.log(lengths)
                self._sums, self._count = np.zeros_like(self._w), 0
        return squared_norm(rows)

    def _step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W, b and the lengths of Gram-Schmidt after the open batch."""
        gradient = self._sums / max(self._count, 1)
        b = np.hypot(self._b, norms(gradient))
        w, lengths = next_directions(self._w + gradient / b[..., None], self._w)
        return w, b, lengths

    def _components(self) -> Array:
        if self._by_rows:
            return super()._components()
        return self._step()[0].reshape(*self._batch_shape, *self._w.shape[1:])

    def _energies(self) -> Array:
        if self._by_rows:
            return super()._energies()
        seen = self._energy + np.einsum("bkd,bkd->bk", self._w, self._sums)
        return seen.reshape(*self._batch_shape, self.n_components)

    @property
    def b_(self) -> Array:
        self._check_begun()
        b = self._scalars[:, B] if self._by_rows else self._step()[1]
        return b.reshape(self._batch_shape + b.shape[1:])[()].copy()

    def _growth(self) -> np.ndarray:
        return super()._growth() if self._by_rows else self._log_lengths

    def _state_size(self) -> int:
        return super()._state_size() if self._by_rows else 2 * self._w.size + 3 * self._b.size
