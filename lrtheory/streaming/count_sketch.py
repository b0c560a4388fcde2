"""CountSketch of the rows of a stream: energies |A v|^2 of any v after one pass, at one addition an entry."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.operators import _counter
from lrtheory.random import Stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import squared_norm
from lrtheory.streaming._merging import RandomSummary, is_dense, sketched_energy, top_of
from lrtheory.streaming.sources import Chunk

HASHED_ROWS = 1 << 14  # at a time


class CountSketch(RandomSummary):
    """S[h(i)] <- S[h(i)] + s(i) a_i with random buckets h(i) and signs s(i) (Charikar, Chen and Farach-Colton 2002).

    ``E S^T S = A^T A``, and ``||S v||^2`` estimates ``||A v||^2`` with a relative standard deviation of at most
    sqrt(2 / n_buckets), for a v that does not depend on the sketch's random numbers.

    Parameters
    ----------
    n_buckets : int
        r, rows of the sketch.
    n_components : int
        k, at most r.
    partition : int, str or tuple of them
        Names this part of the rows. Parts that are to be merged must differ in it, and in no other parameter: then
        buckets and signs of all rows are independent, and the sum of the sketches is a sketch of all rows.
    center, scale, check_finite
        As in `Oja`.
    stream : int or Stream
        Of buckets and signs.

    Attributes
    ----------
    sketch_ : array ``(r, d)``
        S, in float64; a copy.
    partitions_ : tuple
        The partitions that it holds.

    Notes
    -----
    The others are those of `StreamingEstimator`. Components and energies are those of S: the top energy is biased
    upwards, and small r finds no direction that the rest of F^2 / r hides. For an unbiased energy of a direction found
    otherwise use `energy`.

    Row i of a partition is hashed by output i + 1 of SplitMix64 seeded by a key of (stream, partition): the bucket by
    its upper 32 bits, to a relative bias of r / 2^32, and the sign by its lowest. Cost: two reads of the rows, 2 d
    operations a row; O(nnz) for CSR rows. The order of additions within a bucket is that of the rows, so that chunks
    change no bit.

    References
    ----------
    M. Charikar, K. Chen, M. Farach-Colton, Finding frequent items in data streams, ICALP 2002.
    """

    checks_first = True

    def __init__(
        self,
        n_buckets: int = 256,
        *,
        n_components: int = 1,
        partition: Any = 0,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.n_buckets = n_buckets
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
        integer("n_components", self.n_components, 1, integer("n_buckets", self.n_buckets, 1, 1 << 31))
        super()._begin(d)
        self._key = int(self._own_stream.generator().integers(1 << 64, dtype=np.uint64))
        self._sketch = np.zeros((self.n_buckets, d))

    def _absorb(self, rows: Chunk) -> float:
        kernels = twin("lrtheory.scatter", self._sketch)
        parts = None if is_dense(rows) else kernels.sparse_parts(rows)
        m = rows.shape[0]
        for first in range(0, m, HASHED_ROWS):
            last = min(first + HASHED_ROWS, m)
            buckets, signs = hashed(self._key, self._drawn + first, self._drawn + last, self.n_buckets)
            if parts is None:
                kernels.add_rows(rows[first:last], buckets, signs, self._sketch)
            else:
                kernels.add_sparse_rows(parts, first, last, buckets, signs, self._sketch)
        self._drawn += m
        return squared_norm(rows)

    def _join(self, other: CountSketch) -> None:
        super()._join(other)
        self._sketch += other._sketch

    def _components(self) -> Array:
        return top_of(self._sketch, self.n_components)[1]

    def _energies(self) -> Array:
        return top_of(self._sketch, self.n_components)[0]

    def _state_size(self) -> int:
        return self._sketch.size


def hashed(key: int, first: int, last: int, n_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return buckets, int64, and signs, float64, of the rows first..last-1."""
    words = _counter.words(key, first, last)
    buckets = ((words >> np.uint64(32)) * np.uint64(n_buckets)) >> np.uint64(32)
    return buckets.astype(np.int64), 2.0 * (words & np.uint64(1)).astype(np.float64) - 1.0
