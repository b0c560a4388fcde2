"""Norms of diagonal systems: of the impulse response in L2, and of the transfer function on the imaginary axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, like, namespace, to_numpy

from ._realization import check_system, expm1, is_real, weighted_modes
from .systems import DiagonalSSM

_ANGLES = np.tan(np.linspace(-1.5, 1.5, 25))  # frequencies about a pole, in units of its decay: denser at its peak
_CANDIDATES = 8
_GOLDEN = (np.sqrt(5.0) - 1) / 2
_SECTIONS = 44  # golden sections until the bracket is at the square root of rounding, where a maximum is flat


def difference(first: DiagonalSSM, second: DiagonalSSM) -> DiagonalSSM:
    """Return the system whose output is the first's minus the second's: the modes of both.

    Both must have one step and one discretisation. The channels broadcast. Where only one of the two stores conjugate
    pairs, the other's output weights are halved.

    Raises
    ------
    ValueError
        If steps or discretisations differ.
    """
    check_system("first", first)
    check_system("second", second)
    xp = namespace(first.A, second.A)
    steps = [np.asarray(to_numpy(s.dt) if is_array(s.dt) else s.dt) for s in (first, second)]
    if first.discretization != second.discretization or not np.all(steps[0] == steps[1]):
        raise ValueError(
            "the systems must share step and discretisation, got "
            f"dt {first.dt!r} and {second.dt!r}, {first.discretization!r} and {second.discretization!r}"
        )
    pairs = first.conjugate_pairs or second.conjugate_pairs
    shape = np.broadcast_shapes(first.channels, second.channels)
    parts = []
    for name in ("A", "B", "C"):
        both = []
        for sign, system in ((1.0, first), (-1.0, second)):
            value = getattr(system, name)
            if name == "C":
                value = value * (sign / 2 if pairs and not system.conjugate_pairs else sign)
            both.append(xp.broadcast_to(value, (*shape, system.modes)))
        dtype = xp.result_type(*both)
        parts.append(xp.concat([xp.astype(v, dtype) for v in both], axis=-1))
    feed = first.D
    if second.D is not None:
        feed = -second.D if feed is None else feed - second.D
    unstable = first.allow_unstable or second.allow_unstable
    return replace(first, A=parts[0], B=parts[1], C=parts[2], D=feed, conjugate_pairs=pairs, allow_unstable=unstable)


def h2_norm(system: DiagonalSSM, *, discrete: bool = False) -> Array:
    """Return the norm of the kernel in L2(0, infinity), or with `discrete` the norm of its samples in l2; ``(...)``.

    In closed form, by the inner products of exponentials: with K(t) = Re sum_n w_n exp(t x_n),

        |K|^2 = Re sum_{nm} (w_n w_m / -(x_n + x_m) + w_n conj(w_m) / -(x_n + conj x_m)) / 2,

    and 1 - exp(.) in place of -(.) in discrete time. D is no part of the kernel. O(M^2).

    Raises
    ------
    ValueError
        If a pole does not decay.
    """
    w, x = weighted_modes(system, discrete)

    def sums(v: np.ndarray, y: np.ndarray) -> np.ndarray:
        exponents = x[..., :, None] + y[..., None, :]
        decay = -expm1(exponents) if discrete else -exponents
        return np.einsum("...i,...ij,...j->...", w, 1 / decay, v).real

    square = (sums(w, x) + sums(w.conj(), x.conj())) / 2
    return as_result(np.sqrt(np.maximum(square, 0)), system)


def hinf_norm(
    system: DiagonalSSM, *, discrete: bool = False, certify: bool = True, tolerance: float = 1e-6
) -> tuple[Array, Array]:
    """Return the largest modulus of the transfer function on the imaginary axis, and the frequency where it is reached.

    G(i omega) = D + integral of K(t) exp(-i omega t) dt; with `discrete`, sum_l K_l exp(-i omega l) + D on the unit
    circle. The norm is the gain of the system from L2 to L2 (l2 to l2).

    Parameters
    ----------
    system : DiagonalSSM
    discrete : bool
    certify : bool
        Check by the eigenvalues of a Hamiltonian matrix that no larger value was missed. Without it the norm is a lower
        bound from a grid, dense at every pole, and golden sections at the largest local maxima.
    tolerance : float
        Relative: |G| exceeds ``(1 + tolerance)`` times a certified norm nowhere.

    Returns
    -------
    norm, frequency : arrays ``(...)``
        The frequency is in radians per unit of time, or with `discrete` per step.

    Raises
    ------
    ValueError
        If a pole does not decay or the tolerance is not positive.

    Notes
    -----
    |G| equals a level g at omega exactly if i omega is an eigenvalue of the Hamiltonian matrix of that level [1]_. At
    the level ``(1 + tolerance)`` times the largest value known, |G| is evaluated at the imaginary parts of all
    eigenvalues and between them [2]_: either one of these values is larger, and the search goes on from there, or the
    level is nowhere exceeded. A discrete system is mapped to a continuous one by s = (z - 1) / (z + 1). O(M^2) for the
    grid and O(M^3) for a certificate, each channel alone. Values below some 1e-15 of the terms' sizes are rounding: the
    norm of a `difference` is not seen below that.

    References
    ----------
    .. [1] S. Boyd, V. Balakrishnan, P. Kabamba, A bisection method for computing the H-infinity norm of a transfer
       matrix and related problems, Math. Control Signals Systems 2 (1989).
    .. [2] N. A. Bruinsma and M. Steinbuch, A fast algorithm to compute the H-infinity norm of a transfer function
       matrix, Systems and Control Letters 14 (1990).
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), got {tolerance!r}")
    w, x = weighted_modes(system, discrete)
    shape = w.shape[:-1]
    d = 0.0 if system.D is None else to_numpy(system.D) if is_array(system.D) else system.D
    d = np.broadcast_to(np.asarray(d, dtype=np.float64), shape)
    norms, frequencies = np.empty(shape), np.empty(shape)
    for index in np.ndindex(shape):
        poles, weights, feed = _closed(w[index], x[index], float(d[index]), discrete)
        if discrete:
            poles, weights, feed = _cayley(poles, weights, feed)
        norm, frequency = _peak(poles, weights, feed)
        while certify and norm > 0:
            value, where = _largest_above(poles, weights, feed, norm * (1 + tolerance))
            if value <= norm * (1 + tolerance):
                break
            norm, frequency = value, where
        norms[index], frequencies[index] = norm, 2 * np.arctan(frequency) if discrete else frequency
    return as_result(norms, system), as_result(frequencies, system)


def _closed(w: np.ndarray, x: np.ndarray, d: float, discrete: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return all poles, their weights and the feed-through, real poles once; modes without weight are left out."""
    live = w != 0
    w, x = w[live], x[live]
    real = is_real(x, discrete)
    poles = np.concatenate([x, x[~real].conj()])
    weights = np.concatenate([np.where(real, w.real, w / 2), w[~real].conj() / 2])
    return poles, weights, d


def _cayley(x: np.ndarray, w: np.ndarray, d: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the continuous system with sum_n w_n / (1 - abar_n / z) + d at s = (z - 1) / (z + 1), x = log abar.

    A term is w / (1 + abar) (1 + (1 + p) / (s - p)) with p = (abar - 1) / (abar + 1) = tanh(x / 2).
    """
    gain = 1 / (1 + np.exp(x))
    p = expm1(x) * gain
    return p, 2 * np.exp(x) * gain * gain * w, d + float(np.sum(w * gain).real)


def _gain(poles: np.ndarray, weights: np.ndarray, d: float, omega: np.ndarray) -> np.ndarray:
    """Return |G(i omega)|, infinite frequencies included."""
    return np.abs(d + np.sum(weights / (1j * omega[..., None] - poles), axis=-1))


def _peak(poles: np.ndarray, weights: np.ndarray, d: float) -> tuple[float, float]:
    """Return the largest |G| found by a grid about every pole and golden sections, and its frequency."""
    if not len(poles):
        return abs(d), 0.0
    grid = poles.imag[:, None] + np.abs(poles.real)[:, None] * _ANGLES
    grid = np.unique(np.concatenate([[0.0, 1e4 * np.abs(poles).max()], np.abs(grid).reshape(-1)]))
    values = np.concatenate([_gain(poles, weights, d, part) for part in np.array_split(grid, 1 + len(grid) // 2048)])
    top = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((top[1:-1] >= top[:-2]) & (top[1:-1] >= top[2:]))
    peaks = peaks[np.argsort(-values[peaks])[:_CANDIDATES]]
    low, high = grid[np.maximum(peaks - 1, 0)], grid[np.minimum(peaks + 1, len(grid) - 1)]
    for _ in range(_SECTIONS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        rising = _gain(poles, weights, d, left) < _gain(poles, weights, d, right)
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    candidates = np.concatenate([grid[peaks], (low + high) / 2])
    found = _gain(poles, weights, d, candidates)
    best = int(np.argmax(found))
    if abs(d) > found[best]:
        return abs(d), np.inf
    return float(found[best]), float(candidates[best])


def _largest_above(poles: np.ndarray, weights: np.ndarray, d: float, level: float) -> tuple[float, float]:
    """Return the largest |G| at the frequencies where |G| could cross the level and between them, with its frequency.

    With c = w, b = 1 and R = level^2 - d^2, the Hamiltonian matrix is [[F, b b^T / R], [-c (1 + d^2 / R) c^T, -F^T]],
    F = A + b d c^T / R (transposes, since the set of modes is its own conjugate); b and c are both sqrt(w / level), so
    that its blocks are of one size.
    """
    r = np.sqrt(weights / level)
    share = d / level
    margin = 1 - share * share
    outer = r[:, None] * r / margin
    top = np.diag(poles) + share * outer
    hamiltonian = np.block([[top, outer], [-outer, -top.T]])
    crossings = np.unique(np.abs(np.linalg.eigvals(hamiltonian).imag))
    between = (crossings[1:] + crossings[:-1]) / 2
    candidates = np.concatenate([[0.0], crossings, between])
    values = _gain(poles, weights, d, candidates)
    best = int(np.argmax(values))
    return float(values[best]), float(candidates[best])


def as_result(values: np.ndarray, system: DiagonalSSM) -> Any:
    xp = namespace(system.A)
    single = xp.result_type(system.A, system.B, system.C) in (xp.float32, xp.complex64)
    return like(np.asarray(values), system.A, xp.float32 if single else xp.float64)
