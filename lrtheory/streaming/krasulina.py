"""Matrix Krasulina: several components of a stream by steps along what they leave of a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.random import Stream
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming._products import dense_parts
from lrtheory.streaming._rates import Rates, Schedule
from lrtheory.streaming._starts import orthonormal_rows, start_rows
from lrtheory.streaming.sources import Chunk


class MatrixKrasulina(StreamingEstimator):
    """W <- W + eta_t s (a_t - W^T s)^T,  s = W a_t, then orthonormal rows by Gram-Schmidt in their order [1]_.

    The step is along what W leaves of the row: where the rows have rank k, it ends by itself, and the error falls
    exponentially at a fixed rate.

    Parameters
    ----------
    step_size : float
    n_components : int
        k.
    schedule, t0, center, scale, check_finite, stream
        As of `Oja`, one rate for all rows of W.
    start : array ``(k, d)``, optional

    Notes
    -----
    The attributes are those of `StreamingEstimator`; the rows of W span what is sought, in no order of their own, and
    energies are the sums of <a, w>^2 along the direction before each row. Cost: 4 k d operations a row and 2 k^2 d for
    Gram-Schmidt; CSR rows are made dense, some at a time. Not mergeable.

    References
    ----------
    .. [1] C. Tang, Exponentially convergent stochastic k-PCA without variance reduction, NeurIPS 2019.
    """

    checks_first = True

    def __init__(
        self,
        step_size: float,
        *,
        n_components: int = 2,
        schedule: Schedule = "constant",
        t0: float = 0.0,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.step_size = step_size
        self.n_components = n_components
        self.schedule = schedule
        self.t0 = t0
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        self._rates = Rates(self.step_size, self.schedule, self.t0)
        w = start_rows(self.start, self.n_components, d, self._rates.batch_shape, self.stream)
        if w.ndim != 2:
            raise ValueError(f"step_size, start and stream must not be batches, got one of shape {w.shape[:-2]}")
        self._w = orthonormal_rows(w)[0]
        self._seen_energy = np.zeros(self.n_components)

    def _absorb(self, rows: Chunk) -> float:
        kernels: Any = twin("lrtheory.streaming.krasulina", self._w)
        rates = np.ascontiguousarray(np.broadcast_to(self._rates(self.n_seen_, rows.shape[0]), rows.shape[:1]))
        norm2, first = 0.0, 0
        for part in dense_parts(rows):
            norm2 += kernels.krasulina(part, rates[first : first + part.shape[0]], self._w, self._seen_energy)
            first += part.shape[0]
        return norm2

    def _components(self) -> Array:
        return self._w.copy()

    def _energies(self) -> Array:
        return self._seen_energy.copy()

    def _state_size(self) -> int:
        return self._w.size + self._seen_energy.size
