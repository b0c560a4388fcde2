"""Matrix sensing: recover a low-rank matrix from linear measurements."""

from lrtheory.sensing import theory
from lrtheory.sensing.problems import (
    SensingProblem,
    gaussian_problem,
    ground_truth,
    observe,
    population_problem,
    reduce_population,
)

__all__ = [
    "SensingProblem",
    "gaussian_problem",
    "ground_truth",
    "observe",
    "population_problem",
    "reduce_population",
    "theory",
]
