"""Two more summaries of rows: Gaussian combinations of all of them, and a sample drawn by squared norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array
from lrtheory.random import Stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import squared_norm
from lrtheory.streaming._merging import RandomSummary, is_dense, sketched_energy, top_of
from lrtheory.streaming.sources import Chunk

BLOCK = 64
"""Rows whose normal numbers are drawn together."""
MULTIPLIED = 8 * BLOCK
"""Rows whose product with their numbers is taken at once."""
CACHED_ENTRIES = 1 << 15


class GaussianSketch(RandomSummary):
    """S <- S + g_i a_i^T with g_i of ``size`` independent entries N(0, 1 / size).

    ``E S^T S = A^T A``; for a v that does not depend on the g_i, ``size ||S v||^2 / ||A v||^2`` has the chi-square
    distribution of `size` degrees of freedom, whatever the rows are: `certificates.energy_interval` is exact.

    Parameters
    ----------
    size : int
        r, rows of the sketch.
    n_components : int
        k, at most r.
    partition, center, scale, check_finite, stream
        As in `CountSketch`.

    Attributes
    ----------
    sketch_ : array ``(r, d)``
        S, in float64; a copy.
    partitions_ : tuple

    Notes
    -----
    The others are those of `StreamingEstimator`; components and energies are those of S, as in `CountSketch`, to which
    this is the expensive twin: 2 r d operations a row and r normal numbers, drawn by Philox for `BLOCK` rows of a
    partition at a time. Chunks change results by rounding alone; one row at a time is slow, since it draws its block.
    """

    checks_first = True

    def __init__(
        self,
        size: int = 256,
        *,
        n_components: int = 1,
        partition: Any = 0,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.size = size
        self.n_components = n_components
        self.partition = partition
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def energy(self, v: Any) -> Any:
        """Return ``||S v||^2`` for v of shape ``(..., d)``: unbiased for ``||A v||^2`` (of the divided rows)."""
        self._check_begun()
        return sketched_energy(self._sketch, v)

    @property
    def sketch_(self) -> Array:
        self._check_begun()
        return self._sketch.copy()

    def _begin(self, d: int) -> None:
        integer("n_components", self.n_components, 1, integer("size", self.size))
        super()._begin(d)
        self._sketch = np.zeros((self.size, d))

    def _absorb(self, rows: Chunk) -> float:
        m = rows.shape[0]
        for first in range(0, m, MULTIPLIED):
            last = min(first + MULTIPLIED, m)
            normals, some = self._normals(self._drawn + first, self._drawn + last), rows[first:last]
            # sparse rows from the left, so that the product stays one of sparse by dense
            self._sketch += normals.T @ some if is_dense(rows) else (some.T @ normals).T
        self._drawn += m
        return squared_norm(rows)

    def _normals(self, first: int, last: int) -> np.ndarray:
        """Return g_i of the rows first..last-1, shape ``(last - first, size)``."""
        blocks = range(first // BLOCK, (last - 1) // BLOCK + 1)
        normals = np.concatenate([self._own_stream.at(b).normal((BLOCK, self.size)) for b in blocks])
        normals = normals[first - blocks[0] * BLOCK : last - blocks[0] * BLOCK]
        normals /= np.sqrt(self.size)
        return normals

    def _join(self, other: GaussianSketch) -> None:
        super()._join(other)
        self._sketch += other._sketch

    def _components(self) -> Array:
        return top_of(self._sketch, self.n_components)[1]

    def _energies(self) -> Array:
        return top_of(self._sketch, self.n_components)[0]

    def _state_size(self) -> int:
        return self._sketch.size


class RowSampler(RandomSummary):
    """Independent reservoirs of one row each, which hold row i with probability ||a_i||^2 / F^2.

    Row i replaces what a reservoir holds with probability ``||a_i||^2 / F_i^2``, F_i^2 the sum of squared norms so far.
    Scaled to the norm F / sqrt(size) each, the rows make S with ``E S^T S = A^T A``.

    Parameters
    ----------
    size : int
        m, the number of reservoirs.
    n_components : int
        k, at most m.
    partition, center, scale, check_finite, stream
        As in `CountSketch`.

    Attributes
    ----------
    rows_ : array ``(m, d)``
        What the reservoirs hold; a copy.
    sketch_ : array ``(m, d)``
        S, in float64.
    partitions_ : tuple

    Notes
    -----
    The others are those of `StreamingEstimator`; components and energies are those of S. Reservoirs need no random
    number for a row that they let pass: row j is still held after row i with probability ``F_j^2 / F_i^2``, so that one
    uniform number u tells the next row taken, the first with ``F_i^2 > F_j^2 / u``. After n rows of equal norms some
    log(n) numbers were drawn for each reservoir. Cost: two reads of the rows. Chunks change no bit.

    Two samplers merge by taking, for each reservoir, the other's row with the other's share of F^2.

    References
    ----------
    M. Magdon-Ismail, Row sampling for matrix algorithms via a non-commutative Bernstein bound, arXiv:1008.0587.
    """

    checks_first = True

    def __init__(
        self,
        size: int = 256,
        *,
        n_components: int = 1,
        partition: Any = 0,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.size = size
        self.n_components = n_components
        self.partition = partition
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def energy(self, v: Any) -> Any:
        """Return ``||S v||^2`` for v of shape ``(..., d)``: unbiased for ``||A v||^2`` (of the divided rows)."""
        return sketched_energy(self.sketch_, v)

    @property
    def rows_(self) -> Array:
        self._check_begun()
        return self._held.copy()

    @property
    def sketch_(self) -> Array:
        self._check_begun()
        norms = np.sqrt(np.where(self._norms2 > 0, self._norms2, 1.0))
        return self._held * (np.sqrt(self._total / self.size) / norms)[:, None]

    def _begin(self, d: int) -> None:
        integer("n_components", self.n_components, 1, integer("size", self.size))
        super()._begin(d)
        self._held = np.zeros((self.size, d))
        self._norms2 = np.zeros(self.size)
        self._due = np.zeros(self.size)  # F^2 above which a reservoir takes the next row
        self._taken = np.zeros(self.size, dtype=np.int64)  # rows that it took, each with a number of its own
        self._total = 0.0  # F^2, summed row by row, so that chunks change nothing

    def _absorb(self, rows: Chunk) -> float:
        norms2 = _squared_norms(rows)
        sums = np.cumsum(np.concatenate([[self._total], norms2]))[1:]
        chosen = np.full(self.size, -1)
        while (slots := np.flatnonzero(self._due < sums[-1])).size:
            found = np.searchsorted(sums, self._due[slots], side="right")
            chosen[slots] = found
            with np.errstate(over="ignore"):  # beyond any sum: never
                self._due[slots] = sums[found] / self._uniform(slots)
            self._taken[slots] += 1
        slots = np.flatnonzero(chosen >= 0)
        if slots.size:
            taken = rows[chosen[slots]]
            self._held[slots] = taken if is_dense(rows) else taken.toarray()
            self._norms2[slots] = norms2[chosen[slots]]
        self._drawn += rows.shape[0]
        self._total = float(sums[-1])
        return float(np.sum(norms2))

    def _uniform(self, slots: np.ndarray) -> np.ndarray:
        """Return the next number in (0, 1] of each of some reservoirs."""
        numbers = np.empty(slots.size)
        for t in np.unique(self._taken[slots]):
            now = self._taken[slots] == t
            numbers[now] = 1.0 - self._own_stream.at(int(t)).generator().random(self.size)[slots[now]]
        return numbers

    def _join(self, other: RowSampler) -> None:
        generator = self._own_stream.child("merge", self.partitions_, other.partitions_, self._drawn).generator()
        super()._join(other)
        total = self._total + other._total
        theirs = generator.random(self.size) * total >= self._total
        numbers = 1.0 - generator.random(self.size)
        if total == 0:
            return
        self._held[theirs], self._norms2[theirs] = other._held[theirs], other._norms2[theirs]
        self._total = total
        # none was replaced up to here: the next row taken has the same law whatever is held
        self._due = total / numbers

    def _components(self) -> Array:
        return top_of(self.sketch_, self.n_components)[1]

    def _energies(self) -> Array:
        return top_of(self.sketch_, self.n_components)[0]

    def _state_size(self) -> int:
        return self._held.size + self._norms2.size + self._due.size + self._taken.size + 1


def _squared_norms(rows: Chunk) -> np.ndarray:
    """Return the squared norm of each row, in float64."""
    if not is_dense(rows):
        return np.asarray(rows.astype(np.float64).multiply(rows).sum(axis=1)).reshape(-1)
    norms2 = np.empty(rows.shape[0])
    step = max(1, CACHED_ENTRIES // rows.shape[1])
    for first in range(0, rows.shape[0], step):
        some = rows[first : first + step].astype(np.float64, copy=False)
        norms2[first : first + step] = np.einsum("ij,ij->i", some, some)
    return norms2
