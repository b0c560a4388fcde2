"""Step sizes of the rows t = 1, 2, ...: a scale for each trial times a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from lrtheory.backend import is_array, to_numpy
from lrtheory.names import check_name

Schedule = str | Callable[[np.ndarray], Any] | Any


def _inverse(t: np.ndarray) -> np.ndarray:
    return 1.0 / t


def _inverse_root(t: np.ndarray) -> np.ndarray:
    return 1.0 / np.sqrt(t)


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "inv": _inverse,
    "inv_sqrt": _inverse_root,
}  # functions with a name: estimators are pickled


class Rates:
    """eta_(t, b) = step_size_b g_t, with g the schedule; see `Oja` for the parameters.

    Raises TypeError or ValueError that names the parameter.
    """

    step_size: np.ndarray
    t0: float
    function: Callable[[np.ndarray], Any]
    batch_shape: tuple[int, ...]

    def __init__(self, step_size: Any, schedule: Schedule, t0: float) -> None:
        self.step_size = nonnegative("step_size", step_size)
        if isinstance(t0, bool) or not isinstance(t0, Real) or not 0 <= t0 < math.inf:
            raise ValueError(f"t0 must be a finite number >= 0, got {t0!r}")
        self.t0 = float(t0)
        self.table: np.ndarray | None = None
        if callable(schedule):
            self.function = schedule
        elif isinstance(schedule, str):
            self.function = SCHEDULES[check_name("schedule", schedule, SCHEDULES)]
        elif is_array(schedule) or isinstance(schedule, (list, tuple)):
            self.table = nonnegative("schedule", schedule)
            if self.table.ndim == 0:
                raise ValueError("schedule must be an array of one number a row of the stream, got a 0-d array")
        else:
            raise TypeError(
                f"schedule must be one of {', '.join(SCHEDULES)}, a callable or an array, got {type(schedule).__name__}"
            )
        varied = () if self.table is None else self.table.shape[1:]
        try:
            self.batch_shape = np.broadcast_shapes(self.step_size.shape, varied)
        except ValueError:
            raise ValueError(
                f"the schedule's axes after the first must broadcast with step_size, got {varied} and "
                f"{self.step_size.shape}"
            ) from None

    def __call__(self, seen: int, m: int) -> np.ndarray:
        """Return the rates ``(m, *batch_shape)`` of the m rows after `seen` others, or ``(m, 1, ..)`` axes of length 1
        where they are shared."""
        if self.table is None and self.function is np.ones_like:
            return np.broadcast_to(self.step_size, (m, *self.batch_shape))
        if self.table is not None:
            if seen + m > self.table.shape[0]:
                raise ValueError(
                    f"schedule has {self.table.shape[0]} numbers, the stream has reached row {seen + m - 1}"
                )
            varied = self.table[seen : seen + m]
        else:
            t = np.arange(seen + 1, seen + m + 1, dtype=np.float64) + self.t0
            varied = nonnegative("what schedule returns", self.function(t))
            if varied.shape[:1] != (m,):
                raise ValueError(f"schedule must return one number a row, {m}, got shape {varied.shape}")
            if not _broadcasts(varied.shape[1:], self.batch_shape):
                raise ValueError(
                    f"the axes after the first of what schedule returns must broadcast to those of step_size, "
                    f"{self.batch_shape}, got {varied.shape[1:]}"
                )
        axes = max(len(self.batch_shape), varied.ndim - 1)
        varied = varied.reshape(m, *(1,) * (axes - (varied.ndim - 1)), *varied.shape[1:])
        return varied * self.step_size

    def of_members(self, seen: int, m: int, batch_shape: tuple[int, ...]) -> np.ndarray:
        """Return the rates ``(m, B)`` of the B members of a batch to whose shape they broadcast."""
        rates = self(seen, m)
        missing = len(batch_shape) - (rates.ndim - 1)
        rates = rates.reshape(m, *(1,) * missing, *rates.shape[1:])
        return np.broadcast_to(rates, (m, *batch_shape)).reshape(m, -1)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def nonnegative(name: str, value: Any) -> np.ndarray:
    """Return finite numbers >= 0 as a float64 array."""
    try:
        value = to_numpy(value) if is_array(value) else np.asarray(value)
    except ValueError:  # a ragged sequence
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}") from None
    if value.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
    value = value.astype(np.float64)
    bad = ~((value >= 0) & (value < np.inf))
    if bad.any():
        raise ValueError(f"{name} must be finite and >= 0, got {float(value[bad][0])!r}")
    return value
