"""Descent on the manifold of matrices of rank k, with exact line searches in its tangent spaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lrtheory.backend import Array, namespace
from lrtheory.factors import Factors
from lrtheory.low_rank.preconditioned import check_factors
from lrtheory.low_rank.tangent import Tangent, TangentSpace
from lrtheory.low_rank.thresholding import ratio
from lrtheory.random import Stream
from lrtheory.solve import State, select

NEARLY_ORTHOGONAL = 0.1  # cosine between direction and negative gradient below which the former is given up


@dataclass(frozen=True, eq=False)
class RiemannianGradientDescent:
    """Riemannian gradient descent on matrices of rank k, with the exact line search in the tangent space [1]_.

    ``Z <- H_k(Z - mu P_T(R))`` with ``mu = |P_T(R)|_F^2 / |A(P_T(R))|^2``, where P_T projects onto the tangent space at
    Z and H_k keeps the k largest singular values. The iterate is kept as balanced factors.

    Raises
    ------
    ValueError
        For symmetric factors, k > min(n1, n2), or a start at Z = 0, which has no tangent space.

    Notes
    -----
    Two passes over the data (one for R, one for mu) and O((n1 + n2) k^2) a step, besides ``R @ V`` and ``R^T @ U``. The
    usual start is ``SpectralFactors(k, asymmetric=True)``. The problem answers ``curvature(direction)``.

    References
    ----------
    .. [1] K. Wei, J.-F. Cai, T. F. Chan, S. Leung, Guarantees of Riemannian optimization for low rank matrix recovery,
       SIAM J. Matrix Anal. Appl. 37 (2016).
    """

    passes_per_step = 2

    def init(self, problem: Any, x: Factors, stream: Stream) -> State:
        check_fixed_rank(x)
        return State.first(problem, x)

    def step(self, problem: Any, state: State) -> State:
        space = TangentSpace.at(state.x)
        gradient = space.project(problem.matrix_gradient(state.x)[1])
        step_size = ratio(gradient.inner(gradient), problem.curvature(space.factors(gradient)))
        return replace(state, x=space.retract(gradient * -step_size), t=state.t + 1)


@dataclass(frozen=True, eq=False)
class ConjugateState(State):
    """`State` with the last gradient, its squared norm, and the last direction; the vectors as factors."""

    gradient: Factors
    gradient_squared: Array
    direction: Factors


@dataclass(frozen=True, eq=False)
class RiemannianConjugateGradient:
    """Riemannian nonlinear conjugate gradient on matrices of rank k [1]_ [2]_.

    ``Z <- H_k(Z + mu D)`` with ``D = -g + beta P_T(D_old)``, ``g = P_T(R)``, and the exact line search in the tangent
    space, ``mu = -<g, D> / |A(D)|^2``. Last gradient and direction are transported by projection, and beta is that of
    Polak and Ribiere where positive, as in [1]_: ``beta = max(0, <g, g - P_T(g_old)> / |g_old|_F^2)``. Where
    ``-<g, D> < 0.1 |g| |D|`` the direction is restarted as -g.

    Raises
    ------
    ValueError
        For symmetric factors, k > min(n1, n2), or a start at Z = 0, which has no tangent space.

    Notes
    -----
    Cost and start as in `RiemannianGradientDescent`. [2]_ analyses the same iteration for sensing with the beta that
    makes A(D) and A(D_old) orthogonal, which would take one more pass.

    References
    ----------
    .. [1] B. Vandereycken, Low-rank matrix completion by Riemannian optimization, SIAM J. Optim. 23 (2013).
    .. [2] K. Wei, J.-F. Cai, T. F. Chan, S. Leung, Guarantees of Riemannian optimization for low rank matrix recovery,
       SIAM J. Matrix Anal. Appl. 37 (2016).
    """

    passes_per_step = 2

    def init(self, problem: Any, x: Factors, stream: Stream) -> ConjugateState:
        check_fixed_rank(x)
        xp = namespace(x.left)
        nothing = x.map(lambda a: xp.concat([0.0 * a, 0.0 * a], axis=-1))
        zero = nothing.inner(nothing)
        return ConjugateState.first(problem, x, gradient=nothing, gradient_squared=zero, direction=nothing)

    def step(self, problem: Any, state: ConjugateState) -> ConjugateState:
        space = TangentSpace.at(state.x)
        gradient = space.project(problem.matrix_gradient(state.x)[1])
        squared = gradient.inner(gradient)
        beta = polak_ribiere(squared - gradient.inner(space.project(state.gradient)), state.gradient_squared)
        direction = conjugate(gradient, space.project(state.direction) * beta)
        factors = space.factors(direction)
        step_size = ratio(-gradient.inner(direction), problem.curvature(factors))
        return ConjugateState(
            x=space.retract(direction * step_size),
            t=state.t + 1,
            gradient=space.factors(gradient),
            gradient_squared=squared,
            direction=factors,
        )


def polak_ribiere(change: Array, old: Array) -> Array:
    """Return ``max(0, change / old)``, 0 at the first step."""
    xp = namespace(change)
    first = old == 0
    return xp.where(first, xp.zeros_like(old), xp.clip(change / xp.where(first, 1.0, old), min=0.0))


def conjugate(gradient: Tangent, memory: Tangent) -> Tangent:
    """Return ``-gradient + memory``, or the negative gradient where the two are nearly orthogonal."""
    xp = namespace(gradient.core)
    steepest = gradient * -1.0
    direction = steepest + memory
    sizes = xp.sqrt(gradient.inner(gradient) * direction.inner(direction))
    return select(steepest.inner(direction) < NEARLY_ORTHOGONAL * sizes, steepest, direction)


def check_fixed_rank(x: Any) -> None:
    """Raise ValueError unless x is asymmetric Factors of a matrix with a tangent space, k <= min(n1, n2)."""
    check_factors(x, asymmetric=True)
    xp = namespace(x.left)
    if not bool(xp.all(xp.any(x.left != 0, axis=(-2, -1)) & xp.any(x.right != 0, axis=(-2, -1)))):
        raise ValueError("the method needs a start other than Z = 0: SpectralFactors(k, asymmetric=True), for instance")
