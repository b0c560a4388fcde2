"""Oja++: the components of a subspace enter one group after another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array
from lrtheory.random import Stream
from lrtheory.streaming import _blocks
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import positive
from lrtheory.streaming._rates import Rates
from lrtheory.streaming._starts import orthonormal_rows, start_rows
from lrtheory.streaming.oja import _RowSteps
from lrtheory.streaming.sources import Chunk


class OjaPlusPlus(_RowSteps):
    """W <- W + eta_t (W a_t) a_t^T, rows kept orthonormal, with half of the missing rows added every T rows [1]_.

    The first ceil(k / 2) rows of W start with the stream; after T rows of the stream half of the others enter, rounded
    up, and so on until there are k. Rates are step_size until T rows after the last have entered, and then
    ``step_size t0 / (t0 + t)``, t counted from there. A random W of fewer rows has a better conditioned product with
    the leading singular vectors; that is what their late entry gains.

    Parameters
    ----------
    step_size : float or array of the batch shape
    phase_rows : int
        T.
    t0 : float, optional
        Rows in which the rate falls to a half; T by default.
    n_components : int
        k. For k = 1 this is `Oja` with a rate that is constant and then falls as 1 / t.
    start : array ``(d,)``, ``(k, d)`` or ``(*batch, k, d)``, optional
        The rows as they enter; default: standard normal, from `stream`. Those that enter are made orthogonal to those
        that are there.
    center, scale, check_finite, stream
        As of `Oja`.

    Attributes
    ----------
    log_growth_ : array ``(*batch, k)``
        Of each row since it entered.

    Notes
    -----
    The others are those of `StreamingEstimator`; `components_` has as many rows as have entered. The paper's bodies of
    theorems, with its choice of T and rates, were not at hand: the division into halves is a reconstruction. Cost: as
    `Oja` for several components. Not mergeable.

    References
    ----------
    .. [1] Z. Allen-Zhu, Y. Li, First efficient convergence for streaming k-PCA: a global, gap-free, and near-optimal
       rate, arXiv:1607.07837.
    """

    _takes_device_rows = False

    def __init__(
        self,
        step_size: float | Array,
        *,
        phase_rows: int,
        t0: float | None = None,
        n_components: int = 2,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        self.step_size = step_size
        self.phase_rows = phase_rows
        self.t0 = t0
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        length = integer("phase_rows", self.phase_rows)
        self._entries = entries(self.n_components)
        end = length * len(self._entries)
        self._rates = Rates(self.step_size, _Fall(end, length if self.t0 is None else positive("t0", self.t0)), 0.0)
        rows = start_rows(self.start, self.n_components, d, self._rates.batch_shape, self.stream)
        self._batch_shape = rows.shape[:-2]
        self._waiting = rows.reshape(-1, *rows.shape[-2:])
        members = self._waiting.shape[0]
        self._w = np.empty((members, 0, d))
        self._log_lengths, self._before, self._since = (np.empty((members, 0)) for _ in range(3))
        self._entered = np.empty(0, dtype=np.int64)
        self._enter(0)

    def _enter(self, seen: int) -> None:
        """Let the next group of rows in, after `seen` rows of the stream."""
        group = self._entries[0]
        self._entries = self._entries[1:]
        self._w = orthonormal_rows(np.concatenate([self._w, self._waiting[:, :group]], axis=1))[0]
        self._waiting = self._waiting[:, group:]
        none = np.zeros((self._w.shape[0], group))
        self._log_lengths, self._before, self._since = (
            np.concatenate([sums, none], axis=1) for sums in (self._log_lengths, self._before, self._since)
        )
        self._entered = np.concatenate([self._entered, np.full(group, seen)])

    def _rates_of(self, m: int) -> np.ndarray:
        return self._rates.of_members(self.n_seen_, m, self._batch_shape)

    def _absorb(self, rows: Chunk) -> float:
        rates, total, first = self._rates_of(rows.shape[0]), 0.0, 0
        while first < rows.shape[0]:
            seen = self.n_seen_ + first
            if self._entries and seen - self._entered[-1] == self.phase_rows:
                self._enter(seen)
            left = self.phase_rows - (seen - int(self._entered[-1])) if self._entries else rows.shape[0]
            part = slice(first, first + left)
            sums = (self._log_lengths, self._before, self._since)
            self._w, norm2 = _blocks.take_subspaces(rows[part], rates[part], seen, self._w, *sums)
            total += norm2
            first += left
        return total

    def _save(self) -> Any:
        arrays = (self._w, self._log_lengths, self._before, self._since, self._waiting, self._entered)
        return tuple(array.copy() for array in arrays), self._entries

    def _restore(self, saved: Any) -> None:
        (self._w, self._log_lengths, self._before, self._since, self._waiting, self._entered), self._entries = saved

    def _energies(self) -> Array:
        n = self.n_seen_
        uncounted = np.maximum((1 << max(n.bit_length() - 2, 0)) - 1, self._entered)  # see `_windowed`
        energies = (self._before + self._since) * (n / (n - uncounted))
        return energies.reshape(*self._batch_shape, -1)

    def _growth(self) -> np.ndarray:
        return self._log_lengths

    def _state_size(self) -> int:
        return self._w.size + self._waiting.size + 3 * self._since.size


class _Fall:
    """1 until row `end`, then t0 / (t0 + rows since)."""

    def __init__(self, end: int, t0: float) -> None:
        self.end, self.t0 = end, t0

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return self.t0 / (self.t0 + np.maximum(t - self.end, 0.0))


def entries(k: int) -> list[int]:
    """Return how many of k rows enter at each phase: half of those missing, rounded up.

    >>> entries(7)
    [4, 2, 1]
    """
    found = []
    while k > 0:
        found.append(math.ceil(k / 2))
        k -= found[-1]
    return found
