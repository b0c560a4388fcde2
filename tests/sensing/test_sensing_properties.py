"""Properties P4-P16 of gradient descent on factors (P1-P3 are laws of operators)."""

from dataclasses import replace
from fractions import Fraction as Q

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors
from lrtheory.operators import Dense, Identity
from lrtheory.random import Stream
from lrtheory.sensing import SensingProblem, gaussian_problem, population_problem
from lrtheory.solve import solve
from lrtheory.spectra import orthonormal
from lrtheory.testing import strategies

pytestmark = pytest.mark.filterwarnings("ignore:step_size")


def trajectory(problem, x, eta, n_steps=50, every=10, compiled=False):
    """Estimates after 0, every, 2 every, ... steps, by `step` or by `advance`."""
    algorithm = GradientDescent(eta)
    state = algorithm.init(problem, x, Stream(0))
    estimates = [x.product()]
    for _ in range(n_steps // every):
        if compiled:
            state = algorithm.advance(problem, state, every, np.array(True))
        else:
            for _ in range(every):
                state = algorithm.step(problem, state)
        estimates.append(state.x.product())
    return np.stack(estimates)


def assert_same(a, b, tolerance=1e-9):
    """Relative to the largest entry, which a contractive iteration does not leave far behind."""
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-12))


@given(st.data(), st.booleans())
def test_p4_orthogonal_invariance(data, compiled):
    """X -> X Q, (F, G) -> (F Q, G Q) leave the estimates where they are."""
    problem = data.draw(strategies.sensing_problems())
    x = data.draw(strategies.starts(problem))(problem, Stream(0))
    eta = data.draw(strategies.step_sizes(problem, x))
    q = data.draw(strategies.orthogonal_matrices(x.k))
    assert_same(
        trajectory(problem, x.map(lambda a: a @ q), eta, compiled=compiled),
        trajectory(problem, x, eta, compiled=compiled),
    )


def test_p4_fails_for_maps_that_are_not_orthogonal():
    """The counter-test: (F L, G L^-T) has the same product, and gradient descent tells them apart."""
    problem = population_problem(5, 2)
    x = RandomFactors(3, 0.5, rho=1.0)(problem, Stream(0))
    other = Factors(x.left * 2.0, x.right / 2.0)
    np.testing.assert_allclose(other.product(), x.product(), rtol=1e-14)
    assert np.abs(trajectory(problem, x, 0.1) - trajectory(problem, other, 0.1)).max() > 1e-2


SYMMETRIC = tuple(form for form in strategies.FORMS if form.get("symmetric"))


@given(st.data(), st.booleans())
def test_p5_equal_factors_on_a_symmetric_problem_are_the_symmetric_method(data, compiled):
    problem = data.draw(
        strategies.population_problems(square=True) | strategies.gaussian_problems(square=True, forms=SYMMETRIC)
    )
    x = data.draw(strategies.starts(problem, symmetric=True))(problem, Stream(0))
    eta = data.draw(strategies.step_sizes(problem, x))
    algorithm = GradientDescent(eta)
    one, two = (algorithm.init(problem, s, Stream(0)) for s in (x, Factors(x.left, x.left)))
    for _ in range(30):
        if compiled:
            one, two = (algorithm.advance(problem, s, 1, np.array(True)) for s in (one, two))
        else:
            one, two = (algorithm.step(problem, s) for s in (one, two))
        size = max(np.abs(one.x.left).max(), 1e-12)
        assert np.abs(two.x.left - one.x.left).max() <= 1e-10 * size
        assert np.abs(two.x.right - one.x.left).max() <= 1e-10 * size


def test_p5_does_not_hold_for_measurements_that_are_not_symmetric():
    problem = gaussian_problem(4, 1, 30)
    x = RandomFactors(2, 0.5)(problem, Stream(0))
    assert np.abs(trajectory(problem, x, 0.1) - trajectory(problem, Factors(x.left, x.left), 0.1)).max() > 1e-3


def imbalance(x):
    return x.left.T @ x.left - x.right.T @ x.right


def imbalance_defect(problem, x, new, eta):
    """How far a step is from identity T8, relative to the largest term of it."""
    r = problem.matrix_gradient(x.product())[1]
    pulled_left, pulled_right = r @ x.right, r.T @ x.left
    change = eta**2 * (pulled_left.T @ pulled_left - pulled_right.T @ pulled_right)
    terms = [new.left.T @ new.left, new.right.T @ new.right, change]
    return np.abs(imbalance(new) - imbalance(x) - change).max() / max(np.abs(a).max() for a in terms)


@given(st.data(), st.floats(1e-3, 1.0), st.booleans())
def test_p6_the_imbalance_identity_of_t8_at_every_step(data, eta, compiled):
    """Delta+ = Delta + eta^2 (G^T R^T R G - F^T R R^T F), any A, any noise, any step size."""
    problem = data.draw(strategies.population_problems() | strategies.gaussian_problems(noisy=None))
    x = data.draw(strategies.factors(*problem.shape, symmetric=False))
    algorithm = GradientDescent(eta)
    state = algorithm.init(problem, x, Stream(0))
    for _ in range(10):
        if compiled:
            new = algorithm.advance(problem, state, 1, np.array(True))
        else:
            new = algorithm.step(problem, state)
        if max(np.abs(new.x.left).max(), np.abs(new.x.right).max()) > 1e3:
            break  # any step size: it may diverge, and did so by the identity up to here
        assert imbalance_defect(problem, state.x, new.x, eta) <= 1e-10
        state = new


def test_p6_excludes_the_alternating_update():
    """G moved with the new F (Gauss-Seidel, not Jacobi) breaks the identity by far more than its tolerance."""
    problem = population_problem(5, 2)
    x = RandomFactors(3, 1.0, rho=0.5)(problem, Stream(0))
    left = x.left - 0.1 * (x.product() - problem.truth.product()) @ x.right
    right = x.right - 0.1 * (left @ x.right.T - problem.truth.product()).T @ left
    assert imbalance_defect(problem, x, Factors(left, right), 0.1) > 1e-5
    jacobi = GradientDescent(0.1).step(problem, GradientDescent(0.1).init(problem, x, Stream(0))).x
    assert imbalance_defect(problem, x, jacobi, 0.1) < 1e-14


@given(st.data())
def test_p7_conjugation(data):
    """M -> P M Q^T, F -> P F, G -> Q G conjugates the trajectory; P = Q for X X^T."""
    problem = data.draw(strategies.population_problems())
    n1, n2 = problem.shape
    x = data.draw(strategies.starts(problem))(problem, Stream(0))
    eta = data.draw(strategies.step_sizes(problem, x))
    p = data.draw(strategies.orthogonal_matrices(n1))
    q = p if problem.truth.symmetric else data.draw(strategies.orthogonal_matrices(n2))

    def rotate(f):
        return Factors(p @ f.left) if f.symmetric else Factors(p @ f.left, q @ f.right)

    truth = rotate(problem.truth)
    rotated = SensingProblem(Identity(n1, n2), truth, truth)
    assert_same(trajectory(rotated, rotate(x), eta), p @ trajectory(problem, x, eta) @ q.T)


@given(st.data(), st.floats(0.1, 10.0))
def test_p8_scaling(data, c):
    """M -> c M, X_0 -> sqrt(c) X_0, eta -> eta / c scales the trajectory by c."""
    problem = data.draw(strategies.sensing_problems())
    x = data.draw(strategies.starts(problem))(problem, Stream(0))
    eta = data.draw(strategies.step_sizes(problem, x))
    root = np.sqrt(c)
    y = problem.observations
    scaled = replace(problem, truth=problem.truth * root, observations=y * root if isinstance(y, Factors) else y * c)
    assert_same(trajectory(scaled, x * root, eta / c), c * trajectory(problem, x, eta))


@given(st.data(), st.floats(0.1, 10.0))
def test_p8_measurements_may_be_permuted_and_rescaled(data, s):
    problem = data.draw(strategies.gaussian_problems(forms=({}, {"symmetric": True}), noisy=None))
    x = data.draw(strategies.starts(problem))(problem, Stream(0))
    eta = data.draw(strategies.step_sizes(problem, x))
    a, y = problem.operator.matrices, problem.observations
    order = Stream(0).child(y.size).generator().permutation(y.size)
    expected = trajectory(problem, x, eta)
    permuted = replace(problem, operator=Dense(a[order], problem.operator.symmetric), observations=y[order])
    assert_same(trajectory(permuted, x, eta), expected)
    rescaled = replace(problem, operator=Dense(a * s, problem.operator.symmetric), observations=y * s)
    assert_same(trajectory(rescaled, x, eta / s**2), expected)


@given(st.data())
def test_p9_rank_and_row_space_never_grow(data):
    """X+ = (I - eta R) X: rank(X_t) <= rank(X_0), for any A and noise."""
    problem = data.draw(strategies.gaussian_problems(square=True, noisy=None))
    n = problem.shape[0]
    rank = data.draw(st.integers(1, n))
    k = rank + data.draw(st.integers(0, 2))
    rows = orthonormal(k, rank, data.draw(strategies.streams()))
    x = Factors(data.draw(strategies.factors(n, k=rank, symmetric=True)).left @ rows.T)
    eta = data.draw(strategies.step_sizes(problem, x))
    algorithm = GradientDescent(eta)
    state = algorithm.init(problem, x, Stream(0))
    for _ in range(40):
        state = algorithm.step(problem, state)
    outside = state.x.left @ (np.eye(k) - rows @ rows.T)
    assert np.abs(outside).max() <= 1e-12 * np.abs(state.x.left).max()


@given(st.data())
def test_p9_population_descent_stays_in_the_span_of_truth_and_start(data):
    problem = data.draw(strategies.population_problems(max_n=9, square=True, min_rank=1))
    u = np.linalg.qr(problem.truth.left)[0]
    inside = data.draw(strategies.factors(problem.r, symmetric=True))
    x = inside.map(lambda a: u @ a)
    eta = data.draw(strategies.step_sizes(problem, x))
    for compiled in (False, True):
        last = trajectory(problem, x, eta, compiled=compiled)[-1]
        assert np.abs(last - u @ (u.T @ last)).max() <= 1e-12 * np.abs(last).max()


@given(st.data())
def test_p9_a_zero_right_factor_stays_in_the_row_space_of_the_truth(data):
    problem = data.draw(strategies.population_problems(square=False, min_rank=1))
    n1, n2 = problem.shape
    x = data.draw(strategies.factors(n1, n2, symmetric=False))
    x = Factors(x.left, np.zeros_like(x.right))
    eta = data.draw(strategies.step_sizes(problem, x))
    v = np.linalg.qr(problem.truth.right)[0]
    state = GradientDescent(eta).init(problem, x, Stream(0))
    for _ in range(30):
        state = GradientDescent(eta).step(problem, state)
    right = state.x.right
    assert np.abs(right).max() > 0
    assert np.abs(right - v @ (v.T @ right)).max() <= 1e-12 * max(np.abs(right).max(), 1e-3)


@given(st.data(), st.floats(0.01, 1.0))
def test_p10_the_loss_falls_for_step_sizes_up_to_the_safe_one(data, fraction):
    """Population, symmetric, eta <= 1 / (4 max(sigma_1, |X_0|^2))."""
    problem = data.draw(strategies.population_problems(square=True))
    x = data.draw(strategies.starts(problem, symmetric=True, max_alpha=3.0))(problem, Stream(0))
    sigma = np.linalg.norm(problem.truth.product(), 2)
    largest = max(sigma, np.linalg.norm(x.left, 2) ** 2)
    assume(largest > 0)
    eta = fraction / (4 * largest)
    result = solve(problem, GradientDescent(eta), start=lambda problem, stream: x, max_steps=120, record="all")
    loss = result.trace.metrics["loss"]
    assert (np.diff(loss) <= 1e-14 * loss[0] + 1e-30).all()


def test_p10_excludes_a_step_size_that_is_too_large():
    problem = population_problem(5, 2)
    x = problem.truth * 1.01
    result = solve(problem, GradientDescent(1.2), start=lambda problem, stream: x, max_steps=5, record="all")
    assert np.diff(result.trace.metrics["loss"]).max() > 0


# -- P12 --------------------------------------------------------------------------------------------------------------

START = [[Q(1, 2), Q(1, 4)], [Q(1, 4), Q(-1, 2)]]
TRUTH = [[Q(1), Q(0)], [Q(0), Q(0)]]
LISTED = {
    1: [[Q(171, 320), Q(171, 640)], [Q(31, 128), Q(-31, 64)]],
    2: [[Q(149091309, 262144000), Q(149091309, 524288000)], [Q(986017, 4194304), Q(-986017, 2097152)]],
}


def times(a, b):
    return [[sum(p * q for p, q in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def exact_step(x, eta):
    """X - eta (X X^T - M) X in rational arithmetic."""
    residual = times(x, [list(row) for row in zip(*x, strict=True)])
    residual = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(residual, TRUTH, strict=True)]
    pull = times(residual, x)
    return [[a - eta * b for a, b in zip(*rows, strict=True)] for rows in zip(x, pull, strict=True)]


@pytest.mark.parametrize("compiled", [False, True])
def test_p12_the_exact_rational_trajectory(compiled):
    u = np.array([[1.0], [0.0]])
    problem = SensingProblem(Identity(2), Factors(u), Factors(u))
    algorithm = GradientDescent(0.1)
    state = algorithm.init(problem, Factors(np.array([[0.5, 0.25], [0.25, -0.5]])), Stream(0))
    exact = START
    for t in range(1, 8):
        exact = exact_step(exact, Q(1, 10))
        if t in LISTED:
            assert exact == LISTED[t]
        if compiled:
            state = algorithm.advance(problem, state, 1, np.array(True))
        else:
            state = algorithm.step(problem, state)
        # a few roundings of eps in each step; 0.1 itself is off by 5e-18
        assert np.abs(state.x.left - np.array(exact, dtype=float)).max() <= 4e-16 * t


# -- P13 --------------------------------------------------------------------------------------------------------------


@given(st.data(), st.booleans())
def test_p13_the_solution_is_a_fixed_point(data, asymmetric):
    problem = data.draw(strategies.sensing_problems(min_rank=1))
    extra = data.draw(st.integers(0, 2))
    rotation = data.draw(strategies.orthogonal_matrices(problem.r + extra))
    x = problem.truth.map(lambda a: np.concatenate([a, np.zeros((a.shape[0], extra))], axis=1) @ rotation)
    if asymmetric or not x.symmetric:
        x = Factors(x.left, x.right)
    algorithm = GradientDescent(data.draw(strategies.step_sizes(problem, x)))
    state = algorithm.init(problem, x, Stream(0))
    for new in (algorithm.step(problem, state), algorithm.advance(problem, state, 1, np.array(True))):
        assert np.abs(new.x.left - x.left).max() <= 1e-14
        assert np.abs(new.x.right - x.right).max() <= 1e-14


def test_p13_bitwise_where_the_gradient_is_exactly_zero():
    u = np.eye(4)[:, :2]
    problem = SensingProblem(Identity(4), Factors(u), Factors(u))
    for x in (Factors(np.eye(4)[:, :3] * [1.0, 1.0, 0.0]), Factors(u.copy(), u.copy())):
        result = solve(problem, GradientDescent(0.3), start=lambda problem, stream, x=x: x, max_steps=100)
        assert np.array_equal(result.x.left, x.left)
        assert np.array_equal(result.x.right, x.right)
        assert result.trace.metrics["error"][-1] == 0.0


@given(st.data(), st.booleans())
def test_p13_zero_is_a_saddle(data, symmetric):
    problem = data.draw(strategies.sensing_problems(square=True, min_rank=1))
    zero = np.zeros((problem.shape[0], 2))
    x = Factors(zero) if symmetric else Factors(zero, zero)
    result = solve(problem, GradientDescent(0.1), start=lambda problem, stream: x, max_steps=20)
    assert not result.x.left.any()
    assert not result.x.right.any()


# -- P16 --------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:k = ")
@pytest.mark.parametrize(("n", "r", "k", "expected"), [(10, 0, 3, 3), (10, 2, 12, 8), (10, 2, 20, 8)])
def test_p16_no_truth_at_all_and_more_columns_than_rows(n, r, k, expected):
    """Slope -2 and constant min(k, n) - r in units of 1 / (4 eta^2 t^2), spec: 2.998, 7.986, 7.995."""
    eta, steps = 0.2, 40_000
    for seed in range(3):
        result = solve(
            population_problem(n, r, seed=seed),
            GradientDescent(eta),
            start=RandomFactors(k, 0.5),
            max_steps=steps,
            stream=seed,
        )
        error, t = result.trace.metrics["error"], result.trace.iteration
        # k = n is left by one small singular value, which joins the law late: t >> 1 / (eta s^2)
        assert abs(error[-1] ** 2 * 4 * eta**2 * steps**2 / expected - 1) < 0.02
        late = t >= steps / 10
        slope = np.polyfit(np.log(t[late]), 2 * np.log(error[late]), 1)[0]
        assert abs(slope + 2) < 0.03
