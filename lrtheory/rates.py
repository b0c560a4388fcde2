"""Which law does a trace end in, geometric or power, at which rate, and how surely?

    >>> fit = fit_rate(t, y, floor=1e-28)
    >>> fit.kind, fit.slope, fit.interval
    ('power', -1.998, (-2.001, -1.995))

``docs/rates.md`` describes the method and what it gets wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrtheory import _rate_fits as fits
from lrtheory._rate_choice import choose
from lrtheory._rate_fits import Array, Lines

FLOOR_MARGIN = 10.0  # below this multiple of the resolution a record may be wrong by more than 10 %
_CHUNK = 64  # traces per pass: keeps the (traces, windows, records) arrays in cache


@dataclass(frozen=True, eq=False)
class RateFit:
    """The law at the end of a trace; every field has the batch shape (scalars for a single trace).

    With kind "neither" all numbers but ``n_points`` are NaN.

    Attributes
    ----------
    kind : "geometric", "power" or "neither".
    factor : per-step factor of a geometric law ``y ~ C factor^t``, else NaN.
    slope : exponent of a power law ``y ~ C (t + offset)^slope``, else NaN.
    interval : (low, high), 95 % interval of ``log(factor)`` or of ``slope``.
    log_constant : ``log C``.
    offset : t0 of a power law, 0 for a geometric one.
    window : (t_low, t_high), first and last record of the fit.
    n_points : records in the window; with kind "neither", the usable records.
    residual : rms of ``log y`` about the law.
    """

    kind: Any
    factor: Any
    slope: Any
    interval: tuple[Any, Any]
    log_constant: Any
    offset: Any
    window: tuple[Any, Any]
    n_points: Any
    residual: Any

    @property
    def constant(self) -> Any:
        """C of the law; inf where it overflows (use ``log_constant`` or ``predict`` there)."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_constant)

    def predict(self, t: ArrayLike) -> Array:
        """The fitted law at times ``t`` (S,); shape batch + (S,); NaN where there is no law."""
        times = np.asarray(t, dtype=np.float64)
        slope = np.asarray(self.slope)[..., None]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            rate = np.log(np.asarray(self.factor))[..., None]
            log_line = np.where(
                np.asarray(self.kind)[..., None] == "power",
                slope * np.log(times + np.asarray(self.offset)[..., None]),
                rate * times,
            )
            return np.exp(np.asarray(self.log_constant)[..., None] + log_line)


@dataclass
class _Records:
    """Usable records of B traces, newest first, padded at the end."""

    t: Array  # (B, T)
    log_y: Array  # (B, T)
    count: NDArray[np.int64]  # (B,)
    diverged: NDArray[np.bool_]  # (B,)


def fit_rate(t: ArrayLike, y: ArrayLike, *, floor: ArrayLike = 0.0, min_points: int = 8) -> RateFit:
    """Name the law that a trace ends in: geometric, power or neither, with its rate and a 95 % interval.

    Parameters
    ----------
    t : (T,) record times, non-negative and strictly increasing.
    y : (..., T) positive values. NaN, zero, negative and infinite records count as absent, but a trace whose last
        record is +inf has diverged and follows neither law.
    floor : resolution of y, a scalar or one per trace (batch shape). Records up to ten times it are left out.
    min_points : fewest records of a window; with fewer above the floor the answer is "neither" and NaN.

    Returns
    -------
    RateFit with fields of the batch shape.

    Raises
    ------
    ValueError, TypeError naming the argument.

    Notes
    -----
    The fits are ``log y = c - rate t`` and ``log y = c - p log(t + t0)`` with 0 <= t0 <= t_last / 10.
    Cost O(windows x records): 0.5 ms a trace of 200 records in a batch, 1.5 ms alone.
    """
    times, values, batch, resolution = _check(t, y, floor)
    smallest = _check_min_points(min_points)
    flat = values.reshape(int(np.prod(batch)), times.size)
    levels = np.broadcast_to(resolution, batch).reshape(-1)
    parts = [
        _fit_chunk(_records(times, flat[i : i + _CHUNK], levels[i : i + _CHUNK], None), smallest)
        for i in range(0, max(len(flat), 1), _CHUNK)
    ]
    return _assemble(parts, batch)


def fit_geometric(
    t: ArrayLike,
    y: ArrayLike,
    *,
    window: tuple[float, float] | None = None,
    floor: ArrayLike = 0.0,
    min_points: int = 8,
) -> RateFit:
    """Fit ``y ~ C factor^t`` on the records of ``window`` above the floor, where the law is known.

    Parameters as in `fit_rate`; ``window`` = (t_low, t_high), both ends included, default all records.
    """
    return _fit_known("geometric", t, y, window, floor, min_points, offset=False)


def fit_power(
    t: ArrayLike,
    y: ArrayLike,
    *,
    window: tuple[float, float] | None = None,
    floor: ArrayLike = 0.0,
    offset: bool = True,
    min_points: int = 8,
) -> RateFit:
    """Fit ``y ~ C (t + t0)^slope`` on the records of ``window`` above the floor, where the law is known.

    Parameters as in `fit_rate`; ``offset=False`` fixes t0 = 0 (the window must then not contain t = 0).
    """
    return _fit_known("power", t, y, window, floor, min_points, offset=offset)


def _check(t: ArrayLike, y: ArrayLike, floor: ArrayLike) -> tuple[Array, Array, tuple[int, ...], Array]:
    times = _real("t", t)
    values = _real("y", y)
    resolution = _real("floor", floor)
    if times.ndim != 1:
        raise ValueError(f"t must be one-dimensional, got shape {times.shape}")
    if values.ndim == 0 or values.shape[-1] != times.size:
        raise ValueError(f"y must have shape (..., {times.size}), one value per record of t, got {values.shape}")
    if not np.all(np.isfinite(times)):
        raise ValueError("t must be finite")
    if times.size and times[0] < 0:
        raise ValueError(f"t must be non-negative, got {times[0]}")
    if np.any(np.diff(times) <= 0):
        where = int(np.argmax(np.diff(times) <= 0))
        raise ValueError(f"t must be strictly increasing, got {times[where]} before {times[where + 1]}")
    if not np.all(resolution >= 0) or not np.all(np.isfinite(resolution)):
        raise ValueError("floor must be finite and non-negative")
    batch = values.shape[:-1]
    try:
        np.broadcast_to(resolution, batch)
    except ValueError:
        raise ValueError(f"floor of shape {resolution.shape} does not broadcast to the batch shape {batch}") from None
    return times, values, batch, resolution


def _real(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def _check_min_points(min_points: int) -> int:
    if isinstance(min_points, bool) or not isinstance(min_points, (int, np.integer)):
        raise TypeError(f"min_points must be an int, got {min_points!r}")
    if min_points < 5:
        raise ValueError(f"min_points must be at least 5 (a power law has 3 parameters), got {min_points}")
    return int(min_points)


def _records(t: Array, y: Array, floor: Array, window: tuple[float, float] | None) -> _Records:
    """Drop what is absent or below the floor from y (B, T) and turn time around."""
    if not t.size:
        none = np.zeros(len(y), dtype=np.int64)
        return _Records(np.ones((len(y), 1)), np.zeros((len(y), 1)), none, none > 0)
    usable = np.isfinite(y) & (y > 0) & _above_floor(y, floor[:, None])
    if window is not None:
        usable &= (t >= window[0]) & (t <= window[1])
    usable, y = usable[:, ::-1], y[:, ::-1]
    count = usable.sum(-1)
    length = max(int(count.max(initial=0)), 1)
    order = np.argsort(~usable, axis=1, kind="stable")[:, :length]
    present = np.arange(length) < count[:, None]
    times = np.where(present, t[::-1][order], 0.0)
    log_y = np.log(np.where(present, np.take_along_axis(y, order, axis=1), 1.0))
    newest = y[np.arange(len(y)), np.argmin(np.isnan(y), axis=1)]
    # padding repeats the newest record, so that no extreme number enters the arithmetic
    return _Records(
        np.where(present, times, times[:, :1]), np.where(present, log_y, log_y[:, :1]), count, newest == np.inf
    )


def _above_floor(y: Array, floor: Array) -> NDArray[np.bool_]:
    """Records (B, T) before the trace comes within the margin of its floor (B, 1).

    The cut has the fewest records on the wrong side of the margin.  To drop single records instead would keep those
    that noise lifts above the margin, and so tilt the law.
    """
    seen = np.isfinite(y)
    side = np.where(seen, np.where(y > FLOOR_MARGIN * floor, 1, -1), 0)
    score = np.cumsum(side, axis=1)
    cut = np.where(score.max(1) > 0, y.shape[1] - 1 - np.argmax(score[:, ::-1], axis=1), -1)
    before = np.arange(y.shape[1]) <= cut[:, None]
    return (y > floor) & (before | (floor == 0))


def _fit_chunk(records: _Records, smallest: int) -> RateFit:
    choice = choose(records.t, records.log_y, records.count, smallest)
    law = np.where(choice.power, "power", "geometric")
    kind = np.where(choice.found & ~records.diverged, law, "neither")
    return _finish(records, choice.line, kind, choice.size, choice.drift, free_offset=True)


def _fit_known(
    kind: str,
    t: ArrayLike,
    y: ArrayLike,
    window: tuple[float, float] | None,
    floor: ArrayLike,
    min_points: int,
    *,
    offset: bool,
) -> RateFit:
    times, values, batch, resolution = _check(t, y, floor)
    smallest = _check_min_points(min_points)
    if window is not None and (len(window) != 2 or not window[0] < window[1]):
        raise ValueError(f"window must be (t_low, t_high) with t_low < t_high, got {window!r}")
    flat = values.reshape(int(np.prod(batch)), times.size)
    records = _records(times, flat, np.broadcast_to(resolution, batch).reshape(-1), window)
    if kind == "power" and not offset and np.any((records.t <= 0) & (records.count > 0)[:, None]):
        raise ValueError("window must not contain t = 0 where offset is False")
    sizes = records.count[:, None]
    weight = fits.windows(sizes, records.t.shape[1])
    if kind == "geometric":
        line = fits.geometric_lines(records.t, records.log_y, weight)
    else:
        fixed = None if offset else np.zeros(sizes.shape)
        line = fits.power_lines(records.t, records.log_y, weight, fixed)
    kinds = np.where(records.count >= smallest, kind, "neither")
    drift = np.zeros(len(sizes))
    return _assemble([_finish(records, line, kinds, records.count, drift, free_offset=offset)], batch)


def _finish(
    records: _Records, line: Lines, kind: NDArray[Any], size: NDArray[np.int64], drift: Array, *, free_offset: bool
) -> RateFit:
    """Estimates and intervals from one line per trace (fields of shape (B, 1)); flat arrays (B,)."""
    from scipy.special import stdtrit

    t, log_y = records.t, records.log_y
    power, known = kind == "power", kind != "neither"
    inside = np.arange(t.shape[1]) < size[:, None]
    residual = np.where(inside, fits.window_residuals(line, t, log_y, power=power), 0.0)
    spare = np.maximum(size - np.where(power & free_offset, 3, 2), 1)
    rounding = (1e-15 * (1 + np.abs(log_y).max(-1))) ** 2
    variance = (line.sse[:, 0] / spare + rounding) * fits.noise_inflation(residual, size)
    quantile = stdtrit(spare, 0.975)
    slope = line.slope[:, 0]
    half = quantile * np.sqrt(variance / np.where(line.spread[:, 0] > 0, line.spread[:, 0], np.inf))
    low, high = slope - half, slope + half
    rows = np.flatnonzero(power & known) if free_offset else np.zeros(0, dtype=int)
    if rows.size:
        some = Lines(*(values[rows] for values in vars(line).values()))
        level = some.sse[:, 0] + (quantile**2 * variance)[rows]
        weight = inside[rows, None, :].astype(np.float64)
        low[rows], high[rows] = fits.power_interval(t[rows], log_y[rows], weight, some, level)

    low, high = slope - np.hypot(slope - low, drift), slope + np.hypot(high - slope, drift)

    def where(mask: NDArray[np.bool_], value: Any) -> Array:
        return np.where(mask, value, np.nan)

    first = np.take_along_axis(t, np.maximum(size - 1, 0)[:, None], axis=1)[:, 0]
    return RateFit(
        kind=kind,
        factor=where(kind == "geometric", np.exp(np.where(kind == "geometric", np.minimum(slope, 700.0), 0.0))),
        slope=where(power, slope),
        interval=(where(known, low), where(known, high)),
        log_constant=where(known, line.mean[:, 0] - slope * line.centre[:, 0]),
        offset=where(known, np.where(power, line.offset[:, 0], 0.0)),
        window=(where(known, first), where(known, t[:, 0])),
        n_points=np.where(known, size, records.count),
        residual=where(known, np.sqrt((residual**2).sum(-1) / np.maximum(size, 1))),
    )


def _assemble(parts: list[RateFit], batch: tuple[int, ...]) -> RateFit:
    """Join the chunks and give every field the batch shape."""

    def join(arrays: list[Array]) -> Any:
        return np.concatenate(arrays).reshape(batch)[()]

    columns: dict[str, Any] = {}
    for f in fields(RateFit):
        values = [getattr(part, f.name) for part in parts]
        if f.name in ("interval", "window"):
            columns[f.name] = (join([v[0] for v in values]), join([v[1] for v in values]))
        else:
            columns[f.name] = join(values)
    return RateFit(**columns)
