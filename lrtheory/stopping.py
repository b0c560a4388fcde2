"""Rules by which `solve` ends elements of a run before `max_steps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Below:
    """Stop an element (status "converged") when a metric is below a threshold, seen on the grid of 30 a decade."""

    metric: str
    threshold: float

    status = "converged"

    def __post_init__(self) -> None:
        _check("Below", "threshold", self.threshold, lambda v: not np.isnan(v), "a number, not NaN")

    def reached(self, t: int, value: np.ndarray, history: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """Return which elements have reached it at step t, given the metric now and at the grid points before."""
        return value < self.threshold


@dataclass(frozen=True)
class Above:
    """End an element (status "diverged") when a metric is above a threshold, seen on the grid of 30 a decade.

    Methods that scale with their iterate diverge by a nearly constant factor a step: they would go on for hundreds of
    steps until a number overflows, and count as running.
    """

    metric: str
    threshold: float

    status = "diverged"

    def __post_init__(self) -> None:
        _check("Above", "threshold", self.threshold, lambda v: not np.isnan(v), "a number, not NaN")

    def reached(self, t: int, value: np.ndarray, history: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """Return which elements have reached it at step t, given the metric now and at the grid points before."""
        return value > self.threshold


@dataclass(frozen=True)
class Stalled:
    """Stop an element (status "stopped") when a metric has ceased to fall, seen on the grid of 30 a decade.

    At step t the metric is compared with what it was at t / `window`, the same number of grid points back at any t: it
    has stalled where it is above `factor` times that. A power law ``t^-p`` falls by ``window^-p`` and never stalls; a
    floor is found after `window` times the steps that led to it.

    Parameters
    ----------
    metric : str
    factor : float
        Between 0 and 1.
    window : float
        Above 1.
    min_steps : int
        Never before this step. A plateau at a saddle, and geometric decrease of less than ``1 - factor`` up to step t,
        look like a floor: give a number beyond the plateaus that you expect.
    """

    metric: str
    factor: float = 0.9
    window: float = 10.0
    min_steps: int = 1000

    status = "stopped"

    def __post_init__(self) -> None:
        _check("Stalled", "factor", self.factor, lambda v: 0 < v < 1, "between 0 and 1")
        _check("Stalled", "window", self.window, lambda v: 1 < v < np.inf, "above 1")
        _check("Stalled", "min_steps", self.min_steps, lambda v: v >= 0, "not negative")

    def reached(self, t: int, value: np.ndarray, history: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """Return which elements have reached it at step t, given the metric now and at the grid points before."""
        then = [past for step, past in history if 0 < step <= t / self.window]
        if t < self.min_steps or not then:
            return np.zeros(value.shape, dtype=bool)
        return value > self.factor * then[-1]


def _check(rule: str, name: str, value: Any, good: Callable[[Any], bool], accepted: str) -> None:
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not good(value):
        raise ValueError(f"{name} of {rule} must be {accepted}, got {value!r}")
