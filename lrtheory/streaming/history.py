"""History PCA: a power step a block, on the block's second moment averaged with what earlier blocks left."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, is_cupy, twin
from lrtheory.random import Stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import StreamingEstimator, squared_norm
from lrtheory.streaming._products import MANY, add_products, cached_parts, next_directions
from lrtheory.streaming._starts import aligned, orthonormal_rows, start_rows
from lrtheory.streaming.sources import Chunk

CLOSED, FILLED = 0, 1
"""As in `_cpu_power`, which loads a compiler."""


class HistoryPCA(StreamingEstimator):
    """w <- s / ||s||,  s = (t-1)/t lambda v <v, w> + Y^T (Y w) / (t B),  for block t = 1, 2, .. of B rows Y [1]_.

    v and lambda are w and ||s|| of the block before. For k > 1 the rows of W are made orthonormal, in their order, and
    each has its lambda, the length that was divided by.

    Parameters
    ----------
    block_size : int
        B. Some 20 is the best choice for most streams in random order, 100 reads them somewhat faster; long blocks
        waste rows.
    inner : int
        Repetitions of the step within a block. More than one keep the block's rows.
    n_components : int
        k.
    start : array ``(d,)``, ``(k, d)`` or ``(*batch, k, d)``, optional
        W before the first row; default: standard normal, from `stream`.
    center, scale, check_finite
        As of `Oja`.
    stream : int, integer array of the batch shape, or Stream
        Of the start. Column j has its own sub-stream.

    Attributes
    ----------
    n_blocks_ : int
        Blocks so far, an open one included.

    Notes
    -----
    The others are those of `StreamingEstimator`; the batch shape is the broadcast of those of start and stream. There
    is no step size: the weight 1 / t makes it Oja's method with the rate 1 / (lambda_1 t), see
    `theory.history_pca_sin2`. It needs rows in random order: where the rows along v_1 come last, they find too little
    weight left. A result takes the open block as if it ended there, divided by its true number of rows, and leaves it
    open. Not mergeable.

    For one component rows are taken one by one, and no division into chunks changes a bit; for more, by matrix
    products of the part of a block that a chunk holds, which agree up to rounding. Cost: 4 k d operations a row, and
    some k^2 d a block; for CSR rows O(nnz k), and as much a block.

    References
    ----------
    .. [1] P. Yang, C.-J. Hsieh, J.-L. Wang, History PCA: a new algorithm for streaming PCA, arXiv:1802.05447.
    """

    def __init__(
        self,
        block_size: int = 20,
        *,
        inner: int = 1,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        self.block_size = block_size
        self.inner = inner
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    @property
    def _takes_device_rows(self) -> bool:
        return self.inner == 1

    def _begin(self, d: int) -> None:
        self._size = integer("block_size", self.block_size)
        self._repeats = integer("inner", self.inner)
        w = start_rows(self.start, self.n_components, d, (), self.stream)
        self._batch_shape = w.shape[:-2]
        self._w = aligned(orthonormal_rows(w.reshape(-1, *w.shape[-2:]))[0])
        self._y = aligned(np.zeros_like(self._w))
        self._eigenvalues = np.zeros(self._w.shape[:-1])
        self._counts = np.zeros((self._w.shape[0], 2), dtype=np.int64)  # the same for each member
        self._open: list[Chunk] = []

    def _absorb(self, rows: Chunk) -> float:
        if self._repeats == 1 and self._w.shape[1] == 1 and self._w.shape[0] < MANY and not is_cupy(rows):
            return self._by_rows(rows)
        total, first = 0.0, 0
        while first < rows.shape[0]:
            if self._counts[0, FILLED] == self._size:
                self._close()
            end = min(first + self._size - int(self._counts[0, FILLED]), rows.shape[0])
            total += self._add(rows[first:end])
            self._counts[:, FILLED] += end - first
            first = end
        return total

    def _by_rows(self, rows: Chunk) -> float:
        take = twin("lrtheory.streaming.power", self._w).history
        members = range(self._w.shape[0])
        total = 0.0
        for part in [rows] if len(members) == 1 else cached_parts(rows):
            for b in members:
                norm2 = take(part, self._size, self._w[b, 0], self._y[b, 0], self._eigenvalues[b], self._counts[b])
            total += norm2
        return total

    def _add(self, rows: Chunk) -> float:
        if self._repeats == 1:
            return add_products(rows, self._w, self._y)
        self._open.append(rows.copy())
        return squared_norm(rows)

    def _close(self) -> None:
        self._w, self._eigenvalues = self._after_block()
        self._y[:] = 0.0
        self._open = []
        self._counts[:, CLOSED] += 1
        self._counts[:, FILLED] = 0

    def _after_block(self) -> tuple[np.ndarray, np.ndarray]:
        """Return directions and eigenvalues as they would be if the open block ended here."""
        closed, filled = (int(count) for count in self._counts[0])
        old, v, w, y = closed / (closed + 1), self._w, self._w, self._y
        block = _stacked(self._open) if self._open else None
        for _ in range(self._repeats):
            if block is not None:
                y = np.zeros_like(w)
                add_products(block, w, y)
            overlaps = w @ np.swapaxes(v, -1, -2)
            sums = (old * overlaps * self._eigenvalues[:, None]) @ v + y / (closed + 1) / filled
            w, eigenvalues = next_directions(sums, w)
        return w, eigenvalues

    def _save(self) -> Any:
        arrays = (self._w, self._y, self._eigenvalues, self._counts)
        return [a.copy() for a in arrays], list(self._open)

    def _restore(self, saved: Any) -> None:
        (self._w, self._y, self._eigenvalues, self._counts), self._open = saved

    def _components(self) -> Array:
        return self._after_block()[0].reshape(*self._batch_shape, *self._w.shape[1:])

    def _energies(self) -> Array:
        energies = self.n_seen_ * self._after_block()[1]
        return energies.reshape(*self._batch_shape, self._w.shape[1])

    def _state_size(self) -> int:
        block = self._size * self.n_features_in_ if self._repeats > 1 else 0
        return self._w.size + self._y.size + self._eigenvalues.size + block

    @property
    def n_blocks_(self) -> int:
        self._check_begun()
        return int(self._counts[0, CLOSED] + (self._counts[0, FILLED] > 0))


def _stacked(parts: list[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    from scipy.sparse import csr_array, vstack

    return vstack([csr_array(part) for part in parts], format="csr")
