"""Oja's method and two relatives with one step a row: all rates, starts and schedules of a batch in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, is_cupy, twin
from lrtheory.random import Stream
from lrtheory.streaming import _blocks
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming._rates import Rates, Schedule
from lrtheory.streaming._starts import orthonormal_rows, start_rows
from lrtheory.streaming.sources import Chunk

NORM2, LOG_SCALE, B, BEFORE, SINCE, SCALARS = range(6)
"""As in `_cpu`, which loads a compiler."""
KINDS = {"oja": 0, "krasulina": 1, "adaoja": 2}
MANY = 16  # members of a batch from which rows are taken in blocks by matrix products
CACHED_ENTRIES = 1 << 15  # of a chunk that fewer members read one after another


class _RowSteps(StreamingEstimator):
    """w <- w + eta_i <a_i, w> a_i, with a rate that may depend on the row: `_kind` says how, see `_cpu`.

    State: ``_w (B, k, d)`` and ``_scalars (B, SCALARS)``, B the members of the batch.
    """

    _kind = "oja"

    start: Any

    def _make(self, d: int, batch_shape: tuple[int, ...]) -> None:
        k = self.n_components
        w = start_rows(self.start, k, d, batch_shape, self.stream)
        self._batch_shape = w.shape[:-2]
        self._w = w.reshape(-1, k, d)
        self._scalars = first_scalars(self._w) if k == 1 else np.zeros((self._w.shape[0], SCALARS))

    @property
    def _takes_device_rows(self) -> bool:
        return self.n_components == 1

    def _rates_of(self, m: int) -> np.ndarray:
        """Return the rates ``(m, B)`` of the next m rows."""
        raise NotImplementedError

    def _absorb(self, rows: Chunk) -> float:
        return self._steps(rows, self._rates_of(rows.shape[0]), self.n_seen_)

    def _steps(self, rows: Chunk, rates: np.ndarray, seen: int) -> float:
        """Take rows after `seen` others with the rates ``(m, B)`` and return the sum of their squared norms."""
        members = self._w.shape[0]
        if is_cupy(rows):
            return twin("lrtheory.streaming.", rows).take(
                rows, rates, KINDS[self._kind], seen, self._w[:, 0], self._scalars
            )
        if members >= MANY and isinstance(rows, np.ndarray):
            return _blocks.take(rows, rates, KINDS[self._kind], seen, self._w[:, 0], self._scalars)
        if members == 1 or not isinstance(rows, np.ndarray):
            return self._one_by_one(rows, rates, seen)
        step = max(4, CACHED_ENTRIES // rows.shape[1] // 4 * 4)
        return sum(
            self._one_by_one(rows[i : i + step], rates[i : i + step], seen + i) for i in range(0, rows.shape[0], step)
        )

    def _one_by_one(self, rows: Chunk, rates: np.ndarray, seen: int) -> float:
        norm2 = 0.0
        for b in range(self._w.shape[0]):
            norm2 = _blocks.take_rows(
                rows, np.ascontiguousarray(rates[:, b]), KINDS[self._kind], seen, self._w[b, 0], self._scalars[b]
            )
        return norm2

    def _save(self) -> Any:
        return self._w.copy(), self._scalars.copy()

    def _restore(self, saved: Any) -> None:
        self._w, self._scalars = saved

    def _components(self) -> Array:
        rows = self._w / np.linalg.norm(self._w, axis=-1, keepdims=True)
        return rows.reshape(*self._batch_shape, *rows.shape[1:])

    def _energies(self) -> Array:
        return self._windowed(self._scalars[:, BEFORE] + self._scalars[:, SINCE]).reshape(*self._batch_shape, 1)

    def _windowed(self, sums: np.ndarray) -> np.ndarray:
        """Return sums over the rows from half of the largest power of two <= n on, for all n rows."""
        first = 1 << max(self.n_seen_.bit_length() - 2, 0)
        return sums * (self.n_seen_ / (self.n_seen_ - first + 1))

    def _state_size(self) -> int:
        return self._w.size + self._scalars.size

    @property
    def log_growth_(self) -> Array:
        """log(||w_n|| / ||w_0||), of the batch shape, for each component where there are several: the part of w_n that
        is left of the start is about exp(-2 log_growth) of its squared norm."""
        self._check_begun()
        growth = self._growth()
        return growth.reshape(self._batch_shape + growth.shape[1:])[()]

    def _growth(self) -> np.ndarray:
        return self._scalars[:, LOG_SCALE] + np.log(np.linalg.norm(self._w[:, 0], axis=-1))

    @property
    def status_(self) -> Any:
        """``"no_growth"`` where log_growth < 1, of any component: the rates were too small to tell."""
        self._check_begun()
        growth = self._growth()
        grown = growth if growth.ndim == 1 else growth.min(-1)
        return np.where(grown < 1, "no_growth", "ok").reshape(self._batch_shape)[()]


def first_scalars(w: np.ndarray) -> np.ndarray:
    """Bring vectors w ``(B, 1, d)`` into range, and return their scalars ``(B, SCALARS)`` before the first row."""
    scalars = np.zeros((w.shape[0], SCALARS))
    for b in range(w.shape[0]):
        twin("lrtheory.streaming.", w).rescale(w[b, 0], scalars[b])
    scalars[:, LOG_SCALE] = -0.5 * np.log(scalars[:, NORM2])  # growth is counted from here
    return scalars


class Oja(_RowSteps):
    """w <- w + eta_t <a_t, w> a_t (Oja 1982); for k > 1 the rows of W step together and are kept orthonormal.

    Parameters
    ----------
    step_size : float or array of the batch shape
        eta_t is step_size times the schedule. It has the unit of 1 / ||a||^2: a stream of n rows asks for some
        log(d) / s_1^2, with s_1 the largest singular value.
    schedule : str, callable or array ``(n,)`` or ``(n, *batch)``
        ``"constant"``: 1; ``"inv"``: 1 / (t + t0); ``"inv_sqrt"``: 1 / sqrt(t + t0), for t = 1, 2, ... A callable is
        given an array of t + t0 and returns an array of that length (trailing batch axes allowed). An array gives the
        numbers themselves, and may not end before the stream does.
    t0 : float
    n_components : int
        k.
    start : array ``(d,)``, ``(k, d)`` or ``(*batch, k, d)``, optional
        w before the first row; default: standard normal, from `stream`. One orthogonal to the answer never finds it.
    center : bool
        Subtract the running mean: the rows ``sqrt((t - 1) / t) (a_t - mean of those before)`` are taken, whose sum of
        outer products is that of the centered matrix.
    scale : float or str
        Rows are divided by it, and step sizes belong to the divided rows. ``"first_row"`` takes the power of two next
        to the largest entry of the first row that is not zero; for rows whose squared norms overflow or underflow.
    check_finite : bool
        Refuse NaN and infinity; costs a copy of w a chunk.
    stream : int, integer array of the batch shape, or Stream
        Of the start. Column j has its own sub-stream.

    Attributes
    ----------
    log_growth_ : array ``(*batch,)``, or ``(*batch, k)`` for k > 1

    Notes
    -----
    The others are those of `StreamingEstimator`; the batch shape is the broadcast of those of step size, schedule,
    start and stream. Cost: 6 d operations a row, one read of the rows; O(nnz) for CSR rows and k = 1. Sixteen members
    or more, and k > 1, share matrix products of blocks of rows, which are the same steps up to rounding: cutting the
    stream into other chunks then changes the last digits, while for k = 1 and fewer than `_cpu.WIDE` columns it
    changes no bit. Normalisation only keeps numbers in range. Not mergeable.

    `explained_energy_` scales the energy of the newest half or more of the rows, each along the direction before it, to
    all rows: honest for rows in random order, since no row is seen by the direction that it is measured with.

    References
    ----------
    E. Oja, Simplified neuron model as a principal component analyzer, J. Math. Biology 15, 1982. P. Jain, C. Jin, S.
    Kakade, P. Netrapalli, A. Sidford, Streaming PCA, arXiv:1602.06929.
    """

    def __init__(
        self,
        step_size: float | Array,
        *,
        schedule: Schedule = "constant",
        t0: float = 0.0,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        self.step_size = step_size
        self.schedule = schedule
        self.t0 = t0
        self.n_components = n_components
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        self._rates = Rates(self.step_size, self.schedule, self.t0)
        self._make(d, self._rates.batch_shape)
        if self.n_components > 1:
            self._w = orthonormal_rows(self._w)[0]
            shape = (self._w.shape[0], self.n_components)
            self._log_lengths, self._before, self._since = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def _rates_of(self, m: int) -> np.ndarray:
        return self._rates.of_members(self.n_seen_, m, self._batch_shape)

    def _absorb(self, rows: Chunk) -> float:
        if self.n_components == 1:
            return super()._absorb(rows)
        sums = (self._log_lengths, self._before, self._since)
        self._w, norm2 = _blocks.take_subspaces(rows, self._rates_of(rows.shape[0]), self.n_seen_, self._w, *sums)
        return norm2

    def _save(self) -> Any:
        if self.n_components == 1:
            return super()._save()
        return self._w.copy(), self._log_lengths.copy(), self._before.copy(), self._since.copy()

    def _restore(self, saved: Any) -> None:
        if self.n_components == 1:
            super()._restore(saved)
        else:
            self._w, self._log_lengths, self._before, self._since = saved

    def _energies(self) -> Array:
        if self.n_components == 1:
            return super()._energies()
        return self._windowed(self._before + self._since).reshape(*self._batch_shape, self.n_components)

    def _state_size(self) -> int:
        return super()._state_size() if self.n_components == 1 else self._w.size + 3 * self._since.size

    def _growth(self) -> np.ndarray:
        return super()._growth() if self.n_components == 1 else self._log_lengths


class Krasulina(Oja):
    """w <- w + eta_t (s a_t - (s^2 / ||w||^2) w), s = <a_t, w> (Krasulina 1969): Oja's step without its part along w.

    Parameters are those of `Oja`, with one component; see `MatrixKrasulina` for more.

    Notes
    -----
    The step is ``1 - eta rho`` times Oja's with rate ``eta / (1 - eta rho)``, rho = s^2 / ||w||^2, and so is taken in
    O(nnz) for CSR rows. `log_growth_` is that of those steps of Oja's.

    References
    ----------
    T. P. Krasulina, The method of stochastic approximation for the determination of the least eigenvalue of a
    symmetrical matrix, USSR Comput. Math. Math. Phys. 9, 1969.
    """

    _kind = "krasulina"

    def _begin(self, d: int) -> None:
        if self.n_components != 1:
            raise ValueError(f"Krasulina has one component, got n_components={self.n_components}: see MatrixKrasulina")
        super()._begin(d)
