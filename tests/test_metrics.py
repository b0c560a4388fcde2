"""Metrics on demand: what is not read is not computed."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lrtheory.low_rank import ApproximatedGaussNewton, RandomFactors
from lrtheory.metrics import LazyMetrics
from lrtheory.random import Stream
from lrtheory.sensing import gaussian_problem
from lrtheory.sensing.problems import SensingProblem
from lrtheory.solve import Below, Stalled, solve


def test_each_metric_is_computed_once_and_when_it_is_read():
    calls = []
    metrics = LazyMetrics({name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b", "c")})
    assert list(metrics) == ["a", "b", "c"]
    assert len(metrics) == 3
    assert "b" in metrics
    assert repr(metrics) == "LazyMetrics(a, b, c)"
    assert metrics["b"] == metrics["b"] == 1
    assert calls == ["b"]
    assert dict(metrics) == {"a": 2, "b": 1, "c": 3}
    with pytest.raises(KeyError):
        metrics["d"]


@dataclass(frozen=True, eq=False)
class Counting(SensingProblem):
    passes: list = field(default_factory=list)

    def matrix_gradient(self, x):
        self.passes.append(1)
        return super().matrix_gradient(x)


@dataclass(frozen=True, eq=False)
class Plain(ApproximatedGaussNewton):
    def advance(self, problem, state, n_steps, active):
        return NotImplemented


def counting():
    p = gaussian_problem(8, 2, 160)
    return Counting(p.operator, p.observations, p.truth, p.scale)


def test_loss_and_residual_share_a_pass_and_errors_need_none():
    problem = counting()
    metrics = problem.metrics(RandomFactors(2, 0.5)(problem, Stream(0)))
    assert np.isclose(metrics["relative_error"], metrics["error"] / np.linalg.norm(problem.truth.product()), rtol=1e-14)
    assert len(problem.passes) == 0
    assert metrics["relative_residual"] > 0 < metrics["loss"]
    assert len(problem.passes) == 1


@pytest.mark.parametrize("stop", [Below("relative_error", 1e-9), Stalled("error", 0.999)])
def test_between_records_solve_passes_over_the_data_for_steps_only(stop):
    problem = counting()
    start = RandomFactors(2, 1.0, rho=1.0)
    steps = 40
    solve(problem, Plain(0.1), start=start, max_steps=steps, record=[0, steps], stop=stop, watch={"error": 1e-30})
    assert len(problem.passes) == 2 * steps + 4  # two a step, two for the guard before the first, one a record
