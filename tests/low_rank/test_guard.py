"""Divergence by a constant factor a step is a status long before it overflows."""

import numpy as np
import pytest
import transcriptions

from lrtheory.low_rank import (
    AlternatingPreconditionedGradientDescent,
    ApproximatedGaussNewton,
    PreconditionedGradientDescent,
    RandomFactors,
    ScaledGradientDescent,
)
from lrtheory.random import Stream
from lrtheory.sensing import gaussian_problem, population_problem
from lrtheory.solve import solve

EPS = np.finfo(float).eps

STEPS = {
    "agn": (ApproximatedGaussNewton(1.3), transcriptions.gauss_newton, (1.3,)),
    "apgd": (AlternatingPreconditionedGradientDescent(1.3), transcriptions.alternating, (1.3,)),
    "scaled_gd": (ScaledGradientDescent(1.5), transcriptions.scaled, (1.5,)),
    "scaled_gd_lambda": (ScaledGradientDescent(1.5, 0.1), transcriptions.scaled, (1.5, 0.1)),
    "prec_gd": (PreconditionedGradientDescent(3.0), transcriptions.preconditioned, (3.0,)),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_last_iterate_is_the_first_beyond_the_last_digit_of_y(name):
    algorithm, step, parameters = STEPS[name]
    problem, start = gaussian_problem(12, 2, 60, seed=1), RandomFactors(3, 1.0, rho=1.0)
    a, y, scale = problem.operator.rows, problem.observations, problem.scale
    x = start(problem, Stream(0).child("start"))
    f, g = x.left, x.right
    losses = []
    for _ in range(400):
        losses.append(transcriptions.loss(a, y, scale, f @ g.T))
        f, g = step(a, y, scale, f, g, *parameters)
        if losses[-1] > 1e40:
            break
    beyond = np.flatnonzero(np.array(losses) > (losses[0] + y @ y / 2) / EPS**2)
    assert beyond.size, "the example must diverge"
    result = solve(problem, algorithm, start=start, max_steps=1000, record=[0])
    assert result.status == "diverged"
    assert abs(int(result.state.t) - beyond[0]) <= 1
    assert np.isfinite(result.x.left).all()
    assert np.isfinite(problem.loss(result.x))


def test_what_comes_back_is_not_called_divergence():
    """From a start of size 1e-6 the first step of ScaledGD at k = r makes the estimate 1e12 as large as the truth."""
    problem = population_problem(12, 2)
    start = RandomFactors(2, 1e-6)
    result = solve(problem, ScaledGradientDescent(0.5), start=start, max_steps=200, record="all")
    error = result.trace.metrics["relative_error"]
    assert error.max() > 1e10
    assert error[-1] < 1e-12
    assert result.status == "running"
