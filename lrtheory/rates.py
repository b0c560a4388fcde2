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
from lrtheory._rate_fits import Array, Lines

FLOOR_MARGIN = 10.0  # records below this multiple of the resolution carry a bias of up to 10 %
_GROWTH = 1.25  # each window of the ladder holds 25 % more records than the one before
_VOTE_SHARE = 0.55  # the vote sees at most this share of the records (a burn-in may hold the rest)
_REJECT = 1e-3  # level of the test whether the vote shows a law plus noise
_BREAK = 1e-2  # level of each test whether 25 % more records still follow the law
_SIGNIFICANT = 6.0  # a decay smaller than this many standard errors is a plateau
_MISFIT = 2e-3  # accepted misfit without noise, rms over the drop of the window (a rate that drifts by some 3 %)
_DECISIVE = 4.0  # log-likelihood difference (times 2) below which the laws count as indistinguishable
_CHUNK = 64  # traces per pass: keeps the (traces, windows, records) arrays in cache


@dataclass(frozen=True, eq=False)
class RateFit:
    """The law at the end of a trace; every field has the batch shape (plain scalars for a single trace).

    Attributes
    ----------
    kind : "geometric", "power" or "neither"
    factor : per-step factor of a geometric law ``y ~ C factor^t``, else NaN
    slope : exponent of a power law ``y ~ C (t + offset)^slope``, else NaN
    interval : (low, high), 95 % interval of ``log(factor)`` or of ``slope``
    log_constant : ``log C``
    offset : t0 of a power law, 0 for a geometric one
    window : (t_low, t_high), first and last record of the fit
    n_points : records in the window; with kind "neither", the records above the floor
    residual : rms of ``log y`` about the law
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
        rate = np.log(np.asarray(self.factor))[..., None]
        slope = np.asarray(self.slope)[..., None]
        with np.errstate(over="ignore", divide="ignore"):
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
    Cost O(windows x records), some 0.5 ms a trace of 200 records.  The fits are ``log y = c - rate t`` and
    ``log y = c - p log(t + t0)``, 0 <= t0 <= t_last / 10.
    """
    times, values, batch, resolution = _check(t, y, floor)
    smallest = _check_min_points(min_points)
    flat = values.reshape(-1, times.size)
    levels = np.broadcast_to(resolution, batch).reshape(-1)
    parts = [
        _fit_chunk(_records(times, flat[i : i + _CHUNK], levels[i : i + _CHUNK], None), smallest)
        for i in range(0, len(flat), _CHUNK)
    ]
    return _assemble(parts, batch)


def fit_geometric(
    t: ArrayLike, y: ArrayLike, *, window: tuple[float, float] | None = None, floor: ArrayLike = 0.0, min_points: int = 8
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
    level = floor[:, None]
    usable = np.isfinite(y) & (y > level)
    # cut where records above the margin give way to records below it (fewest on the wrong side): dropping single records
    # would keep those that noise lifts and so tilt the law
    side = np.where(usable | (y <= level), np.where(y > FLOOR_MARGIN * level, 1, -1), 0) * (level > 0)
    score = np.cumsum(side, axis=1)
    if t.size:
        cut = np.where(score.max(1) > 0, t.size - 1 - np.argmax(score[:, ::-1], axis=1), -1)
        usable &= (np.arange(t.size) <= cut[:, None]) | (level <= 0)
    if window is not None:
        usable &= (t >= window[0]) & (t <= window[1])
    usable, y = usable[:, ::-1], y[:, ::-1]
    newest = np.take_along_axis(y, np.argmin(np.isnan(y), axis=1)[:, None], axis=1)[:, 0] if t.size else np.zeros(len(y))
    count = usable.sum(-1)
    length = max(int(count.max(initial=0)), 1)
    if not t.size:
        return _Records(np.ones((len(y), 1)), np.zeros((len(y), 1)), count, np.zeros(len(y), dtype=bool))
    order = np.argsort(~usable, axis=1, kind="stable")[:, :length]
    present = np.arange(length) < count[:, None]
    log_y = np.log(np.where(present, np.take_along_axis(y, order, axis=1), 1.0))
    times = np.where(present, t[::-1][order], 0.0)
    # padding repeats the newest record, so that no extreme number enters the arithmetic
    return _Records(np.where(present, times, times[:, :1]), np.where(present, log_y, log_y[:, :1]), count, newest == np.inf)


def _ladder(smallest: int, longest: int) -> list[int]:
    sizes = [smallest]
    while sizes[-1] < longest:
        sizes.append(int(np.ceil(sizes[-1] * _GROWTH)))
    return sizes


def _quantile(p: float, n1: Any, n2: Any) -> Array:
    from scipy.special import fdtri

    return fdtri(n1, n2, p)


def _fit_chunk(records: _Records, smallest: int) -> RateFit:
    """fit_rate for a chunk: fit both laws on every window, choose windows, choose the law, finish."""
    t, log_y, count = records.t, records.log_y, records.count
    traces = np.arange(len(t))
    sizes = np.minimum(_ladder(smallest, t.shape[1]), count[:, None])
    weight = fits.windows(sizes, t.shape[1])
    laws = (fits.geometric_lines(t, log_y, weight), fits.power_lines(t, log_y, weight))
    reach = np.abs(log_y - log_y[:, :1]).max(-1) + np.abs(log_y[:, 0])
    rounding = (1e-14 * (1 + reach)) ** 2  # variance of log y that is rounding at best

    # the vote: the last decade, or the last 55 % of the records if that is less
    decade = ((t >= 0.1 * t[:, :1]) & (np.arange(t.shape[1]) < count[:, None])).sum(-1)
    ballot = np.clip(np.minimum(decade, np.ceil(_VOTE_SHARE * count)), smallest, None)
    vote = np.maximum((sizes <= ballot[:, None]).sum(-1) - 1, 0)
    vote = np.where(sizes[traces, vote] == count, np.argmax(sizes == count[:, None], axis=1), vote)

    noise, freedom = None, None
    for law, line in enumerate(laws):
        residual = fits.window_residuals(_column(line, vote), t, log_y, power=np.full(len(t), law == 1))
        variance, dof = fits.local_noise(t, residual, np.minimum(np.maximum(sizes[traces, vote], 16), count))
        if noise is None:
            noise, freedom = variance, dof
        noise = np.fmin(noise, variance)
    assert noise is not None and freedom is not None
    noise = np.where(np.isnan(noise), 0.0, noise) + rounding

    chosen, clean, broken = [], [], []
    for law, line in enumerate(laws):
        spare = np.maximum(line.n - (2 + law), 1.0)
        own = line.sse[traces, vote] / spare[traces, vote]
        quiet = own <= noise * np.minimum(_quantile(1 - _REJECT, spare[traces, vote], freedom), 50.0)
        level = np.where(quiet, own, noise) + rounding
        dof = np.where(quiet, spare[traces, vote], freedom)
        start = np.where(quiet, vote, 0)
        added = np.diff(line.n, axis=1)
        grown = np.diff(line.sse, axis=1)
        bound = added * level[:, None] * _quantile(1 - _BREAK, np.maximum(added, 1.0), dof[:, None])
        stop = (grown > bound) & (added > 0) & (np.arange(added.shape[1]) >= start[:, None])
        stopped = stop.any(-1)
        end = np.where(stopped, np.argmax(stop, axis=1) if stop.shape[1] else 0, sizes.shape[1] - 1)
        # the onset of a burn-in hides in the last window that passed
        end = np.where(stopped, np.maximum(end - 1, start), end)
        chosen.append(end)
        broken.append(stopped)
        clean.append(quiet | (line.sse[traces, end] <= spare[traces, end] * level * 3))

    # the two laws meet on the longer of their windows
    common = np.maximum(chosen[0], chosen[1])
    n = sizes[traces, common]
    misfits = [line.sse[traces, common] + n * rounding for line in laws]
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence = n * np.log(misfits[0] / misfits[1])
    power = evidence > 0
    end = np.where(power, chosen[1], chosen[0])
    line = _pick(power, _column(laws[1], end), _column(laws[0], end))
    quiet = np.where(power, clean[1], clean[0])
    # a break may have been found too late: the estimate must not hang on the oldest records of the window.  Without noise
    # it is the curvature that counts, and one more window backwards shows it.
    near = np.where(quiet, np.maximum(end - 1, 0), np.minimum(end + 1, sizes.shape[1] - 1))
    drift = np.abs(_pick(power, _column(laws[1], near), _column(laws[0], near)).slope - line.slope)[:, 0]
    drift = np.where(quiet & ~np.where(power, broken[1], broken[0]), 0.0, drift)

    size = sizes[traces, end]
    variance = line.sse[:, 0] / np.maximum(size - 2 - power, 1) + rounding
    strength = -line.slope[:, 0] * np.sqrt(line.spread[:, 0] / variance)
    drop = np.abs(line.slope[:, 0]) * np.sqrt(12 * line.spread[:, 0] / np.maximum(size, 1))
    good = (quiet & (2 * size >= sizes[traces, vote])) | (np.sqrt(variance) <= _MISFIT * drop)
    good &= (strength > _SIGNIFICANT) & (np.abs(evidence) > _DECISIVE) & (count >= smallest) & ~records.diverged
    kind = np.where(good, np.where(power, "power", "geometric"), "neither")
    return _finish(records, line, kind, size, drift, free_offset=True)


def _column(line: Lines, index: NDArray[np.int64]) -> Lines:
    """One window per trace; fields of shape (B, 1)."""
    rows = np.arange(len(index))
    return Lines(*(values[rows, index][:, None] for values in vars(line).values()))


def _pick(where: NDArray[np.bool_], a: Lines, b: Lines) -> Lines:
    return Lines(*(np.where(where[:, None], left, right) for left, right in zip(vars(a).values(), vars(b).values(), strict=True)))


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
    records = _records(times, values.reshape(-1, times.size), np.broadcast_to(resolution, batch).reshape(-1), window)
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

    def where(mask: NDArray[np.bool_], value: Any) -> Array:
        return np.where(mask, value, np.nan)

    first = np.take_along_axis(t, np.maximum(size - 1, 0)[:, None], axis=1)[:, 0]
    return RateFit(
        kind=kind,
        factor=where(kind == "geometric", np.exp(np.where(power, 0.0, slope))),
        slope=where(power, slope),
        interval=(where(known, slope - np.hypot(slope - low, drift)), where(known, slope + np.hypot(high - slope, drift))),
        log_constant=where(known, line.mean[:, 0] - slope * line.centre[:, 0]),
        offset=where(known, np.where(power, line.offset[:, 0], 0.0)),
        window=(where(known, first), where(known, t[:, 0])),
        n_points=np.where(known, size, records.count),
        residual=where(known, np.sqrt((residual**2).sum(-1) / np.maximum(size, 1))),
    )


def _assemble(parts: list[RateFit], batch: tuple[int, ...]) -> RateFit:
    """Join the chunks and give every field the batch shape."""

    def join(arrays: list[Array]) -> Any:
        return np.concatenate(arrays).reshape(batch)[()] if arrays else np.zeros(batch)

    columns: dict[str, Any] = {}
    for f in fields(RateFit):
        values = [getattr(part, f.name) for part in parts]
        if f.name in ("interval", "window"):
            columns[f.name] = (join([v[0] for v in values]), join([v[1] for v in values]))
        else:
            columns[f.name] = join(values)
    return RateFit(**columns)
