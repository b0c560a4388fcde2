"""Algorithms for any problem with a gradient; the iterate is an array or Factors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, per_element, to_numpy
from lrtheory.random import Stream
from lrtheory.solve import State


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """Gradient descent, ``x <- x - eta grad f(x)``.

    On ``Factors(X)`` with the loss ``1/4 |A(X X^T) - y|^2`` this is ``X <- X - eta R X``; on ``Factors(F, G)`` with
    ``1/2 |A(F G^T) - y|^2`` both factors move at once, ``F <- F - eta R G``, ``G <- G - eta R^T F`` [1]_, where
    ``R = A*(A(estimate) - y)`` (symmetrised in the first case).

    Parameters
    ----------
    step_size : float or array of batch shape
        eta. For the symmetric factorisation ``eta <= 1 / (4 sigma_1)`` is safe.

    Notes
    -----
    One pass over the data a step. `advance` runs a compiled loop where the problem's operator has one.

    References
    ----------
    .. [1] N. Xiong, L. Ding, S. S. Du, How over-parameterization slows down gradient descent in matrix sensing,
       ICLR 2024, arXiv:2310.01769.
    """

    step_size: float | Array = 0.01

    def init(self, problem: Any, x: Any, stream: Stream) -> State:
        check_step_size(self.step_size, problem)
        return State.first(problem, x)

    def step(self, problem: Any, state: State) -> State:
        x = state.x
        return replace(state, x=x - problem.gradient(x) * per_element(self.step_size, x), t=state.t + 1)

    def advance(self, problem: Any, state: State, n_steps: int, active: np.ndarray) -> Any:
        operator = getattr(problem, "operator", None)
        if operator is None:
            return NotImplemented
        from lrtheory.operators.loops import gradient_descent

        moved = gradient_descent(problem, state.x, self.step_size, n_steps, active)
        if moved is NotImplemented:
            return NotImplemented
        x, taken = moved
        return replace(state, x=x, t=state.t + taken)


def check_step_size(step_size: Any, problem: Any = None) -> None:
    """Raise ValueError unless every step size is positive and finite; warn above ``problem.step_size_limit``."""
    values = to_numpy(step_size) if is_array(step_size) else np.asarray(step_size)
    number = values.dtype.kind in "fiu" and (values.ndim == 0 or is_array(step_size))
    if not (number and np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"step_size must be positive and finite, a number or an array, got {step_size!r}")
    limit = getattr(problem, "step_size_limit", None)
    if limit is not None and (values > limit).any():
        warnings.warn(
            f"step_size {values.max():.3g} is above 1/(2 sigma_1) = {np.min(limit):.3g}: gradient descent may diverge",
            stacklevel=4,
        )
