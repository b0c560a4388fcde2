"""Heavy rows kept as they are, light rows through a block method: top eigenvectors of streams in random order."""

from __future__ import annotations

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.names import check_name
from lrtheory.random import Stream, as_stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._merging import top_of
from lrtheory.streaming._products import add_products, cached_parts, next_directions
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.heavy import _KeepsHeavyRows
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.sources import Chunk

COMBINATIONS = ("select", "rayleigh_ritz")
PART_ENTRIES = 1 << 17  # of rows that are sorted, then used
EXTRA = 2  # more right singular vectors of the heavy rows than components, for Rayleigh-Ritz


class _HeavyAndLight(_KeepsHeavyRows):
    """Sorts rows into those that are kept and those that leave, which go to `_take_light`."""

    _batch_shape: tuple[int, ...]
    _w: np.ndarray

    def _separate(self, d: int) -> None:
        if self._batch_shape:
            raise ValueError(
                f"{type(self).__name__} takes one start, got a batch of shape {self._batch_shape} (by start or stream)"
            )
        self._keep(d)
        self._n_light = 0

    def _take_light(self, rows: Chunk) -> None:
        raise NotImplementedError

    def _sort(self, rows: Chunk, first: int) -> float:
        """Take rows, of which the first has this number; return the sum of their squared norms."""
        total = 0.0
        for part in cached_parts(rows, PART_ENTRIES):
            energies = twin("lrtheory.streaming.power", self._w).row_energies(part)
            light = self._heavy.exchange(part, energies, first + np.arange(part.shape[0]))
            self._n_light += light.shape[0]
            if light.shape[0]:
                self._take_light(light)
            first += part.shape[0]
            total += float(energies.sum())
        return total


class HeavyBlockPower(_HeavyAndLight, BlockPower):
    """Rows of large norm are kept, the others go through `BlockPower` and a CountSketch; at the end the two combine.

    Kacham and Woodruff's algorithm for random order [1]_, reconstructed from its statement: one of the two parts of A
    has at least half of v_1's energy, and then its top vector is v_1 up to sin2 = O(1 / R), see `theory.half_sin2`.

    Parameters
    ----------
    h_max : int
        Rows of largest norm that are kept; 0 leaves the block power method.
    log_power : float
        A row is heavy with ``||a||^2 >= F^2 / (d (log d)^log_power)``.
    combine : str
        ``"select"``: of the light rows' top vector and that of the heavy ones the one of larger energy, as in [1]_.
        ``"rayleigh_ritz"``: the blocks' products take the kept rows in, and the result is the vector of largest energy
        in the span of theirs and of the first right singular vectors of the heavy rows. Never less energy, and on
        streams where both parts matter a far smaller error.
    n_buckets : int
        r of the CountSketch.
    n_blocks, block_size, n_rows, gap_guess, n_components, start, center, scale, check_finite
        As of `BlockPower`; one start.
    stream : int or Stream
        Of the start and the sketch.

    Attributes
    ----------
    n_heavy_, heavy_threshold_, kept_rows_, kept_numbers_
        See `HeavyRows`; `status_` as well.
    candidates_ : array ``(c, k, d)``
        With "select": the light rows' answer and that of the heavy ones, where there are at least k.
    candidate_energies_ : array ``(c, k)``

    Notes
    -----
    The others are those of `StreamingEstimator`. The energy of v is ``||H v||^2 + ||C v||^2``, H the kept rows and C
    the sketch of the others: exact for H, with a relative deviation of sqrt(2 / r) at most for the rest. That is less
    noise than a sketch of all rows has. A row that is driven out by a heavier one counts as light from then on; a
    block's product is scaled from its light rows to all of them. Kept rows that are not heavy in the end join the last
    block. Not mergeable.

    Cost: BlockPower's and 3 d more operations a row; ``(h_max + r + 2 k) d`` numbers.

    References
    ----------
    .. [1] P. Kacham, D. P. Woodruff, Approximating the top eigenvector in random order streams, NeurIPS 2024,
       arXiv:2412.11963.
    """

    def __init__(
        self,
        h_max: int = 64,
        *,
        log_power: float = 1.0,
        combine: str = "rayleigh_ritz",
        n_buckets: int = 256,
        n_blocks: int | None = None,
        block_size: int | None = None,
        n_rows: int | None = None,
        gap_guess: float = 4.0,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.h_max = h_max
        self.log_power = log_power
        self.combine = combine
        self.n_buckets = n_buckets
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

    def _begin(self, d: int) -> None:
        self._together = check_name("combine", self.combine, COMBINATIONS) == "rayleigh_ritz"
        super()._begin(d)
        self._separate(d)
        self._light_before = 0  # light rows before the open block
        self._r = integer("n_buckets", self.n_buckets)
        self._sketch = CountSketch(self._r, check_finite=False, stream=as_stream(self.stream).child("sketch"))

    def _take_piece(self, rows: Chunk, first: int) -> float:
        return self._sort(rows, first)

    def _take_light(self, rows: Chunk) -> None:
        add_products(rows, self._w, self._y)
        self._sketch.partial_fit(rows)

    def _close(self) -> None:
        super()._close()
        self._light_before = self._n_light

    def _sums(self) -> np.ndarray:
        if not self._together:
            return self._y
        kept, light = self._heavy.rows, self._n_light - self._light_before
        return (self._n_light / light if light else 0.0) * self._y + _products(kept, self._w)

    def _light_directions(self) -> np.ndarray:
        rest, sums = self._heavy.rows[self.n_heavy_ :], self._sums()
        short = self._short
        if not self._together:
            joined = self._n_light - self._light_before + rest.shape[0]
            short = short and 2 * joined < self._partition.length(self._closed)
            sums = sums + _products(rest, self._w)
        return self._w[0] if short else next_directions(sums, self._w)[0][0]

    @property
    def candidates_(self) -> Array:
        self._check_seen()
        k, heavy = self._w.shape[1], self._heavy.rows[: self.n_heavy_]
        found = [self._light_directions()] if self._n_light or heavy.shape[0] < k else []
        if heavy.shape[0] >= k:
            found.append(top_of(heavy, k)[1])
        return np.stack(found)

    @property
    def candidate_energies_(self) -> Array:
        v = self.candidates_
        return np.sum(np.square(self._products_with(v)), axis=-2)

    def _products_with(self, v: Array) -> Array:
        """Return ``[H; C] v`` for rows v ``(..., q, d)``, in columns: shape ``(..., h + r, q)``."""
        kept = self._heavy.rows
        parts = np.concatenate([kept, self._sketch.sketch_]) if self._n_light else kept
        return parts @ np.swapaxes(v, -1, -2)

    def _result(self) -> tuple[np.ndarray, np.ndarray]:
        k = self._w.shape[1]
        if not self._together:
            energies = self.candidate_energies_
            chosen = int(np.argmax(energies.sum(-1)))
            return self.candidates_[chosen], energies[chosen]
        heavy = top_of(self._heavy.rows[: self.n_heavy_], k + EXTRA)[1]
        _, values, basis = np.linalg.svd(np.concatenate([self._light_directions(), heavy]), full_matrices=False)
        basis = basis[values > 1e-8 * values[0]]  # directions that are not of rounding errors alone
        products = self._products_with(basis)
        values, vectors = np.linalg.eigh(products.T @ products)
        return vectors[:, ::-1][:, :k].T @ basis, values[::-1][:k]

    def _components(self) -> Array:
        return self._result()[0]

    def _energies(self) -> Array:
        return self._result()[1]

    def _state_size(self) -> int:
        return super()._state_size() + self._heavy.size + self._r * self.n_features_in_


class HeavyHistory(_HeavyAndLight, HistoryPCA):
    """Rows of large norm are kept, the others go through `HistoryPCA`; the top vectors of both together are returned.

    These are the right singular vectors of ``[H; (n_light lambda)^{1/2} v^T]``, H the kept rows, v and lambda what
    History PCA found for the n_light others.

    Parameters
    ----------
    h_max : int
        Rows of largest norm that are kept; 0 leaves History PCA.
    log_power : float
        For `n_heavy_` and `status_` alone, see `HeavyRows`.
    block_size, inner, n_components, start, center, scale, check_finite, stream
        As of `HistoryPCA`; one start.

    Attributes
    ----------
    n_heavy_, heavy_threshold_, kept_rows_, kept_numbers_
        See `HeavyRows`; `status_` as well.

    Notes
    -----
    The others are those of `StreamingEstimator`. A row that is driven out by a heavier one counts as light from then
    on. For rows in random order, of which a few may be very heavy. Not mergeable. Cost: HistoryPCA's and 2 d operations
    more a row; ``(h_max + 2 k) d`` numbers.
    """

    def __init__(
        self,
        h_max: int = 64,
        *,
        log_power: float = 1.0,
        block_size: int = 20,
        inner: int = 1,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.h_max = h_max
        self.log_power = log_power
        self.block_size = block_size
        self.inner = inner
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        super()._begin(d)
        self._separate(d)

    def _absorb(self, rows: Chunk) -> float:
        return self._sort(rows, self.n_seen_)

    def _take_light(self, rows: Chunk) -> None:
        HistoryPCA._absorb(self, rows)

    def _result(self) -> tuple[np.ndarray, np.ndarray]:
        w, eigenvalues = self._after_block() if self._n_light else (self._w, self._eigenvalues)
        light = np.sqrt(self._n_light * eigenvalues[0])[:, None] * w[0]
        energies, directions = top_of(np.concatenate([self._heavy.rows, light]), w.shape[1])
        return next_directions((np.sqrt(energies)[:, None] * directions)[None], w)[0][0], energies

    def _components(self) -> Array:
        return self._result()[0]

    def _energies(self) -> Array:
        return self._result()[1]

    def _state_size(self) -> int:
        return super()._state_size() + self._heavy.size


def _products(rows: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return ``(rows w^T)^T rows`` for w ``(B, k, d)``."""
    return np.swapaxes(rows @ np.swapaxes(w, -1, -2), -1, -2) @ rows
