"""The heaviest rows of a stream, kept as they are."""

from __future__ import annotations

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.streaming._checks import integer, reals
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming._merging import MergeableEstimator, top_of
from lrtheory.streaming.sources import Chunk
from lrtheory.streaming.theory import heavy_threshold


class LargestRows:
    """The h_max rows of largest squared norm, of equal ones the oldest.

    Parameters
    ----------
    h_max, d : int

    Attributes
    ----------
    rows : array ``(h, d)``, float64
    energies, numbers : arrays ``(h,)``
        Squared norms, and numbers of the rows in the stream.
    largest_left : float
        The largest squared norm of the rows that are not kept.
    """

    def __init__(self, h_max: int, d: int) -> None:
        self._storage = np.empty((h_max, d))
        self._kept = np.empty(h_max)
        self._numbers = np.empty(h_max, dtype=np.int64)
        self._sources = np.empty(h_max, dtype=np.int64)
        self._count = 0
        self.largest_left = 0.0

    def offer(self, rows: Chunk, energies: np.ndarray, numbers: np.ndarray) -> None:
        """Keep what is heavy enough; parameters are those of `exchange`."""
        self._offer(rows, energies, numbers)
        self._store(rows)

    def exchange(self, rows: Chunk, energies: np.ndarray, numbers: np.ndarray) -> Chunk:
        """Keep what is heavy enough; return the rows that leave for it, or at once, in the order of their leaving.

        Parameters
        ----------
        rows : array ``(m, d)`` or CSR
        energies, numbers : arrays ``(m,)``
            Squared norms, and numbers in the stream.
        """
        before = self.numbers
        left = self._offer(rows, energies, numbers)
        if left.size == rows.shape[0] and np.array_equal(before, self.numbers):
            return rows
        leaving = self._gathered(rows, left)
        self._store(rows)
        return leaving

    def _offer(self, rows: Chunk, energies: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the sources, see `_cpu_power.offer`, of the rows that leave."""
        left = np.empty(rows.shape[0], dtype=np.int64)
        heap = self._kept, self._numbers, self._sources
        self._count, departures, largest = twin("lrtheory.streaming.power", energies).offer(
            energies, np.asarray(numbers, dtype=np.int64), *heap, self._count, left
        )
        self.largest_left = max(self.largest_left, largest)
        return left[:departures]

    def _gathered(self, rows: Chunk, sources: np.ndarray) -> Chunk:
        old = sources < 0
        own = sources[~old]
        stored = self._storage[-1 - sources[old]]
        if isinstance(rows, np.ndarray):
            found = rows.take(np.where(old, 0, sources), axis=0)
            if stored.size:
                found = found.astype(np.float64, copy=False)
                found[old] = stored
            return found
        if not stored.size:
            return rows[own]
        from scipy.sparse import csr_array, vstack

        place = np.empty(sources.size, dtype=np.int64)
        place[~old], place[old] = np.arange(own.size), np.arange(own.size, sources.size)
        return vstack([rows[own], csr_array(stored)], format="csr")[place]

    def _store(self, rows: Chunk) -> None:
        sources = self._sources[: self._count]
        new = np.flatnonzero(sources >= 0)
        free = np.ones(self._kept.size, dtype=bool)
        free[-1 - sources[sources < 0]] = False
        places = np.flatnonzero(free)[: new.size]
        chosen = rows[sources[new]]
        self._storage[places] = chosen if isinstance(chosen, np.ndarray) else chosen.toarray()
        sources[new] = -1 - places

    @property
    def energies(self) -> np.ndarray:
        return self._kept[self._by_energy]

    @property
    def numbers(self) -> np.ndarray:
        return self._numbers[self._by_energy]

    @property
    def rows(self) -> np.ndarray:
        return self._storage[-1 - self._sources[self._by_energy]]

    @property
    def _by_energy(self) -> np.ndarray:
        """Heap entries by falling squared norm, equal ones as they came."""
        return np.lexsort((self._numbers[: self._count], -self._kept[: self._count]))

    @property
    def size(self) -> int:
        """Numbers that are kept."""
        return self._storage.size + 2 * self._kept.size

    def __len__(self) -> int:
        return self._count


class _KeepsHeavyRows(StreamingEstimator):
    """What estimators with a `LargestRows`, ``_heavy``, have in common."""

    h_max: int
    log_power: float
    checks_first = True

    _heavy: LargestRows

    def _keep(self, d: int) -> None:
        self._log_power = float(reals("log_power", self.log_power))
        self._heavy = LargestRows(integer("h_max", self.h_max, 0), d)

    @property
    def heavy_threshold_(self) -> float:
        """The squared norm from which a row is heavy: F^2 / (d (log d)^log_power)."""
        self._check_begun()
        return float(heavy_threshold(self.frobenius2_, max(self.n_features_in_, 2), self._log_power))

    @property
    def n_heavy_(self) -> int:
        """Heavy rows among those that are kept."""
        self._check_begun()
        return int(np.sum(self._heavy.energies >= self.heavy_threshold_))

    @property
    def status_(self) -> str:
        """``"saturated"`` where a heavy row could not be kept."""
        self._check_begun()
        lost = self.frobenius2_ > 0 and self._heavy.largest_left >= self.heavy_threshold_
        return "saturated" if lost else "ok"

    @property
    def kept_rows_(self) -> Array:
        """The rows that are kept ``(h, d)``, by falling norm; those from the first that is not heavy on are not."""
        self._check_begun()
        return self._heavy.rows.astype(self._dtype, copy=False)

    @property
    def kept_numbers_(self) -> Array:
        """Their numbers in the stream ``(h,)``."""
        self._check_begun()
        return self._heavy.numbers


class HeavyRows(_KeepsHeavyRows, MergeableEstimator):
    """The h_max rows of largest norm, and the top right singular vectors of these alone.

    Parameters
    ----------
    h_max : int
    log_power : float
        A row is heavy with ``||a||^2 >= F^2 / (d (log d)^log_power)``; [1]_ has a polylogarithm there.
    n_components : int
        k, at most h_max.
    center, scale, check_finite
        As of `Oja`.

    Attributes
    ----------
    kept_rows_ : array ``(h, d)``
        By falling norm, equal ones as they came: the first h_max of all rows in that order.
    kept_numbers_ : array ``(h,)``
        Their numbers in the stream.
    n_heavy_ : int
        How many of them are heavy.
    heavy_threshold_ : float

    Notes
    -----
    The others are those of `StreamingEstimator`; `status_` is ``"saturated"`` where a heavy row could not be kept. F^2
    is that of the rows so far: a row that is heavy at the end was heavy when it came. Cost: 2 d operations a row, and d
    a row that is kept. See `theory.heavy_subset_sin2` for what stored rows can and cannot tell.

    Mergeable: the rows of the other one follow this one's, in the numbers too. (With ``center=True`` the row for the
    distance of the two means has the number of the first of them.)

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
        n_components: int = 1,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
    ) -> None:
        self.h_max = h_max
        self.log_power = log_power
        self.n_components = n_components
        self.center = center
        self.scale = scale
        self.check_finite = check_finite

    def _begin(self, d: int) -> None:
        self._k = self.n_components
        integer("h_max", self.h_max, self._k)
        self._keep(d)

    def _absorb(self, rows: Chunk) -> float:
        energies = twin("lrtheory.streaming.power", self._heavy.rows).row_energies(rows)
        self._heavy.offer(rows, energies, self.n_seen_ + np.arange(rows.shape[0]))
        return float(energies.sum())

    def _join(self, other: HeavyRows) -> None:
        theirs = other._heavy
        self._heavy.offer(theirs.rows, theirs.energies, self.n_seen_ + theirs.numbers)
        self._heavy.largest_left = max(self._heavy.largest_left, theirs.largest_left)

    def _components(self) -> Array:
        self._check_rows()
        return top_of(self._heavy.rows, self._k)[1]

    def _energies(self) -> Array:
        self._check_rows()
        return top_of(self._heavy.rows, self._k)[0]

    def _check_rows(self) -> None:
        if len(self._heavy) < self._k:
            raise ValueError(f"n_components={self._k}, but only {len(self._heavy)} rows came so far")

    def _state_size(self) -> int:
        return self._heavy.size
