"""Approximate diagonalisation: a matrix that must not be diagonalised, plus a small perturbation, can be (S4-PTD).

The eigenvectors of HiPPO-LegS have condition numbers beyond 1 / eps from N = 24 on. Those of A + E, with a random E of
spectral norm size, have one of order 1 / size, and the transfer function moves by O(size) uniformly in frequency,
whereas that of the normal part A + P P^T (S4D-LegS) does not converge uniformly [1]_.

References
----------
.. [1] A. Yu, A. Nigmetov, D. Morozov, M. W. Mahoney, N. B. Erichson, Robustifying state-space models for long sequences
   via approximate diagonalization, ICLR 2024, arXiv:2310.01698.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, to_numpy
from lrtheory.random import Stream, as_stream

from ._checks import numbers
from .dense import DenseSSM
from .systems import DiagonalSSM

_BACKTRACKS = 12


@dataclass(frozen=True, eq=False)
class ApproximateDiagonalization:
    """A diagonal system that equals a dense one with A + E in place of A.

    Attributes
    ----------
    system : DiagonalSSM
        One mode for each conjugate pair of eigenvalues of A + E.
    perturbed : DenseSSM
        The system with A + E.
    E : array ``(N, N)``
    size : float
        Spectral norm of E.
    condition : float
        Condition number of the eigenvectors of A + E, of norm 1.
    """

    system: DiagonalSSM
    perturbed: DenseSSM
    E: np.ndarray
    size: float
    condition: float


def gaussian(A: np.ndarray, size: float, stream: Stream) -> np.ndarray:
    """Return a matrix with independent normal entries, scaled to the spectral norm `size`."""
    E = stream.child("perturbation").normal(A.shape)
    return E * (size / np.linalg.norm(E, 2))


def optimized(A: np.ndarray, size: float, stream: Stream, steps: int = 100) -> np.ndarray:
    """Return an E of spectral norm at most `size` for which the eigenvectors of A + E are better conditioned.

    Projected gradient descent with backtracking, from `gaussian`, on f = log sum_i |x_i|^2 |y_i|^2 over right and left
    eigenvectors x_i, y_i with y_i^* x_i = 1. With X of unit columns sum_i |y_i|^2 = |X^-1|_F^2, so that exp(f / 2)
    sqrt(N) is the condition number of X in the Frobenius norm. [1]_ minimises the condition number plus a multiple of
    |E| by gradient descent; here the size is given, and the same trade-off is traced by varying it. The gradient is
    derived by first-order perturbation of the eigenvectors:

        df = 2 / sum_i |y_i|^2 Re sum_{i != j} R_ij (Y^* dE X)_ij,
        R_ij = ((X^* X)_ji |y_j|^2 - (Y^* Y)_ji) / (lambda_j - lambda_i).

    Cost: an eigendecomposition for each trial step, O(N^3).

    References
    ----------
    .. [1] A. Yu et al., Robustifying state-space models for long sequences via approximate diagonalization, ICLR 2024,
       arXiv:2310.01698.
    """
    E = gaussian(A, size, stream)
    value, gradient = eigenvector_conditioning(A + E)
    step = size
    for _ in range(steps):
        for _ in range(_BACKTRACKS):
            trial = _within(E - step / np.linalg.norm(gradient) * gradient, size)
            trial_value, trial_gradient = eigenvector_conditioning(A + trial)
            if trial_value < value:
                break
            step /= 2
        else:
            return E
        E, value, gradient = trial, trial_value, trial_gradient
        step = min(2 * step, size)
    return E


def eigenvector_conditioning(A: np.ndarray) -> tuple[float, np.ndarray]:
    """Return f = log sum_i |x_i|^2 |y_i|^2 over eigenvectors of A, and its gradient ``(N, N)``; see `optimized`."""
    values, X = np.linalg.eig(A)
    Y = np.linalg.inv(X).conj().T
    sensitivity = np.sum(np.abs(Y) ** 2, axis=0)
    gap = values[None, :] - values[:, None]
    np.fill_diagonal(gap, 1.0)
    R = ((X.conj().T @ X).T * sensitivity - (Y.conj().T @ Y).T) / gap
    np.fill_diagonal(R, 0.0)
    total = np.sum(sensitivity)
    return math.log(total), 2 * np.real(Y.conj() @ R @ X.T) / total


def perturb_then_diagonalize(
    system: DenseSSM,
    size: float,
    perturbation: Callable[[np.ndarray, float, Stream], np.ndarray] = gaussian,
    *,
    stream: Any = 0,
) -> ApproximateDiagonalization:
    """Return the diagonal system that equals `system` with A + E in place of A (S4-PTD).

    Parameters
    ----------
    system : DenseSSM
        With a single A ``(N, N)``; B and C may have channels.
    size : float
        Spectral norm of E, in units of A.
    perturbation : callable
        ``perturbation(A, size, stream) -> E``: `gaussian`, `optimized` or one's own.
    stream : int or Stream

    Raises
    ------
    ValueError
        If size is not positive and finite, A has batch axes, or A + E still has eigenvectors without a correct digit.

    Examples
    --------
    >>> import numpy as np
    >>> from lrtheory.ssm import DenseSSM, hippo_legs, perturb_then_diagonalize
    >>> A, B, _ = hippo_legs(32)
    >>> near = perturb_then_diagonalize(DenseSSM(A, B, np.eye(32)[0]), 1e-2)
    >>> near.system.modes < 32, near.condition < 1e6
    (True, True)
    """
    if not (isinstance(size, (int, float, np.floating)) and math.isfinite(size) and size > 0):
        raise ValueError(f"size must be positive and finite, got {size!r}")
    if system.A.ndim != 2:
        raise ValueError(f"system must have a single A, got the shape {tuple(system.A.shape)}")
    A = np.asarray(to_numpy(system.A), dtype=np.float64)
    E = perturbation(A, float(size), as_stream(stream))
    moved = DenseSSM(A + E, system.B, system.C, system.dt, system.discretization)
    found = moved.diagonalize(pairs=True)
    return ApproximateDiagonalization(found.system, moved, E, float(np.linalg.norm(E, 2)), found.condition)


def legs_deviation_bound(C: Array, size: float) -> Any:
    """Return an upper bound of sup_w |C (iw - A - E)^-1 B - C (iw - A)^-1 B| for HiPPO-LegS: 2 |C| size / (1 - 2 size).

    Derived: the difference is C (iw - A - E)^-1 E (iw - A)^-1 B. The last factor has the norm N / sqrt(w^2 + N^2) <= 1
    exactly (its entries' squares telescope), and the first one is at most 1 / (1/2 - size), since (A + A^T) / 2 =
    -I/2 - P P^T. The bound of [1]_, Theorem 3, has the same order in size with a factor log N.

    Parameters
    ----------
    C : array ``(..., N)``
    size : float
        Spectral norm of E, below 1/2, which also makes A + E stable.

    References
    ----------
    .. [1] A. Yu et al., Robustifying state-space models for long sequences via approximate diagonalization, ICLR 2024,
       arXiv:2310.01698.
    """
    if not 0 <= size < 0.5:
        raise ValueError(f"size must be in [0, 1/2), got {size!r}")
    norm = np.linalg.norm(to_numpy(numbers("C", C)).astype(np.complex128), axis=-1)
    return norm * (2 * size / (1 - 2 * size))


def transfer_deviation(
    first: Callable[[np.ndarray], np.ndarray],
    second: Callable[[np.ndarray], np.ndarray],
    frequencies: np.ndarray,
    *,
    peaks: int = 5,
) -> tuple[float, float]:
    """Return the largest |G_1(iw) - G_2(iw)| found, and its frequency w.

    The highest local maxima on the grid are refined by repeated subdivision of their neighbourhoods. The result is a
    lower bound of the supremum; a grid that resolves the resonances (their width is |Re a|) makes it sharp.

    Parameters
    ----------
    first, second : callable
        Frequency responses w ``(F,)`` -> ``(F,)`` of one channel, such as ``DenseSSM.freqresp``.
    frequencies : array ``(F,)``
        Increasing.
    peaks : int
        How many maxima to refine.

    Raises
    ------
    ValueError
        If the frequencies are not increasing, or a response has channels.
    """
    w = np.asarray(frequencies, dtype=np.float64)
    if w.ndim != 1 or len(w) < 3 or not (np.diff(w) > 0).all():
        raise ValueError("frequencies must be an increasing array of at least 3 numbers")

    def distance(at: np.ndarray) -> np.ndarray:
        values = np.abs(first(at) - second(at))
        if values.shape != at.shape:
            raise ValueError(f"responses must be those of one channel, got the shape {values.shape} for {at.shape}")
        return values

    values = distance(w)
    best = int(np.argmax(values))
    largest, place = float(values[best]), float(w[best])
    inner = np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:])) + 1
    for i in inner[np.argsort(values[inner])[::-1][:peaks]]:
        low, high = w[i - 1], w[i + 1]
        for _ in range(8):  # a factor of 8 each: beyond the rounding of a smooth maximum
            at = np.linspace(low, high, 17)
            near = distance(at)
            j = int(np.argmax(near))
            if near[j] > largest:
                largest, place = float(near[j]), float(at[j])
            low, high = at[max(j - 1, 0)], at[min(j + 1, 16)]
    return largest, place


def _within(E: np.ndarray, size: float) -> np.ndarray:
    """Return the nearest matrix of spectral norm at most `size`."""
    U, s, Vh = np.linalg.svd(E)
    return (U * np.minimum(s, size)) @ Vh
