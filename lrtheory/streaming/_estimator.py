"""What the estimators over a stream of rows share: reading, checking, counting, parameters and signs."""

from __future__ import annotations

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from numbers import Integral
from typing import Any, Self

import numpy as np

from lrtheory.backend import Array, is_cupy
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.streaming.metrics import canonical_signs
from lrtheory.streaming.sources import Chunk, check_width, chunks, first_not_finite


class NotFittedError(ValueError, AttributeError):
    """A result was asked for before the first row; both classes, as scikit-learn's error of that name."""


class StreamingEstimator(ABC):
    """Base of the estimators, with scikit-learn's conventions, for users' own too (docs/streaming.md has one).

    A subclass stores its parameters as given, in `__init__`, under their names. ``n_components``, ``center``,
    ``scale``, ``check_finite`` and ``stream`` (see `Oja`) are read here, and have the values below where a subclass
    does not have them as parameters. Parameters are checked when the first row arrives, and a changed one takes effect
    with the next `fit`. It defines

    - `_begin`: check the parameters, make the state;
    - `_absorb`: take a checked chunk, dense or CSR, and return the sum of its squared row norms. It may meet NaN and
      infinity;
    - `_save` and `_restore`: a copy of the state, and back. With ``checks_first = True`` they are not needed: the norms
      of a chunk are computed before `_absorb`, by one more read;
    - `_components` and `_energies`: fresh arrays ``(..., k, d)``, unit rows of either sign, and ``(..., k)``;
    - `_state_size`: how many numbers it keeps.

    With ``takes_sparse = False`` CSR rows are refused. `lrtheory.testing.check_estimator` holds it against the laws.

    Attributes
    ----------
    components_ : array ``(..., k, d)``
        Unit rows, the largest entry of each positive; a copy.
    explained_energy_ : array ``(..., k)``
        Estimates of the squared singular values s_i^2 of all rows so far.
    n_seen_, n_features_in_ : int
    frobenius2_ : float
        Sum of the squared norms of the rows.
    state_floats_ : int
        Numbers kept between chunks.
    status_ : str, or array of str of the batch shape
    scale_ : float
        What rows were divided by. Energies, `frobenius2_`, sketches and kept rows are those of the divided rows.
    mean_ : array ``(d,)``
        With ``center=True``.
    """

    n_components: int = 1
    center: bool = False
    scale: float | str = 1.0
    check_finite: bool = True
    stream: int | Stream = 0

    n_seen_: int
    n_features_in_: int
    frobenius2_: float
    scale_: float
    mean_: np.ndarray
    _dtype: Any

    takes_sparse = True
    checks_first = False
    _first_row = 0  # its number in the stream of which this is a part

    @property
    def _takes_device_rows(self) -> bool:
        """Whether rows may lie on a device, with the parameters that were given."""
        return False

    def _foresee(self, source: Any, order: Any) -> None:
        """Note what a source tells before it is read (`fit` alone calls this, before `_begin`)."""
        return

    @abstractmethod
    def _begin(self, d: int) -> None: ...

    @abstractmethod
    def _absorb(self, rows: Chunk) -> float: ...

    @abstractmethod
    def _components(self) -> Array: ...

    @abstractmethod
    def _energies(self) -> Array: ...

    @abstractmethod
    def _state_size(self) -> int: ...

    def _save(self) -> Any:
        raise NotImplementedError

    def _restore(self, saved: Any) -> None:
        raise NotImplementedError

    @property
    def status_(self) -> Any:
        self._check_begun()
        return "ok"

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        chunk_rows: int | None = None,
        order: Any = "stored",
        order_stream: int | Stream = 0,
    ) -> Self:
        """Forget what was seen and read a source once.

        Parameters
        ----------
        X, chunk_rows, order
            See `lrtheory.streaming.sources.chunks`.
        y : ignored
        order_stream : int or Stream
            Of the random order, or of a callable source.

        Raises
        ------
        ValueError
            As `chunks` and `partial_fit` do, or if there is no row, or none but zeros.
        """
        self._forget()
        self._foresee(X, order)
        self._take_all(chunks(X, chunk_rows=chunk_rows, order=order, stream=order_stream))
        self._check_seen()
        return self

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Take more rows.

        Parameters
        ----------
        X : array ``(m, d)`` or CSR
            Of any m, 0 too. It is read in chunks; an error leaves the state that the chunks before it made.
        y : ignored

        Raises
        ------
        ValueError
            If a parameter is out of range; X is not 2-d, is complex or of another width; or a row is not finite, named
            by its number in the whole stream, or the sum of squared norms overflows.
        """
        self._take_all(chunks(X))
        return self

    def _take_all(self, found: Iterable[Chunk]) -> None:
        for chunk in found:
            self._take(chunk)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; raises ValueError for an unknown one."""
        for name in params:
            check_name("parameter", name, self._names())
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @property
    def components_(self) -> Array:
        self._check_seen()
        return canonical_signs(self._components()).astype(self._dtype, copy=False)

    @property
    def explained_energy_(self) -> Array:
        self._check_seen()
        return self._energies()

    @property
    def state_floats_(self) -> int:
        self._check_begun()
        return self._state_size() + (self.n_features_in_ if self.center else 0)

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_seen_")

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        given = (f"{n}={v!r}" for n, v in self.get_params().items() if v is not defaults[n].default)
        return f"{type(self).__name__}({', '.join(given)})"

    def __copy__(self) -> Self:
        """A copy goes on by itself: rows change the state in place."""
        return copy.deepcopy(self)

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.startswith("_") or name.endswith("_")]:
            delattr(self, name)

    def _check_begun(self) -> None:
        if not hasattr(self, "n_seen_"):
            raise NotFittedError(f"{type(self).__name__} has seen no rows yet: call fit or partial_fit")

    def _check_seen(self) -> None:
        if getattr(self, "n_seen_", 0) == 0:
            raise NotFittedError(f"{type(self).__name__} has seen no rows yet: the stream is empty or was not given")
        if self.frobenius2_ == 0:
            raise ValueError(
                f"no direction: all {self.n_seen_} rows are zero, or their squares underflow (then give scale)"
            )

    def _take(self, chunk: Chunk) -> None:
        m, d = chunk.shape
        if is_cupy(chunk):
            self._check_device_rows()
        if not hasattr(self, "n_seen_"):
            self._start(d, chunk.dtype)
        check_width(chunk, self.n_features_in_)
        if m == 0:
            return
        dense = isinstance(chunk, np.ndarray) or is_cupy(chunk)
        if self.center and not dense:
            raise ValueError("center=True would make sparse rows dense: center them before, or give center=False")
        if not (dense or self.takes_sparse):
            raise TypeError(f"{type(self).__name__} takes dense rows only, got CSR: give rows.toarray()")
        rows, scale = self._scaled(chunk)
        mean = None
        if self.center:
            from lrtheory.streaming import _cpu_rows

            rows, mean = _cpu_rows.centered(rows, self.mean_, self.n_seen_)
        guarded = self.check_finite
        if guarded and (self.checks_first or not dense):
            self._check_total(squared_norm(rows), chunk)
            norm2 = float(self._absorb(rows))
        elif guarded:
            saved = self._save()
            with np.errstate(all="ignore"):  # of rows that are about to be refused
                norm2 = float(self._absorb(rows))
            if not math.isfinite(self.frobenius2_ + norm2):
                self._restore(saved)
            self._check_total(norm2, chunk)
        else:
            norm2 = float(self._absorb(rows))
        self.n_seen_ += m
        self.frobenius2_ += norm2
        self._dtype = np.result_type(self._dtype, chunk.dtype)
        self.scale_ = scale
        if mean is not None:
            self.mean_ = mean

    def _check_device_rows(self) -> None:
        if not self._takes_device_rows:
            raise TypeError(f"{self!r} takes rows in the host's memory, got a CuPy array")
        if self.center or isinstance(self.scale, str):
            raise TypeError("rows on a device need center=False and a scale that is a number")

    def _start(self, d: int, dtype: Any) -> None:
        for name in ("center", "check_finite"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        k = self.n_components
        if isinstance(k, bool) or not isinstance(k, Integral) or not 1 <= k <= d:
            raise ValueError(f"n_components must be an integer from 1 to the {d} columns, got {k!r}")
        if isinstance(self.scale, str):
            check_name("scale", self.scale, ("first_row",))
        else:
            positive("scale", self.scale)
        self._begin(d)
        self.scale_ = math.nan if isinstance(self.scale, str) else float(self.scale)
        self.n_features_in_, self.n_seen_, self.frobenius2_ = d, 0, 0.0
        self._dtype = dtype
        if self.center:
            self.mean_ = np.zeros(d)

    def _scaled(self, chunk: Chunk) -> tuple[Chunk, float]:
        """Return the rows divided by the scale, and the scale (NaN while ``scale="first_row"`` has met only zeros)."""
        scale = self.scale_
        if math.isnan(scale):
            values = chunk if isinstance(chunk, np.ndarray) else chunk.data[:, None]
            nonzero = np.flatnonzero(values.any(-1))
            if nonzero.size == 0:
                return chunk, scale
            if not isinstance(chunk, np.ndarray):
                row = np.searchsorted(chunk.indptr, nonzero[0], side="right") - 1
                nonzero = np.zeros(1, dtype=np.intp)
                values = chunk.data[None, chunk.indptr[row] : chunk.indptr[row + 1]]
            largest = float(np.abs(values[nonzero[0]]).max())
            scale = math.ldexp(1.0, min(math.frexp(largest)[1], 1023))  # a power of two: divides without rounding
        if scale == 1.0:
            return chunk, scale
        return (chunk.astype(np.float64) if chunk.dtype == np.float32 else chunk) / scale, scale

    def _check_total(self, norm2: float, chunk: Chunk) -> None:
        """Refuse a chunk of this sum of squared norms by which that of all rows is not finite."""
        if math.isfinite(self.frobenius2_ + norm2):
            return
        row, seen = first_not_finite(chunk), self._first_row + self.n_seen_
        if row is not None:
            raise ValueError(f"row {seen + row} of the stream is not finite")
        raise ValueError(
            f"the sum of squared norms overflows in rows {seen} to {seen + chunk.shape[0] - 1} of the stream: "
            f"divide by a scale, or give scale='first_row' (it was {self.scale!r})"
        )


def squared_norm(rows: Chunk) -> float:
    """Return the sum of the squares of all entries, accumulated in float64."""
    from lrtheory.streaming import _cpu_rows

    return _cpu_rows.sum_of_squares(rows if isinstance(rows, np.ndarray) else rows.data)


def positive(name: str, value: Any) -> float:
    """Return a finite number > 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    return float(value)
