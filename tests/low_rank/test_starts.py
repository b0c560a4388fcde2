"""Where factored methods start."""

import warnings

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors
from lrtheory.low_rank import GivenFactors, OrthonormalFactors, RandomFactors, SpectralFactors
from lrtheory.random import Stream
from lrtheory.sensing import gaussian_problem, population_problem
from lrtheory.testing import strategies


@given(st.integers(1, 4), st.floats(1e-3, 2), st.sampled_from([None, 0.0, 1 / 3, 1.0]), strategies.streams())
def test_a_random_start_is_a_prefix_of_that_of_a_higher_rank(k, alpha, rho, stream):
    problem = population_problem(6, 2)
    small, large = (RandomFactors(kk, alpha, rho=rho)(problem, stream) for kk in (k, k + 2))
    assert np.array_equal(small.left, large.left[:, :k])
    assert np.array_equal(small.right, large.right[:, :k])
    assert small.symmetric is (rho is None)


@given(st.floats(1e-3, 2), st.floats(0, 2), st.sampled_from(["sqrt_n", "unit"]), strategies.streams())
def test_scales_share_the_same_directions(alpha, rho, scale, stream):
    problem = population_problem(5, 1, n2=3)
    unit = RandomFactors(2, 1.0, rho=1.0, scale="unit")(problem, stream)
    x = RandomFactors(2, alpha, rho=rho, scale=scale)(problem, stream)
    left, right = (np.sqrt(5), np.sqrt(3)) if scale == "sqrt_n" else (1.0, 1.0)
    np.testing.assert_allclose(x.left, alpha * unit.left / left, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(x.right, alpha * rho * unit.right / right, rtol=1e-14, atol=1e-300)


def test_random_entries_have_the_stated_deviation():
    problem = population_problem(4, 1)
    x = RandomFactors(3, 0.5, rho=0.2)(problem, Stream(np.arange(2000)))
    # 24000 entries: five standard errors of a sample deviation
    for factor, size in ((x.left, 0.5 / 2), (x.right, 0.1 / 2)):
        assert abs(factor.std() / size - 1) < 5 / np.sqrt(2 * factor.size)
        assert abs(factor.mean()) < 5 * size / np.sqrt(factor.size)
    assert abs(np.corrcoef(x.left.ravel(), x.right.ravel())[0, 1]) < 5 / np.sqrt(x.left.size)


def test_batches_of_alpha_rho_seeds_and_truths_broadcast():
    problem = population_problem(4, 1, seed=np.arange(2))
    alpha, rho = np.array([[0.1], [0.2], [0.3]]), np.array([[[1.0]], [[0.5]]])
    x = RandomFactors(2, alpha, rho=rho)(problem, Stream(np.array([7, 8])))
    assert x.batch_shape == (2, 3, 2)
    assert x.right.shape == (2, 3, 2, 4, 2)
    alone = RandomFactors(2, 0.2, rho=0.5)(population_problem(4, 1), Stream(8))
    assert np.array_equal(x.left[1, 1, 1], alone.left)
    assert np.array_equal(x.right[1, 1, 1], alone.right)


@given(st.integers(1, 5), strategies.seeds())
def test_orthonormal_start(k, seed):
    problem = population_problem(5, 1, n2=3)
    x = OrthonormalFactors(k, 0.5)(problem, Stream(seed))
    np.testing.assert_allclose(x.left.T @ x.left, 0.25 * np.eye(k), rtol=0, atol=1e-14)
    assert x.right.shape == (3, k)
    assert not x.right.any()


def test_orthonormal_start_of_a_batch():
    x = OrthonormalFactors(2, np.array([0.5, 2.0]))(population_problem(5, 1), Stream(np.arange(3)[:, None]))
    assert x.batch_shape == (3, 2)
    np.testing.assert_allclose(np.linalg.norm(x.left, 2, axis=(-2, -1)), [[0.5, 2.0]] * 3, rtol=1e-14)


@given(st.data())
def test_spectral_start_against_numpy(data):
    problem = data.draw(strategies.gaussian_problems(noisy=None) | strategies.population_problems())
    n1, n2 = problem.shape
    k = data.draw(st.integers(1, min(n1, n2)))
    if problem.truth.symmetric:
        x = SpectralFactors(k)(problem, Stream(0))
        back = back_projection(problem)
        values, vectors = np.linalg.eigh((back + back.T) / 2)
        kept = np.argsort(values)[::-1][:k]
        best = (vectors[:, kept] * np.maximum(values[kept], 0)) @ vectors[:, kept].T
        assert x.symmetric
        assert x.left.shape == (n1, k)
        np.testing.assert_allclose(x.product(), best, rtol=0, atol=1e-12 * max(1.0, np.abs(back).max()))
    x = SpectralFactors(k, asymmetric=True)(problem, Stream(0))
    back = back_projection(problem)
    u, s, vt = np.linalg.svd(back)
    size = max(1.0, s[0])
    if k == s.size or s[k - 1] - s[k] > 1e-3 * size:  # else the best approximation is not unique
        np.testing.assert_allclose(x.product(), (u[:, :k] * s[:k]) @ vt[:k], rtol=0, atol=1e-12 * size / 1e-3)
    np.testing.assert_allclose(x.left.T @ x.left, np.diag(s[:k]), rtol=0, atol=1e-12 * size)  # balanced
    np.testing.assert_allclose(x.right.T @ x.right, np.diag(s[:k]), rtol=0, atol=1e-12 * size)


def back_projection(problem):
    """A*(y) by its definition, sum_i y_i A_i, where the matrices are there to be seen."""
    matrices = getattr(problem.operator, "matrices", None)
    if matrices is None:
        return problem.backprojection()
    return problem.scale * np.einsum("i,ijk->jk", problem.observations, matrices.astype(np.float64))


def test_spectral_start_is_the_truth_in_the_population_case():
    for asymmetric in (False, True):
        problem = population_problem(6, 3, kappa=4.0, n2=5 if asymmetric else None)
        x = SpectralFactors(3, asymmetric)(problem, Stream(0))
        assert problem.metrics(x)["error"] <= problem.resolution["error"]


@given(st.data())
def test_given_factors_are_given(data):
    x = data.draw(strategies.factors(4, 3))
    problem = population_problem(4, 1, n2=3)
    assert GivenFactors(x)(problem, Stream(0)) is x
    assert GivenFactors(x.left, x.right)(problem, Stream(0)).right is x.right


def test_starts_live_where_the_problem_lives():
    problem = population_problem(4, 1)
    strict = Factors(array_api_strict.asarray(problem.truth.left))
    there = type(problem)(problem.operator, strict, strict)
    for start in (
        RandomFactors(2, 0.5, rho=0.5),
        RandomFactors(2, array_api_strict.asarray([0.5, 0.1])),
        OrthonormalFactors(2),
        SpectralFactors(2),
        SpectralFactors(2, asymmetric=True),
    ):
        x = start(there, Stream(0))
        assert type(x.left) is type(x.right) is type(strict.left)
        np.testing.assert_allclose(np.asarray(x.product()), start(problem, Stream(0)).product(), rtol=1e-12, atol=1e-14)


NAN = np.full((3, 2), np.nan)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFactors(0), "k .*0"),
        (lambda: RandomFactors(2.0), "k .*2.0"),
        (lambda: RandomFactors(True), "k .*True"),
        (lambda: OrthonormalFactors(-1), "k .*-1"),
        (lambda: SpectralFactors("2"), "k .*'2'"),
        (lambda: RandomFactors(2, 0.0), "alpha must be positive"),
        (lambda: RandomFactors(2, -0.1), "alpha"),
        (lambda: RandomFactors(2, np.nan), "alpha"),
        (lambda: RandomFactors(2, np.inf), "alpha"),
        (lambda: RandomFactors(2, np.array([0.1, 0.0])), "alpha"),
        (lambda: RandomFactors(2, 1e-151), "alpha .*underflows"),
        (lambda: RandomFactors(2, "small"), "alpha .*'small'"),
        (lambda: RandomFactors(2, 1j), "alpha"),
        (lambda: RandomFactors(2, 0.1, rho=-1.0), "rho"),
        (lambda: RandomFactors(2, 0.1, rho=np.nan), "rho"),
        (lambda: RandomFactors(2, 0.1, scale="n"), "scale .*'n'"),
        (lambda: OrthonormalFactors(2, 0.0), "beta"),
        (lambda: OrthonormalFactors(2, np.inf), "beta"),
        (lambda: GivenFactors(NAN), "finite"),
        (lambda: GivenFactors(np.ones((3, 2)), NAN), "finite"),
        (lambda: GivenFactors(np.full((3, 2), np.inf)), "finite"),
        (lambda: GivenFactors(np.ones((3, 2), dtype=complex)), "complex128"),
        (lambda: GivenFactors(np.ones((3, 2), dtype=int)), "int64"),
        (lambda: GivenFactors(np.ones(3)), "left factor"),
        (lambda: GivenFactors(np.ones((3, 2)), np.ones((3, 1))), r"left \(3, 2\) and right \(3, 1\)"),
    ],
)
def test_bad_starts_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("start", "problem", "message"),
    [
        (RandomFactors(2), population_problem(4, 1, n2=3), "symmetric .*4 x 3"),
        (SpectralFactors(2), population_problem(4, 1, n2=3), "symmetric .*4 x 3"),
        (SpectralFactors(4, asymmetric=True), population_problem(4, 1, n2=3), r"k must be <= min\(n1, n2\) = 3"),
        (OrthonormalFactors(4), population_problem(3, 1, n2=4), "k must be <= n1 = 3"),
        (GivenFactors(np.ones((4, 2))), population_problem(3, 1), r"\(4, 4\) .*\(3, 3\)"),
    ],
)
def test_starts_that_do_not_fit_are_refused(start, problem, message):
    with pytest.raises(ValueError, match=message):
        start(problem, Stream(0))


@pytest.mark.parametrize("problem", [population_problem(4, 1, n2=4), gaussian_problem(4, 1, 30, n2=4)])
@pytest.mark.parametrize("start", [RandomFactors(2), SpectralFactors(2), GivenFactors(np.ones((4, 2)))])
def test_the_symmetric_factorisation_needs_a_semi_definite_truth(problem, start):
    """X X^T never equals such an M, and in the population case R X would not even be the gradient."""
    with pytest.raises(ValueError, match="symmetric"):
        start(problem, Stream(0))


def test_warnings():
    problem = population_problem(3, 1)
    with pytest.warns(UserWarning, match=r"k = 4 exceeds min\(n1, n2\) = 3"):
        RandomFactors(4)(problem, Stream(0))
    with pytest.warns(UserWarning, match="symmetric trap"):
        GivenFactors(np.ones((3, 1)), np.ones((3, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RandomFactors(3)(problem, Stream(0))
        GivenFactors(np.ones((3, 1)), np.full((3, 1), 2.0))


def test_zero_factors_warn_of_the_saddle():
    with pytest.warns(UserWarning, match="saddle"):
        GivenFactors(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.warns(UserWarning, match="saddle"):
        GivenFactors(np.zeros((3, 1)))
