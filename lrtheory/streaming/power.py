"""The streaming power method: one power step a block of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array
from lrtheory.random import Stream
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming._products import add_products, next_directions, partition
from lrtheory.streaming._starts import aligned, orthonormal_rows, start_rows
from lrtheory.streaming.sources import Chunk, row_count


class BlockPower(StreamingEstimator):
    """w <- y / ||y||,  y = sum_i a_i <a_i, w> over the rows of a block [1]_; with k > 1 the rows of W by Gram-Schmidt.

    Parameters
    ----------
    n_blocks : int, optional
        T equal blocks, the first ones a row longer where that does not come out even. It needs the number of rows.
        Rows beyond it go on in blocks of that length.
    block_size : int, optional
        Rows of a block, instead of `n_blocks`. With neither there are ``ceil(log d / log gap_guess) + 2`` blocks where
        the number of rows is known, and else blocks of 1, 2, 4, .. rows.
    n_rows : int, optional
        Rows of the stream. `fit` finds it out for arrays, CSR rows, and .npy and Parquet files.
    gap_guess : float
        R > 1: each block shrinks what is not along v_1 to 1 / R, twice the exponent in squares.
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
    The others are those of `StreamingEstimator`; the batch shape is the broadcast of those of start and stream. Rows
    must come in random order. Noise is that of the last block alone, see `theory.block_power_sin2`. A result takes the
    open block as if it ended there, once it has half of its rows; a shorter one is left out, being mostly noise. In
    both cases it stays open. A block without any energy along W changes nothing. Not mergeable.

    `explained_energy_` scales the energy that the last block's rows have along the direction before it to all rows:
    honest for rows in random order, since no row is seen by the direction that it is measured with (with one block
    that is the start).

    For one component rows are taken one by one, and no division into chunks changes a bit; for more, by matrix
    products, which agree up to rounding. Cost: 4 k d operations a row, O(nnz k) for CSR rows.

    References
    ----------
    .. [1] I. Mitliagkas, C. Caramanis, P. Jain, Memory limited, streaming PCA, NeurIPS 2013, arXiv:1307.0032. M. Hardt,
       E. Price, The noisy power method, arXiv:1311.2495.
    """

    def __init__(
        self,
        n_blocks: int | None = None,
        *,
        block_size: int | None = None,
        n_rows: int | None = None,
        gap_guess: float = 4.0,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.n_rows = n_rows
        self.gap_guess = gap_guess
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _foresee(self, source: Any, order: Any) -> None:
        self._told_rows = row_count(source, order)

    _takes_device_rows = True

    def _begin(self, d: int) -> None:
        n_rows = getattr(self, "_told_rows", None) if self.n_rows is None else self.n_rows
        self._partition = partition(d, self.n_blocks, self.block_size, n_rows, self.gap_guess)
        w = start_rows(self.start, self.n_components, d, (), self.stream)
        self._batch_shape = w.shape[:-2]
        self._w = aligned(orthonormal_rows(w.reshape(-1, *w.shape[-2:]))[0])
        self._y = aligned(np.zeros_like(self._w))
        self._energy = np.zeros(self._w.shape[:-1])  # of a row, in the block before
        self._closed = self._filled = 0

    def _absorb(self, rows: Chunk) -> float:
        total, first = 0.0, 0
        while first < rows.shape[0]:
            left = self._partition.length(self._closed) - self._filled
            if left == 0:
                self._close()
                continue
            end = min(first + left, rows.shape[0])
            piece = rows if (first, end) == (0, rows.shape[0]) else rows[first:end]
            total += self._take_piece(piece, self.n_seen_ + first)
            self._filled += end - first
            first = end
        return total

    def _take_piece(self, rows: Chunk, first: int) -> float:
        """Take rows of one block, of which the first has this number; return the sum of their squared norms."""
        return add_products(rows, self._w, self._y)

    def _close(self) -> None:
        self._w, self._energy = self._after_block()
        self._y[:] = 0.0
        self._closed, self._filled = self._closed + 1, 0

    def _after_block(self) -> tuple[np.ndarray, np.ndarray]:
        """Return directions after the open block, if it ended here, and the energies of one of its rows along w."""
        return next_directions(self._sums(), self._w)[0], (self._w * self._y).sum(-1) / self._filled

    def _sums(self) -> np.ndarray:
        return self._y

    @property
    def _short(self) -> bool:
        """Whether the open block is too short for a result."""
        return self._closed > 0 and 2 * self._filled < self._partition.length(self._closed)

    def _result(self) -> tuple[np.ndarray, np.ndarray]:
        return (self._w, self._energy) if self._short else self._after_block()

    def _save(self) -> Any:
        return self._w.copy(), self._y.copy(), self._energy.copy(), self._closed, self._filled

    def _restore(self, saved: Any) -> None:
        self._w, self._y, self._energy, self._closed, self._filled = saved

    def _components(self) -> Array:
        return self._result()[0].reshape(*self._batch_shape, *self._w.shape[1:])

    def _energies(self) -> Array:
        return self.n_seen_ * self._result()[1].reshape(*self._batch_shape, self._w.shape[1])

    def _state_size(self) -> int:
        return self._w.size + self._y.size + self._energy.size

    @property
    def n_blocks_(self) -> int:
        self._check_begun()
        return self._closed + (self._filled > 0)
