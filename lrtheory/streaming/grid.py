"""Oja's method with a grid of rates in one pass, and the heaviest row: the candidate of largest energy wins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.random import Stream, as_stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._starts import start_rows
from lrtheory.streaming.certificates import energy_guarantee
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.oja import SCALARS, _RowSteps, first_scalars
from lrtheory.streaming.sources import Chunk

EXPONENTS = (-1074, 1000)
"""Of the least power of two that is not 0, and of a large one."""
SKIPPED = 1e-3
"""A rate joins while rate F^2 is at most this: the rows before it would have changed its vector no more than that."""


class OjaGrid(_RowSteps):
    """Fixed rates 2^j, a factor 2 apart, from below log(d) / (2 F^2) to 2^(B-1) times that, and the heaviest row.

    Price and Xun's algorithm for any order of the rows [1]_, reconstructed from its statement: since s_1^2 lies between
    F^2 / d and F^2, one of the rates suits the stream, and where a single row decides, it is the heaviest one.

    Parameters
    ----------
    n_rates : int, optional
        B. Default ``ceil(log2 d) + 6``.
    n_buckets : int
        Of the CountSketch by which candidates are compared.
    start : array ``(d,)``, optional
        w before the first row, the same for all rates.
    center, scale, check_finite, stream
        As of `Oja`.

    Attributes
    ----------
    candidates_ : array ``(c, d)``
        Unit vectors: those of the rates, in the order of `rates_`, then the heaviest row.
    candidate_energies_ : array ``(c,)``
        ``||C v||^2``, C the CountSketch of all rows: ``||A v||^2`` with a relative deviation of sqrt(2 / n_buckets).
    rates_, log_growth_ : arrays ``(c - 1,)``
    heaviest_row_ : array ``(d,)``

    Notes
    -----
    The others are those of `StreamingEstimator`; `status_` is ``"no_growth"`` where the winner is a vector that grew by
    less than a factor e: no rate was large enough to tell. F^2 is not known before the end. As it grows, rates that
    have become too large are dropped and smaller ones join, from the same start; those that the rows before could have
    turned are there from the beginning, some log2(log(d) / (2 `SKIPPED`)) more. Cost: that of a batch of so many rates
    of `Oja`, and d additions a row. One component. Not mergeable.

    See `certificates.heaviest_row_sin2` for what the heaviest row is good for, `theory.hard_best_corr2` for a stream on
    which no fixed rate works.

    References
    ----------
    .. [1] E. Price, Z. Xun, Spectral guarantees for adversarial streaming PCA, FOCS 2024, arXiv:2408.10332.
    """

    checks_first = True
    _takes_device_rows = False
    n_components = 1

    def __init__(
        self,
        *,
        n_rates: int | None = None,
        n_buckets: int = 256,
        start: Array | None = None,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.n_rates = n_rates
        self.n_buckets = n_buckets
        self.start = start
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def _begin(self, d: int) -> None:
        stream = as_stream(self.stream)
        n_rates = math.ceil(math.log2(d)) + 6 if self.n_rates is None else integer("n_rates", self.n_rates)
        self._largest = n_rates - 1 + math.log2(max(math.log(d), 1.0) / 2)  # log2 of eta F^2
        self._first = start_rows(self.start, 1, d, (), stream)
        if stream.batch_shape:
            raise ValueError(f"stream must name one stream, got a batch of shape {stream.batch_shape}")
        if self._first.ndim != 2:
            raise ValueError(f"start must have shape ({d},), got {np.shape(self.start)}")
        self._sketch = CountSketch(self.n_buckets, check_finite=False, stream=stream.child("grid"))
        self._batch_shape = (0,)
        self._exponents = np.zeros(0, dtype=np.int64)
        self._w, self._scalars = np.zeros((0, 1, d)), np.zeros((0, SCALARS))
        self._heaviest, self._heaviest_norm2 = np.zeros(d), 0.0

    def _absorb(self, rows: Chunk) -> float:
        energies = twin("lrtheory.streaming.power", self._w).row_energies(rows)
        self._sketch._take(rows)
        self._note_heaviest(rows, energies)
        totals = self.frobenius2_ + np.cumsum(energies)
        lows, highs = self._window(totals)
        cuts = np.flatnonzero(np.diff(lows, prepend=lows[0] - 1) | np.diff(highs, prepend=highs[0] - 1))
        for first, last in zip(cuts, [*cuts[1:], rows.shape[0]], strict=True):
            if totals[first] > 0:
                self._shift(int(lows[first]), int(highs[first]))
                part = rows[first:last]
                rates = np.broadcast_to(np.ldexp(1.0, self._exponents), (last - first, self._exponents.size))
                self._steps(part, rates, self.n_seen_ + int(first))
        return float(energies.sum())

    def _window(self, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the exponents of the least and the largest rate for each F^2."""
        with np.errstate(divide="ignore"):
            size = np.log2(totals)
        lows, highs = np.floor(math.log2(SKIPPED) - size), np.ceil(self._largest - size)
        return np.clip(lows, *EXPONENTS).astype(np.int64), np.clip(highs, *EXPONENTS).astype(np.int64)

    def _shift(self, low: int, high: int) -> None:
        """Drop the rates above 2^high, and let those from 2^low on join."""
        kept = self._exponents <= high
        joining = np.arange(low, min(high + 1, self._exponents[0] if self._exponents.size else high + 1))
        w = np.repeat(self._first[None], joining.size, axis=0)
        self._scalars = np.concatenate([first_scalars(w), self._scalars[kept]])
        self._w = np.concatenate([w, self._w[kept]])
        self._exponents = np.concatenate([joining, self._exponents[kept]])
        self._batch_shape = self._exponents.shape

    def _note_heaviest(self, rows: Chunk, energies: np.ndarray) -> None:
        i = int(np.argmax(energies))
        if energies[i] > self._heaviest_norm2:
            row = rows[[i]]
            self._heaviest = (row if isinstance(row, np.ndarray) else row.toarray())[0].astype(np.float64)
            self._heaviest_norm2 = float(energies[i])

    @property
    def rates_(self) -> Array:
        self._check_begun()
        return np.ldexp(1.0, self._exponents)

    @property
    def heaviest_row_(self) -> Array:
        self._check_begun()
        return self._heaviest * self.scale_

    @property
    def candidates_(self) -> Array:
        self._check_seen()
        found = np.concatenate([self._w[:, 0], self._heaviest[None]])
        return found / np.linalg.norm(found, axis=-1, keepdims=True)

    @property
    def candidate_energies_(self) -> Array:
        return self._sketch.energy(self.candidates_)

    def evidence(self, confidence: float = 0.95) -> dict[str, Any]:
        """Return what `certificates.certify` takes beside the winning vector.

        F^2, the heaviest row, a lower bound on the winner's energy by `certificates.energy_guarantee` (with the given
        confidence, for all candidates together), and of a winner with a rate that and its growth. All of rows divided
        by the scale.
        """
        energies = self.candidate_energies_
        winner = int(np.argmax(energies))
        low = energy_guarantee(energies[winner], self.n_buckets, confidence, candidates=energies.size)[0]
        found: dict[str, Any] = dict(frobenius2=self.frobenius2_, heaviest_row=self._heaviest)
        found["energy"] = min(float(low), self.frobenius2_)
        if winner < self._exponents.size:
            found |= dict(step_size=float(self.rates_[winner]), log_growth=max(float(self._growth()[winner]), 0.0))
        return found

    @property
    def status_(self) -> str:
        self._check_seen()
        winner = int(np.argmax(self.candidate_energies_))
        return "no_growth" if winner < self._exponents.size and self._growth()[winner] < 1 else "ok"

    def _components(self) -> Array:
        return self.candidates_[[np.argmax(self.candidate_energies_)]]

    def _energies(self) -> Array:
        return self.candidate_energies_.max(keepdims=True)

    def _state_size(self) -> int:
        return self._w.size + self._scalars.size + self._sketch.state_floats_ + self._heaviest.size
