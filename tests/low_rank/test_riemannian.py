"""Gradient descent and conjugate gradient on matrices of rank k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors
from lrtheory.low_rank import (
    GivenFactors,
    RandomFactors,
    RiemannianConjugateGradient,
    RiemannianGradientDescent,
    SpectralFactors,
    ZeroFactors,
)
from lrtheory.operators import Dense
from lrtheory.random import Stream
from lrtheory.sensing import SensingProblem, gaussian_problem, population_problem
from lrtheory.solve import RUNNING, solve
from lrtheory.testing import check_algorithm, strategies

BOTH = (RiemannianGradientDescent(), RiemannianConjugateGradient())


def plain_descent(matrices, y, z, k, steps, conjugate):
    """Both methods as one would write them for one problem, with whole matrices and singular vectors."""
    m, n1, n2 = matrices.shape
    rows = matrices.reshape(m, n1 * n2) / np.sqrt(m)
    found = []
    old = direction = None
    for _ in range(steps):
        u, _, vt = np.linalg.svd(z)
        p, q = u[:, :k] @ u[:, :k].T, vt[:k].T @ vt[:k]

        def tangent(a, p=p, q=q):
            return p @ a + a @ q - p @ a @ q

        g = tangent(np.reshape(rows.T @ (rows @ z.ravel() - y), (n1, n2)))
        d = -g
        if conjugate and old is not None:
            beta = max(0.0, np.sum(g * (g - tangent(old))) / np.sum(old**2))
            d = -g + beta * tangent(direction)
            if -np.sum(g * d) < 0.1 * np.linalg.norm(g) * np.linalg.norm(d):
                d = -g
        mu = -np.sum(g * d) / np.sum((rows @ d.ravel()) ** 2)
        u, s, vt = np.linalg.svd(z + mu * d)
        z, old, direction = (u[:, :k] * s[:k]) @ vt[:k], g, d
        found.append(z)
    return found


@pytest.mark.parametrize("algorithm", BOTH)
@pytest.mark.parametrize(("n2", "k"), [(None, 2), (None, 4), (9, 3)])
def test_against_a_plain_transcription(n2, k, algorithm):
    problem = gaussian_problem(12, 2, 260, n2=n2, kappa=4.0, noise=0.1, seed=5)
    x = RandomFactors(k, 1.0, rho=0.5)(problem, Stream(1))
    conjugate = isinstance(algorithm, RiemannianConjugateGradient)
    expected = plain_descent(problem.operator.matrices, problem.observations, x.product(), k, 30, conjugate)
    state = algorithm.init(problem, x, Stream(0))
    for z in expected:
        state = algorithm.step(problem, state)
        np.testing.assert_allclose(state.x.product(), z, rtol=0, atol=1e-10 * np.abs(z).max())
    assert np.linalg.norm(z - problem.truth.product()) < 0.3


def test_a_direction_that_is_hardly_one_of_descent_is_restarted():
    """From a state whose memory is orthogonal to the gradient and large, the step is that of gradient descent."""
    problem = gaussian_problem(8, 2, 200, seed=3)
    x = RandomFactors(2, 1.0, rho=0.5)(problem, Stream(1))
    algorithm = RiemannianConjugateGradient()
    first = algorithm.step(problem, algorithm.init(problem, x, Stream(0)))
    plain = RiemannianGradientDescent().step(problem, RiemannianGradientDescent().init(problem, first.x, Stream(0)))
    along = type(first)(first.x, first.t, first.gradient, first.gradient_squared, first.direction * 1.0)
    across = type(first)(
        first.x,
        first.t,
        first.gradient,
        first.gradient_squared,
        Factors(1e3 * Stream(9).normal(first.direction.left.shape), first.direction.right),
    )
    steepest = plain.x.product()
    assert np.abs(algorithm.step(problem, along).x.product() - steepest).max() > 1e-3
    np.testing.assert_allclose(algorithm.step(problem, across).x.product(), steepest, rtol=0, atol=1e-12)


@given(st.data())
def test_the_exact_line_search_lowers_the_loss_along_the_tangent(data):
    """Between the step and its retraction the loss falls, by the squared slope over twice the curvature."""
    from lrtheory.low_rank.tangent import TangentSpace

    problem = data.draw(strategies.gaussian_problems(max_n=5, min_rank=1, noisy=None))
    n1, n2 = problem.shape
    x = data.draw(strategies.factors(n1, n2, k=data.draw(st.integers(1, min(n1, n2))), symmetric=False))
    value, residual = problem.matrix_gradient(x)
    space = TangentSpace.at(x)
    gradient = space.project(residual)
    slope = gradient.inner(gradient)
    curvature = problem.curvature(space.factors(gradient))
    moved = x.product() - slope / curvature * space.factors(gradient).product()
    fall = value - problem.matrix_gradient(moved)[0]
    np.testing.assert_allclose(fall, slope**2 / (2 * curvature), rtol=1e-9, atol=1e-12 * float(value))


@given(st.data(), st.floats(0.1, 10.0))
def test_p8_scaling(data, c):
    """M -> c M scales the iterates by c; (A, y) -> (c A, c y) leaves them where they are."""
    problem = data.draw(strategies.gaussian_problems(max_n=5, square=False, min_rank=1, forms=({},)))
    n1, n2 = problem.shape
    x = data.draw(strategies.factors(n1, n2, k=data.draw(st.integers(1, min(n1, n2))), symmetric=False))
    larger = SensingProblem(problem.operator, c * problem.observations, problem.truth, problem.scale)
    louder = SensingProblem(
        Dense(c * problem.operator.matrices), c * problem.observations, problem.truth, problem.scale
    )
    for algorithm in BOTH:
        z, scaled, same = (
            solve(p, algorithm, start=GivenFactors(start), max_steps=3).x.product()
            for p, start in ((problem, x), (larger, Factors(c * x.left, x.right)), (louder, x))
        )
        tolerance = 1e-8 * np.abs(z).max()  # a gap between singular values k and k + 1 may be small
        np.testing.assert_allclose(scaled / c, z, rtol=0, atol=tolerance)
        np.testing.assert_allclose(same, z, rtol=0, atol=tolerance)


@given(st.data())
def test_iterates_depend_on_the_product_only(data):
    """(F, G) -> (F L, G L^-T) changes nothing: the methods move a matrix, not factors."""
    problem = data.draw(strategies.sensing_problems(min_rank=1, square=False))
    n1, n2 = problem.shape
    k = data.draw(st.integers(1, min(n1, n2)))
    x = data.draw(strategies.factors(n1, n2, k=k, symmetric=False))
    change = data.draw(strategies.orthogonal_matrices(k)) * np.linspace(0.5, 2, k)
    other = Factors(x.left @ change, x.right @ np.linalg.inv(change).T)
    for algorithm in BOTH:
        a, b = (solve(problem, algorithm, start=GivenFactors(f), max_steps=3).x.product() for f in (x, other))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * max(np.abs(a).max(), 1.0))


def first_below(algorithm, kappa, k, seeds=range(8)):
    found = []
    for seed in seeds:
        result = solve(
            gaussian_problem(24, 2, 480, kappa=kappa, seed=seed),
            algorithm,
            start=SpectralFactors(k, asymmetric=True),
            max_steps=200,
            watch={"relative_error": 1e-6},
            record=[0],
        )
        found.append(int(result.first_below["relative_error"]))
    return np.array(found)


@pytest.mark.parametrize("k", [2, 4])
def test_conjugate_gradient_is_faster_and_neither_depends_on_kappa(k):
    descent, conjugate = ({kappa: first_below(a, kappa, k) for kappa in (1.0, 10.0)} for a in BOTH)
    for counts in (descent, conjugate):
        assert all((found > 0).all() for found in counts.values())
        assert 1 / 1.3 < counts[10.0].mean() / counts[1.0].mean() < 1.3
    for kappa in (1.0, 10.0):
        assert (1.5 * conjugate[kappa] < descent[kappa]).all()  # on every seed; in the mean about 2 (k = r) and 3


@pytest.mark.parametrize("algorithm", BOTH)
def test_laws_of_algorithms(algorithm):
    problem = gaussian_problem(6, 2, 150, kappa=3.0, noise=0.01, seed=1)
    check_algorithm(algorithm, problem, SpectralFactors(2, asymmetric=True))
    check_algorithm(algorithm, problem, RandomFactors(3, 0.5, 0.5))
    check_algorithm(algorithm, population_problem(7, 2, kappa=3.0), RandomFactors(2, 0.5, 0.5))


@pytest.mark.parametrize("algorithm", BOTH)
def test_over_parameterised_from_the_exact_solution_it_stays(algorithm):
    problem = population_problem(8, 2, kappa=3.0, n2=7)
    result = solve(problem, algorithm, start=SpectralFactors(4, asymmetric=True), max_steps=20)
    assert result.status == RUNNING
    assert problem.metrics(result.x)["error"] <= 4 * problem.resolution["error"]


@pytest.mark.parametrize("algorithm", BOTH)
def test_forms_of_one_operator_have_the_same_iterates(algorithm):
    results = [
        solve(
            gaussian_problem(8, 2, 200, symmetric=True, seed=2, **form),
            algorithm,
            start=RandomFactors(2, 1.0, rho=0.5),
            max_steps=20,
        ).x.product()
        for form in ({}, {"form": "packed"}, {"form": "gram"})
    ]
    for z in results:
        np.testing.assert_allclose(z, results[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("algorithm", BOTH)
def test_single_precision(algorithm):
    double = gaussian_problem(8, 2, 250, seed=1, storage="float32")
    single = SensingProblem(
        double.operator,
        double.observations.astype(np.float32),
        double.truth.map(lambda a: a.astype(np.float32)),
        double.scale,
    )
    x = SpectralFactors(2, asymmetric=True)
    a, b = (solve(p, algorithm, start=x, max_steps=30).x for p in (single, double))
    assert a.dtype == np.float32
    np.testing.assert_allclose(a.product(), b.product(), rtol=0, atol=5e-6)


@pytest.mark.filterwarnings("ignore:k = 5 exceeds")
@pytest.mark.parametrize("algorithm", BOTH)
def test_what_they_cannot_start_from(algorithm):
    problem = population_problem(4, 1)
    with pytest.raises(ValueError, match=r"k must be <= min\(n1, n2\) = 4 .*got 5"):
        solve(problem, algorithm, start=GivenFactors(np.ones((4, 5)), 2 * np.ones((4, 5))), max_steps=1)
    with pytest.raises(ValueError, match="asymmetric factors"):
        solve(problem, algorithm, start=RandomFactors(2), max_steps=1)
    with pytest.raises(ValueError, match="other than Z = 0"):
        solve(problem, algorithm, start=ZeroFactors(2, asymmetric=True), max_steps=1)
    with pytest.raises(ValueError, match="other than Z = 0"):
        solve(problem, algorithm, start=RandomFactors(2, rho=0.0), max_steps=1)
