"""Divergence that takes too long to overflow: methods whose steps grow with the iterate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrtheory.backend import Array, is_numpy, namespace
from lrtheory.factors import Factors
from lrtheory.solve import State, select


@dataclass(frozen=True, eq=False)
class GuardedState(State):
    """`State` with the loss beyond which an element has diverged.

    Preconditioned and thresholded methods scale with their iterate, and so diverge by a nearly constant factor a step:
    hundreds or thousands of steps until a number overflows. An element ends as "diverged" already when its residual is
    1/eps times what y and the start made it, where rounding has taken the last digit of y.
    """

    largest_loss: Array

    @classmethod
    def first(cls, problem: Any, x: Factors, **fields: Any) -> Any:
        """Return the state before the first step; two passes over the data."""
        xp = namespace(x.left)
        reference = problem.matrix_gradient(x)[0] + problem.matrix_gradient(x * 0.0)[0]
        largest = xp.where(reference > 0, reference / xp.finfo(x.dtype).eps ** 2, xp.inf)
        return super().first(problem, x, largest_loss=largest, **fields)


def guarded(value: Array, state: GuardedState, x: Factors) -> Factors:
    """Return the next iterate x, NaN for elements whose present loss, `value`, says that they have diverged."""
    beyond = value > state.largest_loss
    if is_numpy(beyond) and not beyond.any():  # what a device would have to be waited for costs nothing here
        return x
    nowhere = x.map(lambda a: namespace(a).full_like(a, float("nan")))
    return select(beyond, nowhere, x)
