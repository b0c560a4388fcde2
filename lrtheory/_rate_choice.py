"""Which window and which law: the decisions of :func:`lrtheory.rates.fit_rate`, batched over traces.

1. Both laws are fitted on a ladder of windows, each the newest 8, 10, 13, 17, ... records.
2. The vote window (last decade, at most 55 % of the records) tells noise from misfit: a law whose misfit there is what
   neighbouring records do not predict of each other is fitted well, and its misfit is the noise.
3. From the vote window (or from the smallest window, where the vote shows a misfit) each law grows backwards while
   the records it takes in raise its misfit no more than noise does.
4. The laws meet on the longer of their two windows; the likelihood ratio decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrtheory import _rate_fits as fits
from lrtheory._rate_fits import Array, Lines

_GROWTH = 1.25  # each window of the ladder holds 25 % more records than the one before
_VOTE_SHARE = 0.55  # the vote sees at most this share of the records: a burn-in may hold the others
_NOISE_RECORDS = 16  # fewest records for the estimate of the noise
_QUIET = 1e-3  # level of the test whether the vote shows a law plus noise ...
_QUIET_RATIO = 50.0  # ... and the most that its few degrees of freedom may excuse
_BREAK = 1e-2  # level of each test whether the next window still follows the law
_SIGNIFICANT = 6.0  # a decay smaller than this many standard errors is a plateau
_MISFIT = 2e-3  # misfit (rms over the fall of the window) accepted without noise: a rate that drifts by some 3 %
_DECISIVE = 4.0  # twice the log-likelihood ratio below which the laws count as indistinguishable


@dataclass(frozen=True, eq=False)
class Choice:
    """One law and window per trace; arrays (B,), the line's fields (B, 1)."""

    found: NDArray[np.bool_]  # False: neither law
    power: NDArray[np.bool_]
    line: Lines
    size: NDArray[np.int64]
    drift: Array  # how far the slope moves with the window, where that says something beyond the noise


@dataclass(frozen=True, eq=False)
class _Growth:
    """How far back one law reaches; arrays (B,)."""

    end: NDArray[np.int64]  # rung of the ladder
    quiet: NDArray[np.bool_]  # the residuals of that window are noise
    broken: NDArray[np.bool_]  # older records do not follow the law


def choose(t: Array, log_y: Array, count: NDArray[np.int64], smallest: int) -> Choice:
    """Choose law and window.  t, log_y (B, T) newest first, padded behind the ``count`` (B,) usable records."""
    traces = np.arange(len(t))
    sizes = np.minimum(_ladder(smallest, t.shape[1]), count[:, None])
    weight = fits.windows(sizes, t.shape[1])
    geometric, power = fits.geometric_lines(t, log_y, weight), fits.power_lines(t, log_y, weight)
    reach = np.abs(log_y - log_y[:, :1]).max(-1) + np.abs(log_y[:, 0])
    rounding = (1e-14 * (1 + reach)) ** 2  # variance of log y that is rounding at best

    vote = _vote(t, count, sizes, smallest)
    noise, freedom = _noise(t, log_y, count, sizes[traces, vote], (_column(geometric, vote), _column(power, vote)))
    grown = [
        _grow(line, parameters, vote, noise + rounding, freedom, rounding)
        for line, parameters in ((geometric, 2), (power, 3))
    ]

    # a law that reaches further back must also explain those records better
    common = np.maximum(grown[0].end, grown[1].end)
    n = sizes[traces, common]
    misfit = [line.sse[traces, common] + n * rounding + 1e-300 for line in (geometric, power)]
    evidence = n * np.log(misfit[0] / misfit[1])
    is_power = evidence > 0

    end = np.where(is_power, grown[1].end, grown[0].end)
    quiet = np.where(is_power, grown[1].quiet, grown[0].quiet)
    broken = np.where(is_power, grown[1].broken, grown[0].broken)
    line = _either(is_power, _column(power, end), _column(geometric, end))
    # A break may have been found too late: the estimate must not hang on the oldest records of its window.  Without
    # noise it is curvature that counts, and the next window backwards shows it.
    near = np.where(quiet, np.maximum(end - 1, 0), np.minimum(end + 1, sizes.shape[1] - 1))
    moved = _either(is_power, _column(power, near), _column(geometric, near)).slope - line.slope
    drift = np.where(quiet & ~broken, 0.0, np.abs(moved[:, 0]))

    size = sizes[traces, end]
    slope, spread = line.slope[:, 0], line.spread[:, 0]
    variance = line.sse[:, 0] / np.maximum(size - 2 - is_power, 1) + rounding
    fall = np.abs(slope) * np.sqrt(12 * spread / np.maximum(size, 1))  # over a window of evenly spread x
    holds = (quiet & (2 * size >= sizes[traces, vote])) | (np.sqrt(variance) <= _MISFIT * fall)
    falls = -slope * np.sqrt(spread / variance) > _SIGNIFICANT
    found = holds & falls & (np.abs(evidence) > _DECISIVE) & (count >= smallest)
    return Choice(found, is_power, line, size, drift)


def _ladder(smallest: int, longest: int) -> NDArray[np.int64]:
    sizes = [smallest]
    while sizes[-1] < longest:
        sizes.append(int(np.ceil(sizes[-1] * _GROWTH)))
    return np.array(sizes)


def _vote(t: Array, count: NDArray[np.int64], sizes: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    """Rung (B,) of the vote window."""
    decade = ((t >= 0.1 * t[:, :1]) & (np.arange(t.shape[1]) < count[:, None])).sum(-1)
    most = np.maximum(np.minimum(decade, np.ceil(_VOTE_SHARE * count)), smallest)
    rung = np.maximum((sizes <= most[:, None]).sum(-1) - 1, 0)
    # the rungs beyond the first that holds all records repeat it
    return np.minimum(rung, np.argmax(sizes == count[:, None], axis=1))


def _noise(
    t: Array, log_y: Array, count: NDArray[np.int64], size: NDArray[np.int64], lines: tuple[Lines, Lines]
) -> tuple[Array, Array]:
    """Variance (B,) of the noise near the end of a trace, and its degrees of freedom.

    Of the residuals about the two laws the better one counts, as a steep law itself is no cubic between coarse records.
    """
    records = np.minimum(np.maximum(size, _NOISE_RECORDS), count)
    residuals = [
        fits.window_residuals(line, t, log_y, power=np.full(len(t), is_power))
        for line, is_power in zip(lines, (False, True), strict=True)
    ]
    variance, freedom = fits.local_noise(np.tile(t, (2, 1)), np.concatenate(residuals), np.tile(records, 2))
    variance = np.fmin(*np.split(variance, 2))
    return np.where(np.isnan(variance), 0.0, variance), freedom[: len(t)]


def _grow(
    line: Lines, parameters: int, vote: NDArray[np.int64], noise: Array, freedom: Array, rounding: Array
) -> _Growth:
    """Grow a law's window backwards, one rung at a time, each step an F test of the misfit it adds."""
    traces, rungs = np.arange(len(vote)), np.arange(line.n.shape[1] - 1)
    spare = np.maximum(line.n - parameters, 1.0)
    own = line.sse[traces, vote] / spare[traces, vote]
    excuse = np.minimum(_f_quantile(1 - _QUIET, spare[traces, vote], np.maximum(freedom, 1.0)), _QUIET_RATIO)
    quiet = own <= noise * excuse
    level = np.where(quiet, own, noise) + rounding
    dof = np.where(quiet, spare[traces, vote], np.maximum(freedom, 1.0))
    start = np.where(quiet, vote, 0)

    added, rise = np.diff(line.n, axis=1), np.diff(line.sse, axis=1)
    bound = added * level[:, None] * _f_quantile(1 - _BREAK, np.maximum(added, 1.0), dof[:, None])
    stop = (rise > bound) & (added > 0) & (rungs >= start[:, None])
    broken = np.asarray(stop.any(-1))
    last = np.argmax(stop, axis=1) if rungs.size else np.zeros(len(vote), dtype=np.int64)
    # the onset of a burn-in hides in the last window that passed
    end = np.where(broken, np.maximum(last - 1, start), rungs.size)
    return _Growth(end, quiet | (line.sse[traces, end] <= 3 * spare[traces, end] * level), broken)


def _f_quantile(p: float, n1: Any, n2: Any) -> Array:
    from scipy.special import fdtri

    return fdtri(n1, n2, p)


def _column(line: Lines, rung: NDArray[np.int64]) -> Lines:
    """One window per trace; fields of shape (B, 1)."""
    rows = np.arange(len(rung))
    return Lines(*(values[rows, rung][:, None] for values in vars(line).values()))


def _either(where: NDArray[np.bool_], a: Lines, b: Lines) -> Lines:
    pairs = zip(vars(a).values(), vars(b).values(), strict=True)
    return Lines(*(np.where(where[:, None], left, right) for left, right in pairs))
