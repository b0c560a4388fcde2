"""Least squares behind :mod:`lrtheory.rates`: both laws on a ladder of nested windows, batched.

Records come newest first, so that the window of the last ``n`` records is the prefix ``[:n]`` and a window grows
backwards in time as a longer prefix.  Shapes: ``B`` traces, ``K`` windows (rungs), ``T`` records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OFFSET_SHARE = 0.1  # a power law's offset t0 is at most this share of the last t: beyond it, power and geometric merge
_ITERATIONS = 30


@dataclass(frozen=True, eq=False)
class Lines:
    """Least-squares lines ``l ~ mean + slope (x - centre)`` on every window; every field has shape (B, K)."""

    n: Array
    slope: Array
    mean: Array
    centre: Array
    spread: Array  # sum of (x - centre)^2
    sse: Array
    offset: Array  # t0 of a power law, 0 for a geometric one


def windows(sizes: NDArray[np.int64], length: int) -> Array:
    """Indicator (B, K, T) of the windows of the newest ``sizes`` (B, K) records."""
    return (np.arange(length) < sizes[..., None]).astype(np.float64)


def _tiny(t: Array) -> Array:
    """Stand-in (B, 1) for t = 0 in log t: log(0) would spoil even the windows that do not contain that record."""
    first = np.where(t > 0, t, np.inf).min(-1, keepdims=True)
    return np.where(np.isfinite(first), 1e-6 * first, 1.0)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...t,...t->...", a, b)


def _line(x: Array, log_y: Array, weight: Array) -> tuple[Lines, Array, Array]:
    """Lines on every window (..., T), their centred ``x`` and residuals (both zero outside the window)."""
    n = weight.sum(-1)
    safe = np.maximum(n, 1.0)
    centre = _dot(x, weight) / safe
    mean = _dot(log_y, weight) / safe
    xc = (x - centre[..., None]) * weight
    residual = (log_y - mean[..., None]) * weight
    spread = _dot(xc, xc)
    slope = _dot(xc, residual) / np.where(spread > 0, spread, 1.0)
    residual -= slope[..., None] * xc
    return Lines(n, slope, mean, centre, spread, _dot(residual, residual), np.zeros_like(n)), xc, residual


def geometric_lines(t: Array, log_y: Array, weight: Array) -> Lines:
    """``log y = c - rate t`` on every window.  t, log_y (B, T); weight (B, K, T).  Cost O(B K T)."""
    shape = weight.shape
    return _line(np.broadcast_to(t[:, None, :], shape), np.broadcast_to(log_y[:, None, :], shape), weight)[0]


def power_lines(t: Array, log_y: Array, weight: Array, offset: Array | None = None) -> Lines:
    """``log y = c - p log(t + t0)`` on every window, t0 in [0, OFFSET_SHARE t_last] by least squares unless given.

    Variable projection: c and p are eliminated, t0 takes Gauss-Newton steps (along the derivative of the model, made
    orthogonal to 1 and log(t + t0)), clipped to its range and cut to a quarter while the misfit rises.  A window leaves
    the iteration when its own step has nothing to gain, so that its answer does not depend on the others.
    Cost O(B K T) a step, some five steps.

    Source: G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973), with Kaufman's simplified derivative (1975).
    """
    shape = weight.shape
    w = weight.reshape(-1, shape[-1])
    trace = np.repeat(np.arange(shape[0]), shape[1])
    tiny = _tiny(t)

    def line(t0: Array, rows: NDArray[np.int64]) -> tuple[Lines, tuple[Array, ...]]:
        shifted = np.maximum(t[trace[rows]] + t0[:, None], tiny[trace[rows]])
        fit, xc, residual = _line(np.log(shifted), log_y[trace[rows]], w[rows])
        return replace(fit, offset=t0), (shifted, xc, residual)

    rows = np.arange(len(w))
    upper = OFFSET_SHARE * t[trace, 0]
    best, parts = line(0.25 * upper if offset is None else offset.reshape(-1), rows)
    scale = np.ones(len(w))
    for _ in range(_ITERATIONS if offset is None else 0):
        now = _take(best, rows)
        step, curvature = _offset_step(now, w[rows], *parts)
        t0 = np.clip(now.offset + scale * step, 0.0, upper[rows])
        # predicted gain: below a sliver of the misfit, or of rounding, nothing is left to find
        on = curvature * (t0 - now.offset) ** 2 > 1e-10 * now.sse + 1e-28 * now.n
        if not on.any():
            break
        rows, scale = rows[on], scale[on]
        trial, trial_parts = line(t0[on], rows)
        better = trial.sse < now.sse[on]
        parts = tuple(np.where(better[:, None], new, old[on]) for new, old in zip(trial_parts, parts, strict=True))
        for held, new in zip(vars(best).values(), vars(trial).values(), strict=True):
            held[rows[better]] = new[better]
        scale = np.where(better, 1.0, 0.25 * scale)
    return Lines(*(values.reshape(shape[:2]) for values in vars(best).values()))


def _offset_step(fit: Lines, weight: Array, shifted: Array, xc: Array, residual: Array) -> tuple[Array, Array]:
    """Gauss-Newton step (R,) in t0 and the curvature of the misfit along it, for R windows."""
    z = weight / shifted
    z -= weight * (z.sum(-1) / np.maximum(fit.n, 1.0))[:, None]
    z -= xc * (_dot(z, xc) / np.where(fit.spread > 0, fit.spread, 1.0))[:, None]
    length = _dot(z, z)
    slope = fit.slope * length
    return _dot(residual, z) / np.where(slope == 0, np.inf, slope), fit.slope * slope


def _take(fit: Lines, rows: Any) -> Lines:
    return Lines(*(values[rows] for values in vars(fit).values()))


def window_residuals(fit: Lines, t: Array, log_y: Array, *, power: NDArray[np.bool_]) -> Array:
    """Residuals (B, T) of one line per trace (fields of shape (B, 1)) at every record, inside the window and out."""
    x = np.where(power[:, None], np.log(np.maximum(t + fit.offset, _tiny(t))), t)
    return log_y - fit.mean - fit.slope * (x - fit.centre)


def local_noise(t: Array, residual: Array, count: NDArray[np.int64]) -> tuple[Array, Array]:
    """Variance of the part of ``residual`` that its neighbours do not predict, and its degrees of freedom.

    Each of the newest ``count`` records is predicted by the cubic in log t through two neighbours on either side.  What
    is smooth cancels to fourth order, so that a noise-free trace gives next to nothing however badly a law fits it.

    t, residual (B, T); count (B,).  Returns two arrays (B,).
    """
    if t.shape[1] < 5:
        return np.full(len(t), np.nan), np.zeros(len(t))
    x = np.log(np.maximum(t, _tiny(t)))
    nodes = [x[:, i : x.shape[1] - 4 + i] for i in range(5)]
    values = [residual[:, i : x.shape[1] - 4 + i] for i in range(5)]
    inside = np.arange(x.shape[1] - 4) < (count - 4)[:, None]
    error = values[2].copy()
    norm = np.ones_like(error)
    for j in (0, 1, 3, 4):
        w = np.ones_like(error)
        for k in (0, 1, 3, 4):
            if k != j:
                gap = nodes[j] - nodes[k]
                w *= (nodes[2] - nodes[k]) / np.where(gap == 0, 1.0, gap)  # gaps are 0 in the padding only
        error -= w * values[j]
        norm += w**2
    used = inside.sum(-1)
    variance = (np.where(inside, error**2 / norm, 0.0)).sum(-1) / np.maximum(used, 1)
    # neighbouring errors share records: for even spacing, 1 + 2 sum(correlation^2) = 2.6
    return np.where(used > 0, variance, np.nan), np.maximum(used / 2.6, 1.0)


def noise_inflation(residual: Array, size: NDArray[np.int64]) -> Array:
    """Factor (1 + rho)/(1 - rho), shape (B,), by which residuals correlated at lag one widen a variance.

    residual (B, T), zero outside the window of ``size`` (B,) records.  Correlation that noise may show counts as none.
    """
    power = np.maximum((residual**2).sum(-1), 1e-300)
    rho = (residual[:, 1:] * residual[:, :-1]).sum(-1) / power
    rho = np.where(rho > 2 / np.sqrt(np.maximum(size, 1)), np.minimum(rho, 0.99), 0.0)
    return np.minimum((1 + rho) / (1 - rho), np.maximum(size / 3, 1.0))


def power_interval(
    t: Array, log_y: Array, weight: Array, fit: Lines, level: Array, points: int = 33
) -> tuple[Array, Array]:
    """Profile-likelihood interval of the slope: all slopes that reach a misfit ``<= level`` for some t0 in its range.

    t, log_y (B, T); weight (B, 1, T); fit of shape (B, 1); level (B,) sum of squares, at least ``fit.sse``.
    For each t0 the misfit is ``sse(t0) + spread(t0) (slope - slope(t0))^2``, so the interval is an envelope over t0.
    """
    t0 = fit.offset[:, 0]
    upper = OFFSET_SHARE * t[:, 0]
    # width of the valley in t0, by linearisation; a flat valley is scanned over the whole range
    shifted = np.maximum(t + fit.offset, _tiny(t))
    xc = (np.log(shifted) - fit.centre) * weight[:, 0]
    _, curvature = _offset_step(_take(fit, np.s_[:, 0]), weight[:, 0], shifted, xc, xc)
    width = 1.5 * np.sqrt(np.maximum(level, 0) / np.maximum(curvature, 1e-300))
    low, high = np.maximum(t0 - width, 0.0), np.minimum(t0 + width, upper)
    grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, points)
    grid = np.concatenate([t0[:, None], grid], axis=1)
    lines = power_lines(t, log_y, np.broadcast_to(weight, (len(t), points + 1, t.shape[1])), offset=grid)
    room = level[:, None] - lines.sse
    half = np.sqrt(np.maximum(room, 0.0) / lines.spread)
    reached = room >= 0
    reached[:, 0] = True
    return (
        np.where(reached, lines.slope - half, np.inf).min(-1),
        np.where(reached, lines.slope + half, -np.inf).max(-1),
    )
