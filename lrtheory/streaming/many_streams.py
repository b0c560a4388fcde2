"""Many streams side by side, each with an estimate of its own: trials over seeds in one call of a kernel."""

from __future__ import annotations

import copy
from typing import Any, NoReturn, Self

import numpy as np

from lrtheory.backend import Array, is_array, twin
from lrtheory.streaming._estimator import NotFittedError
from lrtheory.streaming._starts import aligned
from lrtheory.streaming.adaoja import AdaOja
from lrtheory.streaming.oja import KINDS, Krasulina, Oja, _RowSteps
from lrtheory.streaming.sources import as_chunk, first_not_finite, host_array


class ManyStreams:
    """S streams of as many rows, each taken by a member of an estimator's batch.

    Parameters
    ----------
    estimator : Oja, Krasulina or AdaOja
        Of one component, with ``center=False`` and a scale that is a number. Its batch shape broadcasts to ``(S,)``: a
        rate, start or random stream for each stream of rows, or one for all. It is left alone.

    Attributes
    ----------
    components_ : array ``(S, 1, d)``
    explained_energy_ : array ``(S, 1)``
    log_growth_, status_, frobenius2_ : arrays ``(S,)``
    n_seen_, n_features_in_, state_floats_ : int
        Rows of each stream, their columns, and numbers kept for all.

    Notes
    -----
    ``ManyStreams(Oja(rate)).fit(rows)`` is ``Oja(rate).fit(rows[s])`` for all s, up to rounding. On the CPU streams
    share `lrtheory.backend.threads` threads. For CuPy rows one kernel takes them all, a block of threads for each
    stream and one read of the rows; rows of more than 4096 columns go through matrix products, stream by stream.
    """

    _totals: np.ndarray  # frobenius2_

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self._fitted: _RowSteps | None = None

    def __repr__(self) -> str:
        return f"ManyStreams({self.estimator!r})"

    def __copy__(self) -> Self:
        """A copy goes on by itself: rows change the state in place."""
        return copy.deepcopy(self)

    def fit(self, rows: Array) -> Self:
        """Forget what was seen and take rows ``(S, n, d)``.

        Raises as `partial_fit` does, and ValueError if there is no row, or if all of a stream are zero.
        """
        self._fitted = None
        self.partial_fit(rows)
        self._with_direction()
        return self

    def partial_fit(self, rows: Array) -> Self:
        """Take m more rows of each stream.

        Parameters
        ----------
        rows : array ``(S, m, d)``
            Of NumPy or CuPy.

        Raises
        ------
        TypeError
            If the estimator is none of those above, a class of your own that inherits from one included.
        ValueError
            If a parameter is out of range; rows have another shape than ``(S, m, d)`` with the S and d of those before,
            or are complex; the batch shape does not broadcast to S; or a row is not finite, named by its stream and its
            number there, or squared norms overflow. An error leaves the state as it was.
        """
        if not is_array(rows) or isinstance(rows, np.ma.MaskedArray):
            rows = host_array(rows)
        if rows.ndim != 3 or rows.shape[0] == 0:
            raise ValueError(f"rows must have shape (streams, m, d) with at least one stream, got {rows.shape}")
        streams, m, d = rows.shape
        flat = as_chunk(rows.reshape(streams * m, d))
        fitted = self._fitted or self._begun(streams, d, flat.dtype)
        shape = fitted._w.shape[0], fitted.n_features_in_
        if (streams, d) != shape:
            raise ValueError(f"rows must have shape ({shape[0]}, m, {shape[1]}) as before, got {tuple(rows.shape)}")
        scaled = fitted._scaled(flat)[0].reshape(streams, m, d)
        totals, saved = self._totals if self._fitted else np.zeros(streams), fitted._save()
        try:
            if m:
                with np.errstate(over="ignore"):  # it is refused
                    totals = totals + self._take(fitted, scaled)
            bad = np.flatnonzero(~np.isfinite(totals))
            if fitted.check_finite and bad.size:
                _refuse(flat.reshape(streams, m, d)[bad[0]], int(bad[0]), fitted.n_seen_)
        except BaseException:
            fitted._restore(saved)
            raise
        fitted.n_seen_ += m
        fitted.frobenius2_ = 1.0  # sums of streams are checked here
        fitted._dtype = np.result_type(fitted._dtype, flat.dtype)
        self._fitted, self._totals = fitted, totals
        return self

    @property
    def components_(self) -> Array:
        return self._with_direction().components_

    @property
    def explained_energy_(self) -> Array:
        return self._with_direction().explained_energy_

    @property
    def log_growth_(self) -> Array:
        return self._begun_already().log_growth_

    @property
    def status_(self) -> Any:
        return self._begun_already().status_

    @property
    def frobenius2_(self) -> np.ndarray:
        self._begun_already()
        return self._totals.copy()

    @property
    def n_seen_(self) -> int:
        return self._begun_already().n_seen_

    @property
    def n_features_in_(self) -> int:
        return self._begun_already().n_features_in_

    @property
    def state_floats_(self) -> int:
        return self._begun_already().state_floats_

    def _begun_already(self) -> _RowSteps:
        if self._fitted is None:
            raise NotFittedError("ManyStreams has seen no rows yet: call fit or partial_fit")
        return self._fitted

    def _with_direction(self) -> _RowSteps:
        fitted = self._begun_already()
        if fitted.n_seen_ == 0:
            raise NotFittedError("ManyStreams has seen no rows yet: the streams are empty")
        zero = np.flatnonzero(self._totals == 0)
        if zero.size:
            raise ValueError(
                f"no direction: all {fitted.n_seen_} rows of stream {zero[0]} are zero, or their squares underflow "
                "(then give scale)"
            )
        return fitted

    def _begun(self, streams: int, d: int, dtype: Any) -> _RowSteps:
        """Return the estimator, before its first row, with a member for each stream."""
        made = self.estimator
        if type(made) not in (Oja, Krasulina, AdaOja) or not made._takes_device_rows:
            raise TypeError(f"streams side by side need Oja, Krasulina or AdaOja with one component, got {made!r}")
        fitted = type(made)(**made.get_params())
        fitted._start(d, dtype)
        if made.center or isinstance(made.scale, str):
            raise TypeError("streams side by side need center=False and a scale that is a number")
        shape = fitted._batch_shape
        if len(shape) > 1 or np.prod(shape) not in (1, streams):
            raise ValueError(f"rows of {streams} streams need a batch of as many members or one, got shape {shape}")
        fitted._w = aligned(np.broadcast_to(fitted._w, (streams, 1, d)))
        fitted._scalars = np.broadcast_to(fitted._scalars, (streams, fitted._scalars.shape[1])).copy()
        fitted._batch_shape = (streams,)
        return fitted

    @staticmethod
    def _take(fitted: _RowSteps, rows: Array) -> np.ndarray:
        """Take rows ``(S, m, d)`` and return the sums of their squared norms ``(S,)``."""
        return twin("lrtheory.streaming.many", rows).take_each(
            rows,
            fitted._rates_of(rows.shape[1]),
            KINDS[fitted._kind],
            fitted.n_seen_,
            fitted._w[:, 0],
            fitted._scalars,
        )


def _refuse(rows: Array, stream: int, seen: int) -> NoReturn:
    """Raise ValueError for the rows ``(m, d)`` of a stream, by which its sum of squared norms is not finite."""
    row = first_not_finite(rows)
    if row is not None:
        raise ValueError(f"row {seen + row} of stream {stream} is not finite")
    raise ValueError(f"the sum of squared norms overflows in stream {stream}: divide by a scale")
