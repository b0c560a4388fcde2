"""Alternating Gauss-Newton steps: one factor at a time, with the residual of the other's last update."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrtheory.backend import Array, per_element
from lrtheory.factors import Factors, transpose
from lrtheory.first_order import check_step_size
from lrtheory.low_rank.guard import GuardedState, guarded
from lrtheory.low_rank.preconditioned import check_factors, dual_factor
from lrtheory.operators.loops import repeat_step
from lrtheory.random import Stream
from lrtheory.solve import State


@dataclass(frozen=True, eq=False)
class ApproximatedGaussNewton:
    """Approximated Gauss-Newton: alternating steps with pseudo-inverses [1]_.

    ``F <- F - eta R G (G^T G)^+``, then with R of the new F ``G <- G - eta R^T F (F^T F)^+``.

    Parameters
    ----------
    step_size : float or array of batch shape
        eta, at most ``2 / (1 + delta)`` with the restricted isometry constant delta. With eta = 1 and few measurements
        some runs diverge (for when, see `lrtheory.low_rank.guard.GuardedState`).
    rcond : float
        Eigenvalues of a k x k Gram matrix up to `rcond` times its largest count as zero, ``0 <= rcond < 1``.

    Raises
    ------
    ValueError
        For a hyper-parameter out of range, a symmetric start, or k > min(n1, n2).

    Notes
    -----
    Two passes over the data and O((n1 + n2) k^2) a step. In the population case eta = 1 solves the problem in one step
    from any generic start with k >= r: after the first half-step F has rank r exactly, up to rounding that the
    pseudo-inverse must not invert. The singular values here come from the factor itself and not from its Gram matrix,
    so that rounding lies near eps^2 on the scale of `rcond` instead of near eps.

    References
    ----------
    .. [1] X. Jia, F. Feng, D. Meng, D. Sun, Globally Q-linear Gauss-Newton method for overparameterized non-convex
       matrix sensing, NeurIPS 2024.
    """

    step_size: float | Array = 0.5
    rcond: float = 1e-10

    passes_per_step = 2

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        if isinstance(self.rcond, bool) or not isinstance(self.rcond, (int, float, np.number)):
            raise ValueError(f"rcond must be a number, 0 <= rcond < 1, got {self.rcond!r}")
        if not 0 <= self.rcond < 1:
            raise ValueError(f"rcond must lie in 0 <= rcond < 1, got {self.rcond!r}")

    def init(self, problem: Any, x: Factors, stream: Stream) -> GuardedState:
        check_factors(x, asymmetric=True)
        return GuardedState.first(problem, x)

    def step(self, problem: Any, state: GuardedState) -> GuardedState:
        value, x = alternate(problem, state.x, self.step_size, self.rcond)
        return replace(state, x=guarded(value, state, x), t=state.t + 1)

    def advance(self, problem: Any, state: State, n_steps: int, active: np.ndarray) -> Any:
        return repeat_step(self, problem, state, n_steps, active)


@dataclass(frozen=True, eq=False)
class AlternatingPreconditionedGradientDescent:
    """Alternating preconditioned gradient descent: the same half-steps with plain inverses, no damping [1]_.

    ``F <- F - eta R G (G^T G)^-1``, then with R of the new F ``G <- G - eta R^T F (F^T F)^-1``.

    Parameters
    ----------
    step_size : float or array of batch shape
        eta.

    Raises
    ------
    ValueError
        For a step size out of range, a symmetric start, or k > min(n1, n2).

    Notes
    -----
    Two passes over the data and O((n1 + n2) k^2) a step. The form is the standard one that the abstract of [1]_
    describes; its text has not been consulted. Where a factor has lost rank to rounding (for k > r, once the redundant
    singular values are near zero) its inverse does not exist, and that element ends as "diverged" at the last iterate.

    References
    ----------
    .. [1] Alternating preconditioned gradient descent for noisy over-parameterised matrix sensing, 2025.
    """

    step_size: float | Array = 0.5

    passes_per_step = 2

    def __post_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, problem: Any, x: Factors, stream: Stream) -> GuardedState:
        check_factors(x, asymmetric=True)
        return GuardedState.first(problem, x)

    def step(self, problem: Any, state: GuardedState) -> GuardedState:
        value, x = alternate(problem, state.x, self.step_size)
        return replace(state, x=guarded(value, state, x), t=state.t + 1)

    def advance(self, problem: Any, state: State, n_steps: int, active: np.ndarray) -> Any:
        return repeat_step(self, problem, state, n_steps, active)


def alternate(problem: Any, x: Factors, step_size: Any, rcond: float | None = None) -> tuple[Array, Factors]:
    """Return the loss at x, and the factors after a half-step of the left one and then one of the right one.

    `rcond` is that of `dual_factor`.
    """
    eta = per_element(step_size, x)
    value, residual = problem.matrix_gradient(x)
    x = Factors(x.left - eta * (residual @ dual_factor(x.right, rcond=rcond)), x.right)
    _, residual = problem.matrix_gradient(x)
    return value, Factors(x.left, x.right - eta * (transpose(residual) @ dual_factor(x.left, rcond=rcond)))
