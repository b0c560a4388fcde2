"""The nuclear norm as penalty: by the conditions of optimality, not by the program's own word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtheory.low_rank import NuclearNorm, RandomFactors, ZeroFactors
from lrtheory.low_rank.nuclear import lipschitz
from lrtheory.random import Stream
from lrtheory.sensing import SensingProblem, gaussian_problem, population_problem
from lrtheory.solve import RUNNING, solve
from lrtheory.testing import check_algorithm, strategies

ZERO = ZeroFactors(1, asymmetric=True)


def scaled_rows(problem):
    return problem.scale * problem.operator.matrices.reshape(problem.operator.m, -1)


def violation(problem, z, penalty):
    """How far ``-R(z)`` is from lambda times the subdifferential ``{U V^T + W: |W|_2 <= 1, W orthogonal}``."""
    rows = scaled_rows(problem)
    pull = -np.reshape(rows.T @ (rows @ z.ravel() - problem.observations), z.shape) / penalty
    u, s, vt = np.linalg.svd(z)
    rank = int(np.sum(s > 1e-7 * s[0]))
    u, v = u[:, :rank], vt[:rank].T
    rest = pull - u @ v.T
    return max(
        np.abs(u.T @ rest).max(initial=0.0),
        np.abs(rest @ v).max(initial=0.0),
        np.linalg.norm(rest, 2) - 1,
    )


@pytest.mark.parametrize(("n1", "n2", "m"), [(8, None, 60), (8, None, 30), (7, 5, 40)])
@pytest.mark.parametrize("final", [0.3, 0.02])
def test_certificate_of_optimality(n1, n2, m, final):
    """With noise, and with fewer measurements than unknowns."""
    for seed in range(2):
        problem = gaussian_problem(n1, 1, m, n2=n2, noise=0.2, seed=seed)
        result = solve(problem, NuclearNorm(final=final), start=ZERO, max_steps=800, record=[0], stream=seed)
        penalty = final * np.linalg.norm(np.reshape(scaled_rows(problem).T @ problem.observations, problem.shape), 2)
        np.testing.assert_allclose(result.events["penalty"], penalty, rtol=1e-12)
        assert violation(problem, result.x, penalty) < 1e-6
        # the certificate tells minimisers from others
        assert violation(problem, 1.01 * result.x, penalty) > 1e-3
        assert violation(problem, problem.truth.product(), penalty) > 1e-3


def plain_fista(rows, y, shape, gain, final, decrease, tolerance, steps):
    """One problem from Z = 0, with the gradient and the objective computed where they are needed."""

    def gradient(z):
        return np.reshape(rows.T @ (rows @ z.ravel() - y), shape)

    def objective(z, lam):
        return np.sum((rows @ z.ravel() - y) ** 2) / 2 + lam * np.linalg.norm(z, "nuc")

    largest = np.linalg.norm(gradient(np.zeros(shape)), 2)
    lam, t = decrease * largest, 1.0
    z = old = np.zeros(shape)
    found, falls, rises, margin = [], 0, 0, np.inf
    for _ in range(steps):
        t_next = (1 + np.sqrt(1 + 4 * t**2)) / 2
        w = z + (t - 1) / t_next * (z - old)
        u, s, vt = np.linalg.svd(w - gradient(w) / gain, full_matrices=False)
        old, z = z, (u * np.maximum(s - lam / gain, 0)) @ vt
        rise = objective(z, lam) / objective(old, lam) - 1
        rose = rise > 0
        margin = min(margin, abs(rise))
        t = 1.0 if rose else t_next
        rises += rose
        if np.linalg.norm(z - old) <= tolerance * np.linalg.norm(z) and lam > final * largest:
            lam, t, falls = max(decrease * lam, final * largest), 1.0, falls + 1
        found.append(z)
    return found, falls, rises, margin


@pytest.mark.parametrize(("n2", "tolerance"), [(None, 0.1), (6, 0.02)])
def test_against_a_plain_transcription(n2, tolerance):
    problem = gaussian_problem(9, 2, 100, n2=n2, kappa=3.0, noise=0.1, seed=2)
    algorithm = NuclearNorm(final=0.1, decrease=0.6, tolerance=tolerance)
    state = algorithm.init(problem, np.zeros(problem.shape), Stream(0))
    expected, falls, rises, margin = plain_fista(
        scaled_rows(problem), problem.observations, problem.shape, float(state.lipschitz), 0.1, 0.6, tolerance, 40
    )
    assert falls >= 3  # what is compared
    assert rises >= 1
    assert margin > 1e-10  # otherwise rounding would decide about a restart
    for z in expected:
        state = algorithm.step(problem, state)
        np.testing.assert_allclose(state.x, z, rtol=0, atol=1e-10 * np.abs(z).max())
    assert state.restarts == rises


@pytest.mark.parametrize("form", [{}, {"symmetric": True, "form": "packed"}, {"form": "gram"}])
def test_recovers_exactly_from_few_measurements(form):
    """m = 480 > 3 r (2 n - r) = 276: the minimiser at a small lambda is the truth, up to a bias of about lambda."""
    for seed in range(3):
        problem = gaussian_problem(24, 2, 480, kappa=10.0, seed=seed, **form)
        result = solve(
            problem, NuclearNorm(), start=ZERO, max_steps=600, watch={"relative_error": 1e-4}, record=[0], stream=seed
        )
        assert 0 < result.first_below["relative_error"] < 400
        assert problem.metrics(result.x)["relative_error"] < 1e-5


def test_too_few_measurements_are_not_enough():
    """m = 60, a semi-definite 24 x 24 matrix of rank 4 has 90 degrees of freedom: the data are met, not the truth."""
    with pytest.warns(UserWarning, match="degrees of freedom"):
        problem = gaussian_problem(24, 4, 60, seed=0)
    result = solve(problem, NuclearNorm(), start=ZERO, max_steps=1500)
    assert problem.metrics(result.x)["relative_residual"] < 1e-4
    assert problem.metrics(result.x)["relative_error"] > 0.3


@settings(max_examples=15)
@given(st.data())
def test_population_solution_is_the_threshold_of_the_truth(data):
    problem = data.draw(strategies.population_problems(min_rank=1, square=False))
    final = data.draw(st.floats(0.05, 0.9))
    start = RandomFactors(1, 0.5, rho=1.0)
    result = solve(problem, NuclearNorm(final=final, tolerance=1e-2), start=start, max_steps=300)
    u, s, vt = np.linalg.svd(problem.truth.product(), full_matrices=False)
    expected = (u * np.maximum(s - final * s[0], 0)) @ vt
    np.testing.assert_allclose(result.x, expected, rtol=0, atol=1e-9)


@given(st.data())
def test_the_lipschitz_constant_is_hardly_underestimated(data):
    problem = data.draw(strategies.gaussian_problems(min_rank=1, noisy=None))
    n1, n2 = problem.shape
    basis = np.eye(n1 * n2).reshape(-1, n1, n2)
    normal = problem.matrix_gradient(basis)[1] - problem.matrix_gradient(0 * basis)[1]
    exact = np.linalg.norm(normal.reshape(n1 * n2, -1), 2)
    for keys in (0, np.arange(2)):
        found = lipschitz(problem, problem.backprojection(), Stream(keys))
        assert np.shape(found) == np.shape(keys)
        assert (found <= exact * (1 + 1e-12)).all()
        assert (found >= 0.8 * exact).all()  # the iteration tolerates 0.75


def test_lipschitz_constant_of_the_population_case_and_without_observations():
    problem = population_problem(5, 2)
    np.testing.assert_allclose(lipschitz(problem, problem.backprojection(), Stream(0)), 1.0, rtol=1e-12)
    dense = gaussian_problem(5, 2, 40, seed=1)
    silent = SensingProblem(dense.operator, 0 * dense.observations, dense.truth, dense.scale)
    loud = SensingProblem(dense.operator, 1e12 * dense.observations, dense.truth, dense.scale)
    exact = np.linalg.norm(scaled_rows(dense), 2) ** 2
    for p in (silent, loud):
        assert 0.9 * exact < lipschitz(p, p.backprojection(), Stream(0)) <= exact * (1 + 1e-12)
    result = solve(silent, NuclearNorm(), start=ZERO, max_steps=5)
    assert not result.x.any()
    assert result.status == RUNNING


def start_array(problem, stream):
    return RandomFactors(2, 0.5, rho=0.5)(problem, stream).product()


@pytest.mark.parametrize("algorithm", [NuclearNorm(tolerance=0.1), NuclearNorm(final=0.2)])
def test_laws_of_algorithms(algorithm):
    # law 6 compares elements that draw their own start of the power method
    check_algorithm(algorithm, gaussian_problem(6, 2, 150, kappa=3.0, noise=0.01, seed=1), start_array)
    check_algorithm(algorithm, population_problem(6, 2), start_array)


def test_factors_are_multiplied_out():
    problem = gaussian_problem(5, 1, 40, seed=0)
    x = RandomFactors(2, 0.5)(problem, Stream(1))
    state = NuclearNorm().init(problem, x, Stream(0))
    np.testing.assert_array_equal(state.x, x.product())
    assert state.t == 0


def test_single_precision():
    double = gaussian_problem(6, 1, 100, seed=1, storage="float32")
    single = SensingProblem(
        double.operator,
        double.observations.astype(np.float32),
        double.truth.map(lambda a: a.astype(np.float32)),
        double.scale,
    )
    a, b = (solve(p, NuclearNorm(final=0.01), start=ZERO, max_steps=200).x for p in (single, double))
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"final": 0.0},
        {"final": 1.5},
        {"final": np.nan},
        {"decrease": 1.0},
        {"decrease": -0.5},
        {"decrease": "half"},
        {"tolerance": 0.0},
        {"tolerance": np.inf},
        {"tolerance": True},
    ],
)
def test_bad_input(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name} must be a number above 0"):
        NuclearNorm(**bad)
