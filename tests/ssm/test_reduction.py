"""Gramians, Hankel singular values and truncations against SciPy, mpmath and dense Hankel matrices."""

from dataclasses import replace

import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from stable_systems import ONTO, dense, dense_hankel_values, response, stable_systems

from lrtheory.ssm import (
    DiagonalSSM,
    balanced_truncation,
    difference,
    gramians,
    h2_norm,
    hankel_singular_values,
    hinf_norm,
    modal_truncation,
    reduction,
    s4d,
)
from lrtheory.ssm.modal import energy

pytestmark = pytest.mark.filterwarnings("ignore::lrtheory.ssm.AliasingWarning")

EPS = np.finfo(np.float64).eps

either = st.booleans()


def plain(N, init, seed, dt=1e-3):
    """The systems of the published measurements: B = 1 except for legs, C complex standard normal."""
    C = None
    if init == "real":
        rng = np.random.default_rng(seed)
        C = (rng.standard_normal(N) + 1j * rng.standard_normal(N)) / np.sqrt(2)
    return s4d(N, 1, init, dt=dt, stream=seed, **({} if C is None else {"C": C}))


def as_strict(system):
    convert = {name: array_api_strict.asarray(getattr(system, name)) for name in "ABC"}
    return replace(system, **convert)


# Gramians


@given(stable_systems(), either)
def test_gramians_solve_the_lyapunov_equations(system, discrete):
    p, q = gramians(system, discrete=discrete)
    a, b, c = system.A, system.B, system.C
    if discrete:
        a, b = system.discretize()
    if system.conjugate_pairs or np.iscomplexobj(c):
        a, b, c = (np.concatenate([v, v.conj()]) for v in (a, b, c if system.conjugate_pairs else c / 2))
    b, c = np.outer(b, b.conj()), np.outer(c.conj(), c)
    for gramian, x, source in ((p, a, b), (q, a.conj(), c)):
        if discrete:
            residual = x[:, None] * gramian * x.conj() - gramian + source
        else:
            residual = x[:, None] * gramian + gramian * x.conj() + source
        assert np.abs(residual).max() <= 40 * EPS * (np.abs(source).max() + np.abs(a).max() * np.abs(gramian).max())
        np.testing.assert_allclose(gramian, gramian.conj().T, rtol=1e-14)


@given(stable_systems(real=True, rules=("zoh",)), either)
def test_real_gramians_are_those_of_scipy(system, discrete):
    system = replace(system, conjugate_pairs=False)
    p, q = gramians(system, discrete=discrete)
    assert p.dtype == q.dtype == np.float64
    a, b, c = np.diag(system.A), system.B, system.C
    if discrete:
        abar, b = system.discretize()
        a = np.diag(abar.real)
        expected = [scipy.linalg.solve_discrete_lyapunov(a, np.outer(v, v)) for v in (b, c)]
    else:
        expected = [scipy.linalg.solve_continuous_lyapunov(a, -np.outer(v, v)) for v in (b, c)]
    for ours, theirs in zip((p, q), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * np.abs(theirs).max())


@given(stable_systems(max_modes=3, channels=(2,), rules=ONTO), either)
def test_any_array_library(system, discrete):
    strict = as_strict(system)
    for ours, theirs in zip(gramians(strict, discrete=discrete), gramians(system, discrete=discrete), strict=True):
        assert isinstance(ours, type(strict.A))
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-12)
    reduced, information = balanced_truncation(strict, 1, discrete=discrete)
    expected, known = balanced_truncation(system, 1, discrete=discrete)
    assert isinstance(reduced.A, type(strict.A))
    np.testing.assert_array_equal(np.asarray(reduced.A), expected.A)
    np.testing.assert_array_equal(np.asarray(information.upper_bound), known.upper_bound)


# Hankel singular values


@given(stable_systems(), either)
def test_hankel_singular_values_are_roots_of_the_product_of_gramians(system, discrete):
    s = hankel_singular_values(system, discrete=discrete)
    expected = dense_hankel_values(system, discrete)
    assert np.all(np.diff(s) <= 0)
    assert np.all(s >= 0)
    size = max(len(s), len(expected))
    s, expected = (np.pad(v, (0, size - len(v))) for v in (s, expected))
    np.testing.assert_allclose(s, expected, atol=3e-7 * s[0])  # a root of rounding: the dense values know no more


@given(stable_systems(max_modes=4, rules=("zoh", "impulse")))
def test_discrete_ones_are_singular_values_of_the_hankel_matrix(system):
    system = replace(system, dt=2.0)
    kernel = system.kernel(401)  # exp(-0.2 * 200) is below rounding
    matrix = np.linalg.svd(scipy.linalg.hankel(kernel[:201], kernel[200:]), compute_uv=False)
    s = hankel_singular_values(system, discrete=True)
    np.testing.assert_allclose(s, matrix[: len(s)], atol=1e-12 * s[0])


def cross_gramian_values(w, x, discrete):
    """|eigenvalues| of the cross Gramian in 120 digits: those of a system with one input and output, exactly."""
    with mpmath.workdps(120):
        poles, weights = [], []
        for wi, xi in zip(w, x, strict=True):
            if xi.imag == 0:
                poles.append(mpmath.mpf(float(xi.real)))
                weights.append(mpmath.mpf(float(wi.real)))
            else:
                poles += [mpmath.mpc(complex(xi)), mpmath.conj(mpmath.mpc(complex(xi)))]
                weights += [mpmath.mpc(complex(wi)) / 2, mpmath.conj(mpmath.mpc(complex(wi))) / 2]
        n = len(poles)
        cross = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                both = poles[i] + poles[j]
                cross[i, j] = weights[j] / (1 - mpmath.exp(both) if discrete else -both)
        return sorted((abs(v) for v in mpmath.eig(cross, left=False, right=False)), reverse=True)


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("init", ["real", "lin", "inv"])
def test_small_ones_against_120_digits(init, discrete):
    N = 20
    system = plain(N, init, 0, dt=0.02)
    if discrete:
        w, x = (v[0] if v.ndim > 1 else v for v in system.log_nodes())
    else:
        w, x = (2 if system.conjugate_pairs else 1) * system.B * system.C[0], system.A + 0j
    expected = [float(v) for v in cross_gramian_values(w + 0j, x, discrete)]
    s = hankel_singular_values(system, discrete=discrete)[0]
    if init == "real":
        assert expected[-1] < 1e-27 * expected[0]
    np.testing.assert_allclose(s[: len(expected)], expected, rtol=1e-12)
    assert np.all(s[len(expected) :] == 0)


@given(st.integers(0, 2**31 - 1))
def test_small_ones_of_scattered_poles_against_120_digits(seed):
    rng = np.random.default_rng(seed)
    x = -(10.0 ** rng.uniform(-1, 1, 5)) + 1j * rng.standard_normal(5) * (rng.uniform(size=5) < 0.6)
    w = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    s = hankel_singular_values(DiagonalSSM(x, np.ones(5), w / 2))
    expected = [float(v) for v in cross_gramian_values(w, x, False)]
    # the inner product of the two factors is worse conditioned than for the published poles
    np.testing.assert_allclose(s[: len(expected)], expected, rtol=1e-8)


def test_values_beyond_the_range_of_numbers_are_zero(capfd):
    s = hankel_singular_values(plain(512, "real", 0))[0]
    assert np.all(np.isfinite(s))
    assert np.all(np.diff(s) <= 0)
    assert s[-1] == 0
    # Weyl: a system of order one takes no value below the next one
    system = plain(512, "real", 0)
    fewer = hankel_singular_values(replace(system, A=system.A[1:], B=system.B[1:], C=system.C[:, 1:]))[0]
    assert np.all(s[1:100] <= fewer[:99] * (1 + 1e-12))
    assert capfd.readouterr() == ("", "")  # LAPACK complains on the standard output


def test_invariances():
    system = plain(16, "inv", 0)
    s = hankel_singular_values(system)
    scaled = replace(system, B=system.B * (2 - 1j), C=system.C / (2 - 1j))
    np.testing.assert_allclose(hankel_singular_values(scaled), s, rtol=1e-12)
    np.testing.assert_allclose(hankel_singular_values(replace(system, C=-3 * system.C)), 3 * s, rtol=1e-12)
    order = np.random.default_rng(0).permutation(8)
    shuffled = replace(system, A=system.A[order], B=system.B[order], C=system.C[:, order].conj())
    mirrored = replace(shuffled, A=shuffled.A.conj())
    np.testing.assert_allclose(hankel_singular_values(mirrored), s, rtol=1e-12)
    np.testing.assert_allclose(hankel_singular_values(replace(system, A=system.A / 4)), 4 * s, rtol=1e-12)


# what the initialisations are like


def test_real_poles_have_a_small_numerical_rank():
    ranks = []
    for N in (32, 64, 128):
        s = np.stack([hankel_singular_values(plain(N, "real", seed))[0] for seed in range(20)])
        s = s / s[:, :1]
        if N <= 64:  # geometric decay, at a rate that slows down as log N
            assert np.median(s[:, 8]) < 0.2**8
            assert np.all(s[:, 16] < 0.2**16)
        ranks.append(np.median(np.count_nonzero(s > 1e-12, axis=-1)))
    assert 11 <= ranks[0] <= 14
    assert all(1 <= more <= 3 for more in np.diff(ranks))


@pytest.mark.parametrize("init", ["lin", "inv", "quad"])
def test_complex_poles_are_of_full_rank(init):
    ratios = [s[16] / s[0] for s in (hankel_singular_values(plain(64, init, seed))[0] for seed in range(5))]
    assert min(ratios) > 0.05
    low, high = {"lin": (0.3, 0.6), "inv": (0.2, 0.6), "quad": (0.4, 0.7)}[init]
    assert low < np.median(ratios) < high  # around the published values of three seeds


def test_legs_lies_between():
    ratios = [s[16] / s[0] for s in (hankel_singular_values(plain(64, "legs", seed))[0] for seed in range(9))]
    assert 0.03 < np.median(ratios) < 0.45


def test_lin_has_one_state_less():
    s = hankel_singular_values(plain(64, "lin", 0))[0]
    assert s[-1] == 0
    assert s[-2] > 0.01 * s[0]


@pytest.mark.parametrize(("dt", "rank"), [(0.1, 20), (0.01, 63)])
def test_folded_poles_lower_the_rank(dt, rank):
    system = s4d(64, 1, "lin", dt=dt, stream=0, discretization="zoh")
    kernel = system.kernel(1023)[0]
    matrix = scipy.linalg.hankel(kernel[:512], kernel[511:])
    assert np.linalg.matrix_rank(matrix, tol=1e-10 * np.linalg.norm(matrix, 2)) == rank
    s = hankel_singular_values(system, discrete=True)[0]
    assert np.count_nonzero(s > 1e-10 * s[0]) == rank


@given(st.integers(0, 2**31 - 1), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2))
def test_the_rank_is_the_number_of_distinct_poles(seed, pairs, reals, repeated):
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.5, 0.95, pairs)
    phase = np.pi * (np.arange(pairs) + rng.uniform(0.3, 0.7, pairs)) / pairs
    z = np.concatenate([radius * np.exp(1j * phase), np.linspace(0.4, 0.9, reals)])
    again = rng.integers(0, len(z), repeated)
    z = np.concatenate([z, np.where(rng.uniform(size=repeated) < 0.5, z[again], z[again].conj())])
    w = rng.uniform(1, 2, len(z))
    system = DiagonalSSM(np.log(z), np.ones(len(z)), w + 0j, discretization="impulse")
    s = hankel_singular_values(system, discrete=True)
    assert s.shape == (2 * len(z),)
    assert np.count_nonzero(s > 1e-13 * s[0]) == 2 * pairs + reals
    kernel = system.kernel(99)
    assert np.linalg.matrix_rank(scipy.linalg.hankel(kernel[:50], kernel[49:]), tol=1e-13 * s[0]) <= 2 * pairs + reals


# balanced truncation


@given(stable_systems(max_modes=4, rules=ONTO), either, st.data())
def test_the_error_lies_between_its_bounds(system, discrete, data):
    s = hankel_singular_values(system, discrete=discrete)
    rank = data.draw(st.integers(1, len(s)))
    reduced, information = balanced_truncation(system, rank, discrete=discrete)
    order = int(information.order)
    assert order == min(rank, np.count_nonzero(s > EPS * s[0]))
    padded = np.append(s, 0)
    np.testing.assert_allclose(information.hankel_singular_values, s, rtol=1e-9, atol=1e-15 * s[0])
    np.testing.assert_allclose(information.lower_bound, padded[order], rtol=1e-9, atol=1e-15 * s[0])
    np.testing.assert_allclose(information.upper_bound, 2 * padded[order:].sum(), rtol=1e-9, atol=1e-15 * s[0])
    error, _ = hinf_norm(difference(system, reduced), discrete=discrete)
    rounding = 1e-10 * hinf_norm(system, discrete=discrete)[0]  # the poles' own, through their eigenvectors
    assert information.lower_bound <= error * (1 + 1e-6) + rounding
    assert error <= information.upper_bound + rounding
    _, x = reduced.log_nodes()
    states = np.where((reduced.A.imag == 0) | (np.abs(x.imag) == np.pi), 1, 2)
    assert states.sum() == order
    assert reduced.conjugate_pairs or np.all(reduced.A.real == reduced.A)
    assert reduced.discretization == system.discretization


@given(stable_systems(), either)
def test_nothing_is_lost_at_full_order(system, discrete):
    reduced, information = balanced_truncation(system, len(hankel_singular_values(system)), discrete=discrete)
    expected = system.kernel(60)
    np.testing.assert_allclose(reduced.kernel(60), expected, atol=1e-11 * np.abs(expected).max())
    assert information.upper_bound <= 40 * EPS * information.hankel_singular_values[0]


@given(stable_systems(max_modes=4), st.data())
def test_a_balanced_system_keeps_its_leading_singular_values(system, data):
    s = hankel_singular_values(system)
    rank = data.draw(st.integers(1, len(s)))
    reduced, information = balanced_truncation(system, rank)
    order = int(information.order)
    np.testing.assert_allclose(hankel_singular_values(reduced)[:order], s[:order], rtol=1e-6, atol=1e-10 * s[0])


@pytest.mark.parametrize("discrete", [False, True])
def test_against_a_plain_transcription(discrete):
    system = DiagonalSSM(
        np.array([-0.3 + 2j, -0.8 + 0.5j, -1.1 + 4j, -0.2 + 9j]),
        np.ones(4),
        np.array([1.0, 0.7 - 0.2j, 0.4j, 0.3]),
        dt=0.05,
    )
    a, b, c = dense(system, discrete)
    if discrete:
        p = scipy.linalg.solve_discrete_lyapunov(a, np.outer(b, b))
        q = scipy.linalg.solve_discrete_lyapunov(a.T, np.outer(c, c))
    else:
        p = scipy.linalg.solve_continuous_lyapunov(a, -np.outer(b, b))
        q = scipy.linalg.solve_continuous_lyapunov(a.T, -np.outer(c, c))
    lp, lq = np.linalg.cholesky(p), np.linalg.cholesky(q)
    u, s, vt = np.linalg.svd(lq.T @ lp)
    for r in (2, 3, 5):
        t, w = lp @ vt[:r].T / np.sqrt(s[:r]), lq @ u[:, :r] / np.sqrt(s[:r])
        ar, br, cr = w.T @ a @ t, w.T @ b, c @ t
        reduced, _ = balanced_truncation(system, r, discrete=discrete)
        omega = np.linspace(0, 3, 31) if discrete else np.geomspace(0.01, 50, 31)
        resolvent = np.eye(r) - np.exp(-1j * omega)[:, None, None] * ar if discrete else 0
        if not discrete:
            resolvent = 1j * omega[:, None, None] * np.eye(r) - ar
        expected = np.linalg.solve(resolvent, np.broadcast_to(br[:, None], (31, r, 1)))[..., 0] @ cr
        np.testing.assert_allclose(response(reduced, omega, discrete), expected, atol=1e-10)


def test_the_published_poles():
    system = plain(64, "lin", 0)
    for rank in (8, 16, 32):
        reduced, information = balanced_truncation(system, rank)
        error = hinf_norm(difference(system, reduced))[0]
        assert information.lower_bound <= error <= information.upper_bound / 5  # the bound is far from tight here
    system = s4d(64, 1, "real", dt=1e-3, stream=0)
    reduced, information = balanced_truncation(system, 8)
    error = hinf_norm(difference(system, reduced))[0]
    assert 0.5 * information.upper_bound <= error <= information.upper_bound  # and tight here
    assert not reduced.conjugate_pairs
    assert reduced.A.dtype == np.float64


def test_tolerance_takes_the_smallest_order_of_every_channel():
    system = s4d(16, 3, "legs", dt=0.01, stream=1)
    reduced, information = balanced_truncation(system, tolerance=0.5)
    s = information.hankel_singular_values
    for channel, order in enumerate(information.order):
        assert 2 * s[channel, order:].sum() <= 0.5 * s[channel, 0]
        assert 2 * s[channel, order - 1 :].sum() > 0.5 * s[channel, 0]
    for channel in range(3):
        alone = replace(system, C=system.C[channel])
        single, known = balanced_truncation(alone, tolerance=0.5)
        assert known.order == information.order[channel]
        np.testing.assert_allclose(reduced.kernel(50)[channel], single.kernel(50), atol=1e-12)


def test_channels_broadcast():
    system = s4d(8, 6, "inv", dt=0.01, n_ssm=2, stream=0)
    s = hankel_singular_values(system)
    assert s.shape == (2, 3, 8)
    alone = DiagonalSSM(system.A[1, 0], np.ones(4), system.C[1, 2], dt=0.01)
    np.testing.assert_allclose(hankel_singular_values(alone), s[1, 2], rtol=1e-13)
    assert balanced_truncation(system, 4)[0].channels == (2, 3)


def test_precision_and_feedthrough_of_the_input():
    system = s4d(8, 2, "inv", dt=0.01, stream=0)
    single = DiagonalSSM(
        *(np.asarray(v, np.complex64) for v in (system.A, system.B, system.C)), dt=0.01, D=np.ones(2, np.float32)
    )
    s = hankel_singular_values(single)
    assert s.dtype == np.float32
    np.testing.assert_allclose(s, hankel_singular_values(system), rtol=1e-5)
    reduced, information = balanced_truncation(single, 4)
    assert reduced.A.dtype == np.complex64
    assert information.upper_bound.dtype == np.float32
    np.testing.assert_array_equal(reduced.D, single.D)
    assert gramians(single)[0].dtype == np.complex64


def test_a_system_without_output():
    system = DiagonalSSM(np.array([-1 + 1j, -2 + 0j]), np.ones(2), np.zeros(2))
    np.testing.assert_array_equal(hankel_singular_values(system), np.zeros(4))
    reduced, information = balanced_truncation(system, 2)
    assert information.order == 0
    np.testing.assert_array_equal(reduced.kernel(5), np.zeros(5))


@pytest.mark.parametrize("p", [(1.0, 2.0), (1.0, 3.0, 7.0), (0.1, 2.0, 3.0, 40.0, 77.0)])
def test_all_pass_systems_have_equal_values(p):
    """G = prod (s - p) / (s + p) has modulus 1 on the axis, every singular value 1, and no nearer system than 1."""
    p = np.array(p)
    others = p[:, None] - p + np.eye(len(p))
    weights = np.prod(-p[:, None] - p, axis=1) / np.prod(np.where(np.eye(len(p)) == 1, 1, others.T), axis=1)
    system = DiagonalSSM(-p, np.ones(len(p)), weights, D=np.array(1.0), conjugate_pairs=False)
    np.testing.assert_allclose(hankel_singular_values(system), 1, rtol=1e-13)
    np.testing.assert_allclose(hinf_norm(system)[0], 1, rtol=1e-12)
    for rank in range(1, len(p)):
        reduced, information = balanced_truncation(system, rank)
        error = hinf_norm(difference(system, reduced))[0]
        assert 1 - 1e-12 <= error <= 2 * (len(p) - rank) + 1e-12
        np.testing.assert_allclose(information.upper_bound, 2 * (len(p) - rank), rtol=1e-12)


def test_an_order_that_leaves_an_unstable_system(monkeypatch):
    system = plain(8, "inv", 0)
    monkeypatch.setattr(reduction, "modes_of", lambda *_: (np.ones(1), np.array([1e-18 + 0j]), 1.0))
    with pytest.raises(ValueError, match="order 3 splits Hankel singular values"):
        balanced_truncation(system, 3)


def test_a_rule_that_does_not_reach_the_reduced_pole():
    system = DiagonalSSM(
        np.array([-1.4512 + 1.2726j, -1.0362 - 3.8927j]),
        np.array([0.672, 1.1425]),
        np.array([0.7068 - 0.4032j, 0.8581 - 1.1777j]),
        dt=0.3,
        discretization="backward euler",
    )
    assert balanced_truncation(system, 1)[0].discretization == "backward euler"
    with pytest.raises(ValueError, match="which no stable pole has under the rule 'backward euler'"):
        balanced_truncation(system, 1, discrete=True)


# modal truncation


@given(stable_systems(max_modes=5), either, either, st.data())
def test_modal_truncation_stays_within_its_bound(system, discrete, refit, data):
    states = len(hankel_singular_values(system))
    rank = data.draw(st.integers(min(2, states), states))
    reduced, information = modal_truncation(system, rank, refit=refit, discrete=discrete)
    assert information.order <= rank
    if refit:
        kept, _ = modal_truncation(system, rank, discrete=discrete)
        better, plain_error = (h2_norm(difference(system, r), discrete=discrete) for r in (reduced, kept))
        assert better <= plain_error + 1e-7 * h2_norm(system, discrete=discrete)
        assert np.isnan(information.upper_bound)
    else:
        error, _ = hinf_norm(difference(system, reduced), discrete=discrete)
        assert error <= information.upper_bound + 1e-11 * hinf_norm(system, discrete=discrete)[0]


def test_refitted_weights_are_those_of_least_squares():
    system = s4d(16, 1, "inv", dt=0.05, stream=3)
    reduced, _ = modal_truncation(system, 6, refit=True, discrete=True)
    steps = np.arange(2000)[:, None]
    powers = np.exp(steps * (0.05 * reduced.A[0]))
    columns = np.concatenate([powers.real, powers.imag], axis=1)
    kernel = system.kernel(2000)[0]
    expected = columns @ np.linalg.lstsq(columns, kernel, rcond=None)[0]
    np.testing.assert_allclose(reduced.kernel(2000)[0], expected, atol=1e-10 * np.abs(kernel).max())


def test_all_modes_at_full_order_and_other_importances():
    system = s4d(16, 2, "lin", dt=0.01, stream=3)
    reduced, information = modal_truncation(system, 16)
    np.testing.assert_allclose(reduced.kernel(64), system.kernel(64), atol=1e-13)
    assert np.all(information.kept)
    np.testing.assert_array_equal(information.order, 15)
    by_energy, known = modal_truncation(system, 5, importance=energy)
    strength = np.abs(system.B * system.C)  # all decays are equal: energy and peak gain agree
    assert np.array_equal(known.kept, modal_truncation(system, 5)[1].kept)
    assert np.all(known.kept[np.arange(2), strength.argmax(-1)])
    assert by_energy.modes == 3 or by_energy.modes == 2


@pytest.mark.parametrize("discrete", [False, True])
def test_energies_are_integrals_or_sums(discrete):
    w, x = np.array([2 - 1j, 0.3 + 0j]), np.array([-0.2 + 3j, -0.01 + 0.1j])
    steps = np.arange(0, 4000, 1 if discrete else 0.01)[:, None]
    values = np.abs(w * np.exp(steps * x)) ** 2
    expected = np.sum(values, axis=0) if discrete else scipy.integrate.simpson(values, x=steps[:, 0], axis=0)
    np.testing.assert_allclose(energy(w, x, discrete), expected, rtol=1e-9)


# refusals


def test_bad_input_is_refused():
    system = s4d(8, 1, "inv", dt=0.01, stream=0)
    growing = DiagonalSSM(np.array([0.5 + 1j]), np.ones(1), np.ones(1), allow_unstable=True)
    for function in (gramians, hankel_singular_values, h2_norm, hinf_norm):
        with pytest.raises(ValueError, match=r"must decay: Re a must be negative, got 0\.5"):
            function(growing)
        with pytest.raises(ValueError, match="must decay: log"):
            function(growing, discrete=True)
        with pytest.raises(TypeError, match="system must be a DiagonalSSM"):
            function(system.A)
    for rank in (0, 9, 2.0, True):
        with pytest.raises(ValueError, match="rank must be an integer from 1 to 8"):
            balanced_truncation(system, rank)
        with pytest.raises(ValueError, match="rank must be an integer from 1 to 8"):
            modal_truncation(system, rank)
    for arguments in ({}, {"rank": 2, "tolerance": 0.1}):
        with pytest.raises(ValueError, match="one of rank and tolerance"):
            balanced_truncation(system, **arguments)
    for tolerance in (0.0, -1.0, np.nan, True):
        with pytest.raises(ValueError, match="tolerance must be a positive number"):
            balanced_truncation(system, tolerance=tolerance)
    with pytest.raises(ValueError, match="rank must be at least 2"):
        modal_truncation(system, 1)
    with pytest.raises(ValueError, match="importance must return one number a mode"):
        modal_truncation(system, 4, importance=lambda w, x, discrete: np.ones(3))
