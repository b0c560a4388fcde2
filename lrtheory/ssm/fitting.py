"""From a kernel to a diagonal system: subspace methods for the poles, least squares for everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, like, namespace, to_numpy
from lrtheory.random import Stream

from ._realization import assemble
from .discretization import check_rule, log_discretize
from .systems import DiagonalSSM

_SLOWEST = 1e-12  # 1 - |abar| of a pole that the data put on or outside the unit circle
_FASTEST = -300.0  # log |abar| of a pole at 0
_BLOCKS = 6
_GAIN, _ROUNDING = 1e-7, 1e-13  # where the refinement ends
_WITHIN = 1e-6  # of a derivative's length outside the basis: less is rounding
_NEAR, _APART, _TRIAL = 0.1, np.array([0.3, 0.1, 0.03]), 5  # when poles meet, how far apart they go on, steps to try it


@dataclass(frozen=True, eq=False)
class Fit:
    """How a kernel was fitted.

    Attributes
    ----------
    singular_values : array ``(..., r)``
        The largest of the kernel's Hankel matrix.
    order : integer array ``(...)``
        Real states of the fitted system: the rank asked for, or fewer where the Hankel matrix has no more.
    initial_error, error : arrays ``(...)``
        |K - fit| / |K| in the l2 norm, before and after the refinement.
    iterations : integer array ``(...)``
        Of the refinement.
    """

    singular_values: Array
    order: Array
    initial_error: Array
    error: Array
    iterations: Array


def dense_subspace(kernel: np.ndarray, r: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading left singular vectors ``(p, r)`` and values of a kernel's Hankel matrix, by its dense SVD.

    The matrix [K_{i+j}] has p = L // 2 + 1 rows and (L + 1) // 2 columns. O(L^3).
    """
    windows = np.lib.stride_tricks.sliding_window_view(kernel, (len(kernel) + 1) // 2)
    u, s, _ = np.linalg.svd(windows, full_matrices=False)
    return u[:, :r], s[:r]


def krylov_subspace(kernel: np.ndarray, r: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what `dense_subspace` does, by a randomised block Krylov method and FFT products with the Hankel matrix.

    O(r L log L + r^2 L), memory O(r L). Singular values are found to some 1e-10 of the largest, less where they decay
    slowly; an even number of samples loses the last, so that the matrix is square and symmetric.

    Source: C. Musco and C. Musco, Randomized block Krylov methods for stronger and faster approximate singular value
    decomposition, NeurIPS 2015.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    p = (len(kernel) + 1) // 2
    kernel = kernel[: 2 * p - 1]
    size = next_fast_len(3 * p, real=True)
    spectrum = rfft(kernel, size)[:, None]

    def times(v: np.ndarray) -> np.ndarray:
        return irfft(spectrum * rfft(v[::-1], size, axis=0), size, axis=0)[p - 1 : 2 * p - 1]

    block = min(r + 8, p)
    basis = np.linalg.qr(times(Stream("hankel", p, block).normal((p, block))))[0]
    newest = basis
    for _ in range(_BLOCKS - 1):
        if basis.shape[1] + block > p:
            break
        newest = times(newest)
        for _ in range(2):  # once more for what rounding leaves
            newest = np.linalg.qr(newest - basis @ (basis.T @ newest))[0]
        basis = np.concatenate([basis, newest], axis=1)
    values, vectors = np.linalg.eigh(_symmetric(basis.T @ times(basis)))
    order = np.argsort(-np.abs(values), kind="stable")[:r]
    return basis @ vectors[:, order], np.abs(values[order])


def subspace(kernel: np.ndarray, r: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `dense_subspace` up to 1024 samples or where r is not small, else `krylov_subspace`."""
    small = len(kernel) <= 1024 or 2 * _BLOCKS * (r + 8) > len(kernel)
    return (dense_subspace if small else krylov_subspace)(kernel, r)


def fit_kernel(
    K: Array,
    rank: int,
    *,
    dt: Any = 1.0,
    discretization: str | float = "zoh",
    tolerance: float = 1e-13,
    refine: int = 30,
    hankel: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] = subspace,
) -> tuple[DiagonalSSM, Fit]:
    """Return a diagonal system whose kernel fits the given one, sum_l (K_l - Re sum_n w_n abar_n^l)^2.

    Poles by ESPRIT [1]_: the leading r left singular vectors U of the Hankel matrix [K_{i+j}] span what the powers
    (1, abar_n, abar_n^2, ...) do, so that U without its last row, times a matrix whose eigenvalues are the poles, is U
    without its first row. Weights by linear least squares. Then poles and weights by variable projection [2]_
    (Levenberg-Marquardt steps with Kaufman's derivative) on log abar.

    Parameters
    ----------
    K : real array ``(..., L)``
    rank : int
        Order of the system (real states), 1 <= rank <= L // 2.
    dt : float or array ``(...)``
        Step of the returned system.
    discretization : str or float
        Of the returned system, whose samples fit K under every rule.
    tolerance : float
        Directions of the Hankel matrix below tolerance times its largest singular value are left out: noise-free data
        of a smaller order give a system of that order.
    refine : int
        Largest number of iterations of the refinement; 0 returns what ESPRIT found.
    hankel : callable
        ``hankel(kernel, r) -> (U, s)``: `subspace`, `dense_subspace`, `krylov_subspace` or one's own.

    Returns
    -------
    system : DiagonalSSM
        Stored with conjugate pairs and input weights 1 (see `balanced_truncation` for real poles).
    information : Fit

    Raises
    ------
    TypeError, ValueError
        If K is not real and finite or a parameter is out of range.

    Notes
    -----
    Poles on or outside the unit circle are reflected into it, and none leaves it. The refinement finds a local minimum;
    it turns a pair into two real poles, or these into a pair, where they meet. O(r L log L + r^2 L) for long kernels,
    and O(r^2 L) an iteration, for each channel.

    References
    ----------
    .. [1] R. Roy, T. Kailath, ESPRIT: estimation of signal parameters via rotational invariance techniques, IEEE Trans.
       Acoust. Speech Signal Process. 37 (1989).
    .. [2] G. Golub, V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate, SIAM J. Numer. Anal. 10 (1973).
    """
    data = _check(K, rank, tolerance, refine)
    channels = data.shape[:-1]
    _check_step(dt, channels, discretization)
    shape = (*channels, rank)
    s = np.zeros(shape)
    order, iterations = np.zeros(channels, int), np.zeros(channels, int)
    initial, final = np.zeros(channels), np.zeros(channels)
    modes = []
    for index in np.ndindex(channels):
        kernel = data[index]
        size = np.linalg.norm(kernel)
        if size == 0:
            modes.append((np.zeros(0, complex), np.zeros(0, complex)))
            continue
        u, s[index] = hankel(kernel / size, rank)
        order[index] = r = int(np.count_nonzero(s[index] > tolerance * s[index][0]))
        s[index] *= size
        model = _Exponentials.from_poles(_rotation(u[:, :r]), kernel / size)
        initial[index] = model.error
        model, iterations[index] = _refined(model, refine)
        final[index] = model.error
        modes.append((model.weights * size, model.x))
    xp = namespace(K)
    system = assemble(
        modes, channels, dt=dt, discretization=discretization, discrete=True, template=like(0.0, K, K.dtype)
    )
    information = Fit(
        singular_values=like(s, K),
        order=like(order, K, xp.int64),
        initial_error=like(initial, K),
        error=like(final, K),
        iterations=like(iterations, K, xp.int64),
    )
    return system, information


def _rotation(u: np.ndarray) -> np.ndarray:
    """Return log abar of the poles that u's shift invariance gives, one of each pair, inside the unit circle."""
    last = u[-1]
    if last @ last < 0.99:
        gram = np.eye(len(last)) - last[:, None] * last  # that of u without its last row
        shift = np.linalg.solve(gram, u[:-1].T @ u[1:])
    else:
        shift = np.linalg.lstsq(u[:-1], u[1:], rcond=None)[0]
    z = np.linalg.eigvals(shift).astype(complex)
    z = z[z.imag >= 0]
    size = np.abs(z)
    re = np.log(np.where(size > 0, size, 1))
    re = np.where(size > 0, np.clip(-np.abs(re), _FASTEST, -_SLOWEST), _FASTEST)
    return re + 1j * np.angle(z)


@dataclass(frozen=True, eq=False)
class _Exponentials:
    """The least-squares fit Re sum_n w_n exp(l x_n) of unit-norm data, with what the next step needs.

    The unknowns are log(-Re x), then Im x of pairs: no step can leave the unit circle. Columns of the basis are the
    real parts of exp(l x_n), then the imaginary parts for pairs, scaled to unit norm.
    """

    x: np.ndarray
    pair: np.ndarray
    data: np.ndarray
    weights: np.ndarray
    powers: np.ndarray
    basis: np.ndarray
    residual: np.ndarray

    @classmethod
    def from_poles(cls, x: np.ndarray, data: np.ndarray) -> _Exponentials:
        pair = (x.imag != 0) & (np.abs(x.imag) != math.pi)
        powers = np.exp(np.arange(len(data))[:, None] * x)
        columns = np.concatenate([powers.real, -powers.imag[:, pair]], axis=1)
        scale = 1 / np.linalg.norm(columns, axis=0)
        basis, triangle = np.linalg.qr(columns * scale)
        solution = scale * np.linalg.lstsq(triangle, basis.T @ data, rcond=None)[0]
        weights = solution[: len(x)].astype(complex)
        weights[pair] += 1j * solution[len(x) :]
        residual = data - columns @ solution
        return cls(x, pair, data, weights, powers, basis, residual)

    @property
    def error(self) -> float:
        return float(np.linalg.norm(self.residual))

    def moved(self, step: np.ndarray) -> _Exponentials:
        n = len(self.x)
        re = self.x.real * np.exp(np.clip(step[:n], -2, 2))
        im = self.x.imag.copy()
        im[self.pair] += step[n:]
        im = np.where(self.pair, (im + math.pi) % (2 * math.pi) - math.pi, im)
        return _Exponentials.from_poles(np.clip(re, _FASTEST, -_SLOWEST) + 1j * im, self.data)

    def jacobian(self) -> np.ndarray:
        """Return the residual's derivative, less its part within the basis, ``(L, unknowns)``.

        A decay at the end of its range that a descent would push further has a column of zeros: it stays there. So
        has one of two poles that have met, whose derivative lies within the basis up to rounding.
        """
        slopes = np.arange(len(self.data))[:, None] * self.powers * self.weights
        columns = np.concatenate([slopes.real * self.x.real, -slopes.imag[:, self.pair]], axis=1)
        made = -(columns - self.basis @ (self.basis.T @ columns))
        re, gradient = self.x.real, self.residual @ made[:, : len(self.x)]
        stuck = ((re >= -_SLOWEST) & (gradient > 0)) | ((re <= _FASTEST) & (gradient < 0))
        made[:, np.flatnonzero(stuck)] = 0
        made[:, np.linalg.norm(made, axis=0) < _WITHIN * np.linalg.norm(columns, axis=0)] = 0
        return made


def _refined(model: _Exponentials, limit: int) -> tuple[_Exponentials, int]:
    """Return the model after up to `limit` Levenberg-Marquardt steps, and their number.

    Where a pair has met the real axis or two real poles each other, Jacobians are singular and steps small; it goes on
    from poles that are apart, real or a pair, if that leads lower.
    """
    model, count = _descended(model, limit)
    while count < limit:
        trials = [_descended(_Exponentials.from_poles(x, model.data), _TRIAL)[0] for x in _parted(model)]
        best = min(trials, key=lambda trial: trial.error, default=model)
        if best.error >= model.error * (1 - _GAIN):
            break
        model, more = _descended(best, limit - count)
        count += more + _TRIAL
    return model, min(count, limit)


def _parted(model: _Exponentials) -> Iterator[np.ndarray]:
    """Yield the poles with one pair near the real axis, or two real ones near each other, moved apart either way."""
    x, pair = model.x, model.pair
    width = np.maximum(np.abs(x.real), 1 / len(model.data))  # nearer poles look alike to the data
    axis = np.where(np.abs(x.imag) > math.pi / 2, math.pi, 0.0)
    met = [([n], x[n].real) for n in np.flatnonzero(pair & (np.abs(np.abs(x.imag) - axis) < _NEAR * width))]
    for phase in (0.0, math.pi):
        real = np.flatnonzero(~pair & (axis == phase))
        neighbours = itertools.pairwise(real[np.argsort(x[real].real)])
        met += [([m, n], (x[m].real + x[n].real) / 2) for m, n in neighbours if (x[n] - x[m]).real < _NEAR * width[m]]
    for places, centre in met:
        rest, first = np.delete(x, places), places[0]
        for apart in _APART * width[first]:
            real_poles = np.minimum(centre + np.array([apart, -apart]), -_SLOWEST) + 1j * axis[first]
            yield np.concatenate([rest, real_poles])
            yield np.append(rest, complex(centre, abs(axis[first] - apart)))


def _descended(model: _Exponentials, limit: int) -> tuple[_Exponentials, int]:
    """Return the model after up to `limit` Levenberg-Marquardt steps, and their number.

    The damping is relative to the columns' sizes. It stops where a step promises to lower the squared misfit by less
    than 1e-7 of it, or the misfit is rounding.
    """
    damping, count = 1e-3, 0
    for count in range(1, limit + 1):
        jacobian = model.jacobian()
        size = np.linalg.norm(jacobian, axis=0)
        size = np.where(size > 0, size, 1.0)
        q, triangle = np.linalg.qr(jacobian / size)
        u, s, vt = np.linalg.svd(triangle)
        slope = u.T @ (q.T @ model.residual)
        if slope @ slope <= _GAIN * model.error**2 or model.error < _ROUNDING:
            return model, count - 1
        while True:
            step = -(vt.T @ (s / (s * s + damping) * slope)) / size
            trial = model.moved(step)
            if trial.error < model.error:
                break
            damping = max(10 * damping, 1e-3)
            if damping > 1e8:
                return model, count
        # where the residual is large the linear model promises too much, and steps would leap to and fro
        promised = np.sum(slope**2 * s * s * (s * s + 2 * damping) / (s * s + damping) ** 2)
        kept = (model.error**2 - trial.error**2) / promised
        damping = max(damping / 10, 1e-14) if kept > 0.75 else damping if kept > 0.25 else max(4 * damping, 0.1)
        model = trial
    return model, count


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _check(K: Any, rank: int, tolerance: float, refine: int) -> np.ndarray:
    if not is_array(K):
        raise TypeError(f"K must be an array, got {type(K).__name__}")
    xp = namespace(K)
    if not xp.isdtype(K.dtype, "real floating"):
        raise TypeError(f"K must be real floating-point numbers, got {K.dtype}")
    if K.ndim < 1 or K.shape[-1] < 2:
        raise ValueError(f"K must have the shape (..., L) with L >= 2, got {tuple(K.shape)}")
    data = to_numpy(K).astype(np.float64)
    if not np.all(np.isfinite(data)):
        raise ValueError("K must be finite")
    most = K.shape[-1] // 2
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 1 <= rank <= most:
        raise ValueError(f"rank must be an integer from 1 to L // 2 = {most}, got {rank!r}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), got {tolerance!r}")
    if isinstance(refine, bool) or not isinstance(refine, (int, np.integer)) or refine < 0:
        raise ValueError(f"refine must be an integer >= 0, got {refine!r}")
    return data


def _check_step(dt: Any, channels: tuple[int, ...], discretization: str | float) -> None:
    check_rule(discretization)
    log_discretize(-np.ones(1), np.ones(1), to_numpy(dt) if is_array(dt) else dt, discretization)
    shape = tuple(dt.shape) if is_array(dt) else ()
    if len(shape) > len(channels) or any(n not in (1, m) for n, m in zip(shape[::-1], channels[::-1], strict=False)):
        raise ValueError(f"dt must have the shape of K without its last axis, {channels}, got {shape}")
