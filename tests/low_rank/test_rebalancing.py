"""The modified step: the product is kept, the balance is changed, once and for each element at its own time."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import OrthonormalFactors, RandomFactors, RebalancedGradientDescent, rebalance
from lrtheory.random import Stream
from lrtheory.sensing import gaussian_problem, population_problem, theory
from lrtheory.solve import solve
from lrtheory.testing import strategies

BETAS = st.floats(0.05, 3.0)


@given(st.data(), BETAS, st.sampled_from(["flat", "lift"]))
def test_p11_the_product_is_kept(data, beta, kind):
    n1, n2 = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    x = data.draw(strategies.factors(n1, n2, symmetric=False))
    got = rebalance(x, beta, kind)
    assert np.abs(got.product() - x.product()).max() <= 1e-10 * max(np.abs(x.product()).max(), 1e-300)


@given(st.data(), BETAS)
def test_p11_flat_makes_the_left_gram_a_multiple_of_the_identity(data, beta):
    x = data.draw(strategies.factors(6, 4, k=data.draw(st.integers(1, 6)), symmetric=False))
    left = rebalance(x, beta, "flat").left
    np.testing.assert_allclose(left.T @ left, beta**2 * np.eye(x.k), rtol=0, atol=1e-13 * beta**2)


@given(st.data(), BETAS)
def test_p11_lift_raises_the_small_singular_values_only(data, beta):
    x = data.draw(strategies.factors(6, 4, k=data.draw(st.integers(1, 6)), symmetric=False))
    before = np.linalg.svd(x.left, compute_uv=False)
    after = np.linalg.svd(rebalance(x, beta, "lift").left, compute_uv=False)
    np.testing.assert_allclose(after, np.maximum(before, beta), rtol=1e-12)


@given(st.data(), st.floats(0.1, 1.0))
def test_p11_lift_below_the_smallest_singular_value_is_the_identity(data, fraction):
    x = data.draw(strategies.factors(6, 4, k=data.draw(st.integers(1, 4)), symmetric=False))
    smallest = np.linalg.svd(x.left, compute_uv=False)[-1]
    got = rebalance(x, fraction * smallest, "lift")
    np.testing.assert_allclose(got.left, x.left, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got.right, x.right, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["flat", "lift"])
def test_rank_deficient_left_factors(kind):
    left = np.zeros((4, 3))
    left[:, 0] = 2.0
    x = Factors(left, np.ones((5, 3)))
    got = rebalance(x, 0.5, kind)
    np.testing.assert_allclose(got.product(), x.product(), rtol=1e-13)
    assert np.linalg.svd(got.left, compute_uv=False)[-1] >= 0.5 * (1 - 1e-13)
    zero = rebalance(Factors(np.zeros((4, 2)), np.ones((5, 2))), 0.5, kind)
    assert not zero.product().any()


@pytest.mark.parametrize("library", [np, array_api_strict])
def test_each_element_has_its_own_beta(library):
    generator = np.random.default_rng(0)
    x = Factors(*(library.asarray(generator.normal(size=(3, 5, 2))) for _ in range(2)))
    betas = [0.5, 1.0, 2.0]
    for beta in (np.array(betas), library.asarray(betas)):
        got = np.asarray(rebalance(x, beta).left)
        for i, b in enumerate(betas):
            np.testing.assert_allclose(got[i].T @ got[i], b**2 * np.eye(2), rtol=0, atol=1e-12)


@given(st.data())
def test_the_rebalanced_step_keeps_the_trajectory_of_the_product_only_at_that_step(data):
    """One step of gradient descent from the rebalanced factors, by the formula."""
    problem = population_problem(5, 2, n2=4, seed=data.draw(strategies.seeds()))
    x = data.draw(strategies.factors(5, 4, k=3, symmetric=False))
    beta, eta = 0.8, 0.05
    algorithm = RebalancedGradientDescent(eta, beta=beta, at=0)
    state = algorithm.step(problem, algorithm.init(problem, x, Stream(0)))
    flat = rebalance(x, beta, "flat")
    residual = flat.product() - problem.truth.product()
    np.testing.assert_allclose(state.x.left, flat.left - eta * residual @ flat.right, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.x.right, flat.right - eta * residual.T @ flat.left, rtol=0, atol=1e-12)
    assert state.rebalanced_at == 0
    assert algorithm.step(problem, state).rebalanced_at == 0


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("kind", ["flat", "lift"])
@pytest.mark.parametrize(
    "problem", [population_problem(6, 2, seed=4), gaussian_problem(6, 2, 150, seed=4)], ids=["population", "dense"]
)
def test_the_trigger_is_the_first_step_with_a_small_residual(problem, kind, rank):
    """By brute force: the first t with |R|_2 < 0.3 sigma_r(F G^T), before it plain gradient descent."""
    start, eta = RandomFactors(4, 0.3, rho=1 / 3), 0.1
    algorithm = RebalancedGradientDescent(eta, kind=kind, rank=rank)
    result = solve(problem, algorithm, start=start, max_steps=150, stream=np.arange(3))
    at = result.events["rebalanced"]
    assert (at > 5).all()
    for element in range(3):
        plain = solve(problem, GradientDescent(eta), start=start, max_steps=int(at[element]) + 1, stream=element)
        x = start(problem, Stream(element).child("start"))
        state = GradientDescent(eta).init(problem, x, Stream(0))
        first = None
        for t in range(plain.state.t):
            estimate = state.x.product()
            residual = problem.matrix_gradient(estimate)[1]
            s = np.linalg.svd(estimate, compute_uv=False)[:4]
            sigma = s[np.argmax(s[:-1] / s[1:]) if rank is None else rank - 1]
            if np.linalg.norm(residual, 2) < 0.3 * sigma:
                first = t
                break
            state = GradientDescent(eta).step(problem, state)
        assert at[element] == first


def test_at_names_the_step():
    problem = population_problem(5, 2)
    start = RandomFactors(3, 0.3, rho=1 / 3)
    result = solve(problem, RebalancedGradientDescent(0.1, at=17, beta=0.7), start=start, max_steps=40, record="all")
    plain = solve(problem, GradientDescent(0.1), start=start, max_steps=40, record="all")
    assert result.events["rebalanced"] == 17
    for name in ("error", "loss"):
        ours, theirs = result.trace.metrics[name], plain.trace.metrics[name]
        np.testing.assert_allclose(ours[:18], theirs[:18], rtol=1e-9)  # the product is kept at the step itself
        assert abs(ours[20] / theirs[20] - 1) > 1e-3


def test_never_triggered_is_minus_one():
    problem = population_problem(5, 2)
    result = solve(problem, RebalancedGradientDescent(0.1), start=RandomFactors(3, 0.1, rho=0.3), max_steps=3)
    assert result.events["rebalanced"] == -1
    later = solve(problem, RebalancedGradientDescent(0.1, at=50), start=RandomFactors(3, 0.1, rho=0.3), max_steps=3)
    assert later.events["rebalanced"] == -1


@pytest.mark.parametrize("kind", ["flat", "lift"])
@pytest.mark.parametrize(("beta", "max_steps", "spread"), [(0.3, 2000, 0.12), (0.5, 700, 0.06)])
def test_the_rate_afterwards_does_not_depend_on_alpha(kind, beta, max_steps, spread):
    """T7, population: 2 log(1 - eta beta^2) a step for the squared error, whatever alpha was.

    The specification's own measurements are within 11 % of it at beta = 0.3 and within 6 % at 0.5.
    """
    # lift leaves what is above beta: from alpha = 0.4 redundant singular values of F are up to 0.35
    alphas = np.array([0.05, 0.1] if kind == "lift" and beta < 0.4 else [0.05, 0.1, 0.4])
    for seed in range(3):
        result = solve(
            population_problem(50, 3, seed=seed),
            RebalancedGradientDescent(0.1, kind=kind, beta=beta),
            start=RandomFactors(5, alphas, rho=1 / 3),
            max_steps=max_steps,
            record="linear",
            stream=seed,
        )
        t = result.trace.iteration
        late = t > max_steps / 2
        slopes = [np.polyfit(t[late], 2 * np.log(e[late]), 1)[0] for e in result.trace.metrics["error"].T]
        ratio = np.array(slopes) / theory.rebalanced_log_factor(0.1, beta)
        assert np.abs(ratio - 1).max() < spread
        assert ratio.max() / ratio.min() < 1.2  # without the modified step the rates are as 1 : 4 : 64


def test_orthonormal_start_has_that_rate_at_once():
    """beta Q with a zero right factor is what `flat` makes: no modified step is needed."""
    result = solve(
        population_problem(20, 2), GradientDescent(0.1), start=OrthonormalFactors(4, 0.5), max_steps=60, record="all"
    )
    error = result.trace.metrics["error"]
    assert error[-1] < 0.5 * error[0]
    assert (np.diff(error) < 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RebalancedGradientDescent(0.0), "step_size"),
        (lambda: RebalancedGradientDescent(0.1, kind="flatt"), "kind .*'flatt'"),
        (lambda: RebalancedGradientDescent(0.1, rank=0), "0"),
        (lambda: RebalancedGradientDescent(0.1, beta=0.0), "beta"),
        (lambda: RebalancedGradientDescent(0.1, beta=np.nan), "beta"),
        (lambda: RebalancedGradientDescent(0.1, trigger=-0.3), "trigger"),
        (lambda: RebalancedGradientDescent(0.1, at=-1), "at .*-1"),
        (lambda: RebalancedGradientDescent(0.1, at=2.5), "at .*2.5"),
        (lambda: rebalance(Factors(np.ones((3, 1))), 1.0), "symmetric"),
        (lambda: rebalance(Factors(np.ones((3, 1)), np.ones((3, 1))), 1.0, "up"), "kind .*'up'"),
        (lambda: rebalance(Factors(np.ones((3, 1)), np.ones((3, 1))), 0.0), "beta"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_it_cannot_start_from():
    problem = population_problem(4, 1)
    with pytest.raises(ValueError, match="asymmetric"):
        solve(problem, RebalancedGradientDescent(0.1), start=RandomFactors(2), max_steps=1)
    with pytest.raises(ValueError, match=r"rank must be <= min\(k, n1, n2\) = 2, got 3"):
        solve(problem, RebalancedGradientDescent(0.1, rank=3), start=RandomFactors(2, rho=0.5), max_steps=1)
