"""Oja's method for rows with heavy tails: clipped rows, and the median of several runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.random import Stream, as_stream
from lrtheory.streaming._checks import integer, reals
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming._rates import Schedule
from lrtheory.streaming.oja import Oja
from lrtheory.streaming.sources import Chunk, as_chunk


class ClippedOja(Oja):
    """Oja's method on the rows ``min(1, tau / ||a||) a``, with tau a running quantile of the norms.

    ``log tau <- log tau + t^{-0.6} (q - 1{||a_t|| <= tau})``, from the norm of the first row that is not zero: a
    stochastic approximation of the q-quantile that remembers one number. A row is clipped by the tau of those before.

    Parameters
    ----------
    step_size
        As of `Oja`, like all that are not listed here.
    quantile : float
        q, between 0 and 1.

    Attributes
    ----------
    threshold_ : float
        tau.

    Notes
    -----
    The others are those of `Oja`; energies are those of the clipped rows, `frobenius2_` is that of the rows as they
    came. Clipping keeps v_1 where rows of all lengths point the same way, as those of an elliptical distribution do;
    where heavy rows carry v_1 it throws away what `HeavyRows` keeps. Cost: that of `Oja` and one more read and write.
    """

    checks_first = True
    _takes_device_rows = False

    def __init__(
        self,
        step_size: float | Array,
        *,
        quantile: float = 0.9,
        schedule: Schedule = "constant",
        t0: float = 0.0,
        n_components: int = 1,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Array | Stream = 0,
    ) -> None:
        super().__init__(
            step_size,
            schedule=schedule,
            t0=t0,
            n_components=n_components,
            start=start,
            center=center,
            scale=scale,
            check_finite=check_finite,
            stream=stream,
        )
        self.quantile = quantile

    def _begin(self, d: int) -> None:
        if not 0 < reals("quantile", self.quantile) < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile!r}")
        super()._begin(d)
        self._clipped_by = (0, 0.0)

    def _absorb(self, rows: Chunk) -> float:
        energies = twin("lrtheory.streaming.power", self._w).row_energies(rows)
        factors = np.empty(energies.size)
        kernels = twin("lrtheory.streaming.robust", self._w)
        clipped_by = kernels.clip_factors(energies, float(self.quantile), *self._clipped_by, factors)
        super()._absorb(scaled_rows(rows, factors))  # refuses rows beyond the end of a schedule
        self._clipped_by = clipped_by
        return float(energies.sum())

    @property
    def threshold_(self) -> float:
        self._check_seen()
        return float(np.exp(self._clipped_by[1])) * self.scale_

    def _state_size(self) -> int:
        return super()._state_size() + 2


class GeometricMedianOja(StreamingEstimator):
    """Oja's method on r disjoint parts of the rows, and the run that has most of the others near it.

    Row i goes to run i mod r. Of the runs' vectors that one is returned whose ``ceil(r / 2)``-th nearest, itself
    counted, is nearest in sin^2: where more than half of the runs are within an angle of v_1, so is it within three
    times that angle. A success with constant probability becomes one with probability 1 - exp(-Omega(r)).

    Parameters
    ----------
    step_size, schedule, t0, center, scale, check_finite, stream
        As of `Oja`; t counts the rows of a run.
    n_runs : int
        r.

    Attributes
    ----------
    chosen_ : int, or array of the batch shape
        The run that is returned.

    Notes
    -----
    The others are those of `StreamingEstimator`. Cost: that of `Oja`, r vectors. It needs no moment of the rows beyond
    the second. The constant three is the triangle inequality for angles.

    References
    ----------
    D. Hsu, S. Sabato, Loss minimization and parameter estimation with heavy tails, JMLR 17, 2016 (the median in a
    metric space).
    """

    checks_first = True
    n_components = 1

    def __init__(
        self,
        step_size: float | Array,
        *,
        n_runs: int = 8,
        schedule: Schedule = "constant",
        t0: float = 0.0,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.step_size = step_size
        self.n_runs = n_runs
        self.schedule = schedule
        self.t0 = t0
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        stream = as_stream(self.stream)
        options: dict[str, Any] = dict(schedule=self.schedule, t0=self.t0, check_finite=False)
        self._runs = [
            Oja(self.step_size, stream=stream.child("run", j), **options)
            for j in range(integer("n_runs", self.n_runs, 2))
        ]
        for run in self._runs:
            run._take(np.empty((0, d)))

    def _absorb(self, rows: Chunk) -> float:
        before = sum(run.frobenius2_ for run in self._runs)
        for j, run in enumerate(self._runs):
            run._take(as_chunk(rows[(j - self.n_seen_) % self.n_runs :: self.n_runs]))
        return float(sum(run.frobenius2_ for run in self._runs) - before)

    def _directions(self) -> tuple[Array, Array]:
        """The runs' vectors ``(r, *batch, d)``, and for each member of the batch the one that is chosen."""
        v = np.stack([run._components()[..., 0, :] for run in self._runs])
        overlaps = np.einsum("i...d,j...d->ij...", v, v) ** 2
        near = np.sort(overlaps, axis=1)[:, self.n_runs - -(-self.n_runs // 2)]  # of the ceil(r / 2)-th nearest
        return v, np.argmax(near, axis=0)

    @property
    def chosen_(self) -> Any:
        self._check_seen()
        return self._directions()[1][()]

    @property
    def status_(self) -> Any:
        self._check_seen()
        return self._of_chosen(np.stack([run.status_ for run in self._runs]))[()]

    def _of_chosen(self, values: Array) -> Array:
        """Return values ``(r, *batch, ...)`` of the chosen runs."""
        chosen = self._directions()[1]
        index = chosen.reshape(1, *chosen.shape, *(1,) * (values.ndim - 1 - chosen.ndim))
        return np.asarray(np.take_along_axis(values, index, axis=0)[0])

    def _components(self) -> Array:
        return self._of_chosen(self._directions()[0])[..., None, :]

    def _energies(self) -> Array:
        shares = [self.n_seen_ / max(run.n_seen_, 1) for run in self._runs]
        return self._of_chosen(np.stack([run._energies() * s for run, s in zip(self._runs, shares, strict=True)]))

    def _state_size(self) -> int:
        return sum(run._state_size() for run in self._runs)


def scaled_rows(rows: Chunk, factors: np.ndarray) -> Chunk:
    """Return the rows of a chunk, each times its factor."""
    if isinstance(rows, np.ndarray):
        return rows * factors.astype(rows.dtype, copy=False)[:, None]
    return as_chunk(rows.multiply(factors[:, None]).tocsr())
