"""Projected gradient steps on the matrix itself: truncation to rank k after each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lrtheory.backend import Array, namespace, per_element
from lrtheory.factors import Factors, as_matrix, concatenate, transpose
from lrtheory.first_order import check_step_size
from lrtheory.low_rank.guard import GuardedState, guarded
from lrtheory.low_rank.preconditioned import check_factors
from lrtheory.proximal import truncated_eigh, truncated_svd
from lrtheory.random import Stream
from lrtheory.solve import State, select


@dataclass(frozen=True, eq=False)
class IterativeHardThresholding:
    """Iterative hard thresholding, or singular value projection (SVP), with a fixed step [1]_.

    ``Z <- H_k(Z - mu R)``, where H_k keeps the k largest singular values. The iterate is kept as balanced factors,
    ``Factors(U S^1/2, V S^1/2)``; k is the start's. On ``Factors(X)`` H_k is the projection onto positive
    semi-definite matrices of rank k, and R is symmetrised.

    Parameters
    ----------
    step_size : float or array of batch shape
        mu, about 1 / (1 + delta) with the restricted isometry constant delta at rank 2 k.

    Raises
    ------
    ValueError
        For a step size out of range, or k > min(n1, n2).

    Notes
    -----
    One pass over the data and a singular value decomposition of an n1 x n2 matrix a step; of a matrix of 2 k + r rows
    in the population case, which mu = 1 and k >= r solve in one step. The usual start is `ZeroFactors`. With few
    measurements for its rank (k > r) it may diverge, by a nearly constant factor a step (see
    `lrtheory.low_rank.guard.GuardedState` for when it counts as diverged).

    References
    ----------
    .. [1] P. Jain, R. Meka, I. Dhillon, Guaranteed rank minimization via singular value projection, NIPS 2010.
    """

    step_size: float | Array = 0.7

    def __post_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, problem: Any, x: Factors, stream: Stream) -> GuardedState:
        check_factors(x)
        return GuardedState.first(problem, x)

    def step(self, problem: Any, state: GuardedState) -> GuardedState:
        value, residual = problem.matrix_gradient(state.x)
        x, _ = truncate(moved(state.x, residual, self.step_size), state.x)
        return replace(state, x=guarded(value, state, x), t=state.t + 1)


@dataclass(frozen=True, eq=False)
class SubspaceState(State):
    """`State` with an orthonormal basis ``(*batch, n1, k)`` of the iterate's left space."""

    left: Array


@dataclass(frozen=True, eq=False)
class NormalizedIterativeHardThresholding:
    """Normalised iterative hard thresholding (NIHT): the exact line search within the iterate's left space [1]_.

    ``Z <- H_k(Z - mu R)`` as in `IterativeHardThresholding` with ``mu = |P R|_F^2 / |A(P R)|^2``, where ``P = U U^T``
    projects onto the left singular space of Z. For an element that starts at Z = 0 it is the space of the first step,
    the leading left space of ``A*(y)``.

    Raises
    ------
    ValueError
        For k > min(n1, n2).

    Notes
    -----
    Two passes over the data (one for R, one for mu) and a singular value decomposition a step. The problem answers
    ``curvature(direction) = |A(direction)|^2``. Where ``P R = 0`` there is no step to take and Z stays.

    References
    ----------
    .. [1] J. Tanner, K. Wei, Normalized iterative hard thresholding for matrix completion, SIAM J. Sci. Comput. 35
       (2013).
    """

    passes_per_step = 2

    def init(self, problem: Any, x: Factors, stream: Stream) -> SubspaceState:
        check_factors(x)
        xp = namespace(x.left)
        _, left = truncate(x, x)
        zero = ~(xp.any(x.left != 0, axis=(-2, -1)) & xp.any(x.right != 0, axis=(-2, -1)))
        if bool(xp.any(zero)):
            _, residual = problem.matrix_gradient(x)
            _, leading = truncate(-as_matrix(residual), x)
            left = select(zero, leading, left)
        return SubspaceState.first(problem, x, left=left)

    def step(self, problem: Any, state: SubspaceState) -> SubspaceState:
        x, u = state.x, state.left
        xp = namespace(u)
        _, residual = problem.matrix_gradient(x)
        image = transpose(residual) @ u  # P R = U (R^T U)^T
        if x.symmetric:
            image = (image + residual @ u) / 2
        step_size = ratio(xp.sum(image * image, axis=(-2, -1)), problem.curvature(Factors(u, image)))
        x, left = truncate(moved(x, residual, step_size), x)
        return replace(state, x=x, t=state.t + 1, left=left)


def moved(x: Factors, residual: Any, step_size: Any) -> Any:
    """Return ``Z - mu R``: Factors where R is Factors, otherwise an array."""
    if isinstance(residual, Factors):
        scaled = Factors(residual.left * per_element(step_size, residual), residual.right)
        return concatenate(x, scaled, sign=-1.0)
    residual = as_matrix(residual)
    return x.product() - residual * per_element(step_size, residual)


def truncate(z: Any, x: Factors) -> tuple[Factors, Array]:
    """Return the best approximation of z by factors of x's kind and rank, balanced, and a basis of its left space.

    Singular values that are rounding noise count as 0: their roots would be of size sqrt(eps) in the factors.
    """
    if x.symmetric:
        s, u = truncated_eigh(z, x.k)
        root = _root(s, x)
        return Factors(u * root), u
    u, s, v = truncated_svd(z, x.k)
    root = _root(s, x)
    return Factors(u * root, v * root), u


def _root(s: Array, x: Factors) -> Array:
    xp = namespace(s)
    noise = s <= float(xp.finfo(s.dtype).eps) * max(x.shape) * s[..., :1]
    return xp.sqrt(xp.where(noise, xp.zeros_like(s), s))[..., None, :]


def ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator, 0 where both are 0: an exact line search along no direction."""
    xp = namespace(numerator)
    nothing = (numerator == 0) & (denominator == 0)
    return xp.where(nothing, xp.zeros_like(numerator), numerator / xp.where(nothing, 1.0, denominator))
