"""Strategies keep their promises: what they draw fits together and is well scaled."""

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import GivenFactors, OrthonormalFactors, RandomFactors, SpectralFactors
from lrtheory.operators import Dense, Gram, Identity, SymmetricPacked
from lrtheory.random import Stream
from lrtheory.solve import solve
from lrtheory.testing import strategies


@given(st.data())
def test_problem_start_and_step_size_fit_together(data):
    problem = data.draw(strategies.population_problems() | strategies.gaussian_problems(noisy=None))
    start = data.draw(strategies.starts(problem))
    x = start(problem, Stream(0).child("start"))
    step = data.draw(strategies.step_sizes(problem, x))
    result = solve(problem, GradientDescent(step), start=lambda problem, stream: x, max_steps=100)
    loss = result.trace.metrics["loss"]
    assert result.status == "running"
    assert loss[-1] <= loss[0] * (1 + 1e-12) + 1e-28


@given(st.data(), st.integers(1, 6))
def test_shapes_asked_for_are_shapes_drawn(data, n):
    q = data.draw(strategies.orthogonal_matrices(n))
    np.testing.assert_allclose(q.T @ q, np.eye(n), rtol=0, atol=1e-13)
    assert data.draw(strategies.factors(n, n + 1)).shape == (n, n + 1)
    assert data.draw(strategies.factors(n, k=2, symmetric=True)).symmetric
    assert not data.draw(strategies.factors(n, k=2, symmetric=False)).symmetric
    assert data.draw(strategies.population_problems(square=True)).truth.symmetric
    assert not data.draw(strategies.gaussian_problems(square=False)).truth.symmetric
    assert data.draw(strategies.sensing_problems(min_rank=1)).r >= 1
    assert data.draw(strategies.streams()).batch_shape == ()


@pytest.mark.parametrize("kind", [Dense, SymmetricPacked, Gram, Identity])
def test_every_kind_of_operator_is_drawn(kind):
    assert find(strategies.sensing_problems(), lambda problem: isinstance(problem.operator, kind)) is not None


@pytest.mark.parametrize("kind", [RandomFactors, SpectralFactors, OrthonormalFactors, GivenFactors])
def test_every_kind_of_start_is_drawn(kind):
    drawn = strategies.population_problems().flatmap(strategies.starts)
    assert isinstance(find(drawn, lambda start: isinstance(start, kind)), kind)
