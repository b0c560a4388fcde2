"""Real systems behind diagonal ones: the real form of a set of modes, and modes from the eigenvalues of a real form.

Everything here is float64 on the host, with K(t) = Re sum_n w_n exp(t x_n) as the only description of a system: x_n are
the poles and t is real time, or x_n are the logarithms of the discrete poles and t counts steps. Whether conjugate
pairs are stored is then inside w. A pole with an imaginary part stands for two real states, a real pole for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from lrtheory.backend import Array, like, namespace, to_numpy

from .discretization import _parameter, expm1_over, log_discretize
from .systems import DiagonalSSM


def check_system(name: str, system: Any) -> None:
    """Raise TypeError for what is no DiagonalSSM."""
    if not isinstance(system, DiagonalSSM):
        raise TypeError(f"{name} must be a DiagonalSSM, got {type(system).__name__}")


def weighted_modes(system: DiagonalSSM, discrete: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (w, x), complex128 ``(*channels, M)``, of a stable system in continuous or in discrete time.

    Raises
    ------
    TypeError
        If `system` is no DiagonalSSM.
    ValueError
        If a pole does not decay.
    """
    check_system("system", system)
    if discrete:
        w, x = system.log_nodes()
    else:
        w, x = (2 if system.conjugate_pairs else 1) * system.C * system.B, system.A
    shape = (*system.channels, system.modes)
    w, x = (np.broadcast_to(to_numpy(v).astype(np.complex128), shape) for v in (w, x))
    worst = x.real.max(initial=-math.inf)
    if worst >= 0:
        what = "log |abar|" if discrete else "Re a"
        raise ValueError(f"the modes must decay: {what} must be negative, got {worst:g}")
    return w, x


def is_real(x: np.ndarray, discrete: bool) -> np.ndarray:
    """Return which poles are real; x = log abar has the imaginary part pi or -pi where abar is negative."""
    return (x.imag == 0) | (np.abs(x.imag) == math.pi) if discrete else x.imag == 0


@dataclass(frozen=True, eq=False)
class RealForm:
    """A real system with A^T = E A E and c^T = E b for a diagonal E of signs, for each channel (batch axes first).

    Its reachability Gramian P then gives the observability Gramian E P E. With r = sqrt(w / 2), a mode
    (w / 2) / (s - x) + its conjugate has the block ``[[Re x, -Im x], [Im x, Re x]]``, b = sqrt(2) (Re r, Im r) and
    the signs (1, -1), the image of (x, conj x) under the unitary matrix ``[[1, 1], [-i, i]] / sqrt(2)``; a real pole
    has b = sqrt|Re w|, the sign of Re w, and a second state that is zero.

    Attributes
    ----------
    x : complex array ``(..., M)``
    real : boolean array ``(..., M)``
        Which poles are real.
    r : complex array ``(..., M)``
        sqrt(w / 2), or sqrt|Re w| for a real pole.
    signs : array ``(..., S)``
        S = 2 M, first states before second ones; S = M where every pole of every channel is real.
    """

    x: np.ndarray
    real: np.ndarray
    r: np.ndarray
    signs: np.ndarray

    @classmethod
    def of(cls, w: np.ndarray, x: np.ndarray, discrete: bool) -> RealForm:
        """Return the real form of Re sum_n w_n exp(t x_n)."""
        real = is_real(x, discrete)
        r = np.where(real, np.sqrt(np.abs(w.real)), np.sqrt(w / 2))
        first = np.where(real & (w.real < 0), -1.0, 1.0)
        return cls(x, real, r, first if np.all(real) else np.concatenate([first, np.full(x.shape, -1.0)], axis=-1))

    @property
    def all_real(self) -> bool:
        return self.signs.shape[-1] == self.x.shape[-1]

    def closed(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the poles and input weights of the set closed under conjugation, ``(..., S)`` each."""
        if self.all_real:
            return self.x, self.r
        other = np.where(self.real, 0, self.r.conj())
        return np.concatenate([self.x, self.x.conj()], axis=-1), np.concatenate([self.r, other], axis=-1)

    def rows(self, v: np.ndarray) -> np.ndarray:
        """Return the closed set's rows ``(..., S, n)`` in real coordinates (complex, if v is no real object)."""
        if self.all_real:
            return v
        first, second = np.split(v, 2, axis=-2)
        pair = ~self.real[..., None]
        plus = np.where(pair, (first + second) / math.sqrt(2), first)
        return np.concatenate([plus, np.where(pair, (first - second) / (1j * math.sqrt(2)), 0)], axis=-2)

    def input_weights(self) -> np.ndarray:
        """Return b, real ``(..., S)``."""
        if self.all_real:
            return self.r.real
        factor = np.where(self.real, 1.0, math.sqrt(2))
        return np.concatenate([factor * self.r.real, np.where(self.real, 0, factor * self.r.imag)], axis=-1)

    def apply(self, poles: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return diag(poles), a function of x in real coordinates, times real columns ``(..., S, n)``."""
        re, im = poles.real[..., None], np.where(self.real, 0, poles.imag)[..., None]
        if self.all_real:
            return re * v
        first, second = np.split(v, 2, axis=-2)
        return np.concatenate([re * first - im * second, im * first + re * second], axis=-2)


def expm1(z: np.ndarray) -> np.ndarray:
    """Return exp(z) - 1 for complex z, accurate near 0."""
    return z * expm1_over(z)


def log1p(z: np.ndarray) -> np.ndarray:
    """Return log(1 + z) for complex z; NumPy's own loses the real part near 0."""
    return np.log1p(z.real * (2 + z.real) + z.imag**2) / 2 + 1j * np.arctan2(z.imag, 1 + z.real)


def modes_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the modes (w, x) with c^T exp(t a) b = Re sum_n w_n exp(t x_n) of a real matrix a, and a condition number.

    Of two conjugate eigenvalues the one with the positive imaginary part is returned, with twice its residue. The
    condition number is that of the matrix of unit eigenvectors. O(n^3).
    """
    x, vectors = np.linalg.eig(a)
    if not x.size:
        return np.zeros(0, complex), np.zeros(0, complex), 1.0
    w = (c @ vectors) * np.linalg.solve(vectors, b)
    keep = x.imag >= 0
    w = np.where(x.imag > 0, 2 * w, w.real)
    return w[keep].astype(complex), x[keep].astype(complex), float(np.linalg.cond(vectors))


def assemble(
    modes: list[tuple[np.ndarray, np.ndarray]],
    channels: tuple[int, ...],
    *,
    dt: Any,
    discretization: str | float,
    discrete: bool,
    template: Array,
    D: Any = None,
    pairs: bool = True,
) -> DiagonalSSM:
    """Return the DiagonalSSM with the given modes (w, x), one pair of arrays for each channel in C order.

    The input weights are 1. Channels with fewer modes than the largest are filled up with modes of output weight 0.
    Stored with conjugate pairs, a real pole's output weight is half its residue. With ``pairs=False`` a system whose
    poles are all real is stored without pairs, in real arrays. `template` gives library, device and precision.

    Raises
    ------
    ValueError
        If a discrete pole is the image of no stable pole under the rule.
    """
    size = max([1, *(len(x) for _, x in modes)])
    w, x = np.zeros((len(modes), size), complex), np.full((len(modes), size), -1.0 + 0j)
    for row, (weights, poles) in enumerate(modes):
        w[row, : len(poles)], x[row, : len(poles)] = weights, poles
        x[row, len(poles) :] = poles[0] if len(poles) else -1.0
    w, x = w.reshape(*channels, size), x.reshape(*channels, size)
    if discrete:
        a, c = continuous_modes(w, x, dt, discretization)
        if np.any(a.real >= 0):
            worst = np.exp(x[a.real >= 0][0])
            raise ValueError(
                f"the result has a pole abar = {worst:.6g}, which no stable pole has under the rule "
                f"{discretization!r}; zoh, impulse and bilinear reach every one inside the unit circle"
            )
    else:
        a, c = x, w
    pairs = pairs or bool(np.any(a.imag != 0))
    a, c = (a, c / 2) if pairs else (a.real, c.real)
    xp = namespace(template)
    single = template.dtype in (xp.float32, xp.complex64)
    dtype = (xp.complex64 if single else xp.complex128) if pairs else (xp.float32 if single else xp.float64)
    a, c = like(a, template, dtype), like(c, template, dtype)
    return DiagonalSSM(a, xp.ones_like(a), c, dt, D=D, discretization=discretization, conjugate_pairs=pairs)


def continuous_modes(w: np.ndarray, x: np.ndarray, dt: Any, discretization: str | float) -> tuple[np.ndarray, Any]:
    """Return poles a and weights c whose discretisation, with input weights 1, has the modes (w, x = log abar)."""
    steps = dt if isinstance(dt, (int, float)) else to_numpy(dt).astype(np.float64)
    step = np.asarray(steps)[..., None]
    if discretization in ("zoh", "impulse"):
        a = x / step
    else:
        change = np.where(is_real(x, True), expm1(x).real, expm1(x))
        a = change / (step * (1 + _parameter(discretization) * change))
    return a, w / log_discretize(a, np.ones_like(a), steps, discretization)[1]


def like_system(system: DiagonalSSM, modes: list[tuple[np.ndarray, np.ndarray]], discrete: bool) -> DiagonalSSM:
    """Return the modes as a system with the step, discretisation, feed-through, library and precision of `system`."""
    return assemble(
        modes,
        system.channels,
        dt=system.dt,
        discretization=system.discretization,
        discrete=discrete,
        template=system.A,
        D=system.D,
        pairs=system.conjugate_pairs,
    )


def check_order(rank: int | None, tolerance: float | None, states: int) -> int | None:
    """Return the rank, or None where a tolerance is given instead; the system has `states` real states."""
    if (rank is None) == (tolerance is None):
        raise ValueError(f"give one of rank and tolerance, got rank {rank!r} and tolerance {tolerance!r}")
    if tolerance is not None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < tolerance < math.inf:
            raise ValueError(f"tolerance must be a positive number, got {tolerance!r}")
        return None
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 1 <= rank <= states:
        raise ValueError(f"rank must be an integer from 1 to {states}, the order of the system, got {rank!r}")
    return int(rank)


def real_states(system: DiagonalSSM, form: RealForm) -> int:
    """Return N, the number of real states that the stored system stands for."""
    return max(system.state_size, form.signs.shape[-1])
