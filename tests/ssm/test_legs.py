"""LegS in closed form: the secular equation, eigenvectors and basis functions against mpmath, eigh and expm."""

import math
import time

import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.ssm import hippo_legs, legs_basis, legs_basis_zoh, legs_normal_system, legs_spectrum, legs_system, s4d
from lrtheory.ssm.legs import secular_roots

EPS = np.finfo(np.float64).eps

even_sizes = st.integers(1, 100).map(lambda half: 2 * half)


def dense(N):
    """Eigenvalues and eigenvectors of the normal part by a dense Hermitian solver, in our order."""
    A, _, P = hippo_legs(N)
    skew = A + np.outer(P, P) + np.eye(N) / 2
    w, V = np.linalg.eigh(-1j * skew)
    return w[::-1][: N // 2], V[:, ::-1][:, : N // 2]


def distance_to_root(N, j, w):
    """Newton's step of the secular equation from w in 40 digits, relative to w; and sum (k-1/2)/((k-1/2)^2+w^2)."""
    with mpmath.workdps(40):
        x = mpmath.mpf(float(w))
        half = [mpmath.mpf(2 * k - 1) / 2 for k in range(1, N + 1)]
        excess = mpmath.fsum(mpmath.atan2(h, x) for h in half) - (2 * j + 1) * mpmath.pi / 2
        slope = mpmath.fsum(h / (h * h + x * x) for h in half)
        return float(excess / (x * slope)), float(slope)


def test_matrices_entry_by_entry():
    A, B, P = hippo_legs(5)
    for n in range(5):
        for k in range(5):
            entry = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1) if n == k else 0
            assert math.isclose(A[n, k], entry, rel_tol=4 * EPS)
        assert B[n] == math.sqrt(2 * n + 1)
        assert math.isclose(P[n], math.sqrt(n + 0.5), rel_tol=2 * EPS)


@given(st.integers(1, 40))
def test_the_normal_part_is_minus_one_half_and_a_skew_matrix(N):
    A, _, P = hippo_legs(N)
    skew = A + np.outer(P, P) + np.eye(N) / 2
    np.testing.assert_allclose(skew, -skew.T, atol=4 * N * EPS)


def test_published_values():
    """Closed form for N = 2, and values of an independent computation (12 digits) for others."""
    w, absB = legs_spectrum(2)
    assert math.isclose(w[0], math.sqrt(3) / 2, rel_tol=2 * EPS)
    assert math.isclose(absB[0] ** 2, 2.0, rel_tol=4 * EPS)
    w, absB = legs_spectrum(4)
    np.testing.assert_allclose(w, [4.60329300706685, 0.556501115083744], rtol=2e-14)
    np.testing.assert_allclose(absB**2, [7.06504411, 0.93495589], rtol=1e-8)
    w = legs_spectrum(64)[0]
    np.testing.assert_allclose(w[:3], [1303.27384298151, 433.03075654, 258.15221022], atol=6e-9)  # 8 decimals
    assert math.isclose(w[31], 0.2638569311113, rel_tol=1e-12)
    # that computation stopped at a relative step of 1e-14 N; ours is within 4e-15 of the root, see below
    assert math.isclose(legs_spectrum(256)[0][0], 20860.2331112, rel_tol=2e-11)
    assert math.isclose(legs_spectrum(1024)[0][0], 333771.583617, rel_tol=1e-11)


@given(even_sizes, st.floats(0.0, 1.0))
def test_roots_and_weights_against_forty_digits(N, place):
    w, absB = legs_spectrum(N)
    j = round(place * (N // 2 - 1))
    step, slope = distance_to_root(N, j, w[j])
    assert abs(step) < 4e-15
    assert math.isclose(absB[j] ** 2, 2 / slope, rel_tol=8e-15)


@pytest.mark.parametrize("N", [1024, 4096])
def test_roots_at_large_sizes_against_forty_digits(N):
    w, absB = legs_spectrum(N)
    for j in (0, 1, N // 8, N // 4 - 1, N // 4, 3 * N // 8, N // 2 - 1):  # the two sums meet at N / 4
        step, slope = distance_to_root(N, j, w[j])
        assert abs(step) < 4e-15
        assert math.isclose(absB[j] ** 2, 2 / slope, rel_tol=8e-15)


@pytest.mark.parametrize("N", [2, 10, 12, 64, 1000, 20_000, 200_000])
def test_roots_are_ordered_and_inside_their_bracket(N):
    """Also past the sizes that 40 digits can check quickly; 10 and 12 lie on the two sides of the series."""
    w, absB = legs_spectrum(N)
    assert w.shape == absB.shape == (N // 2,)
    assert (np.diff(w) < 0).all()
    assert w[-1] > 0
    assert w[0] < N * N / math.pi + 1
    assert math.isclose(2 * np.sum(absB**2), N * N, rel_tol=1e-12)


@given(even_sizes, st.floats(0.0, 1.0), st.integers(0, 2**31 - 1))
def test_roots_do_not_depend_on_the_start(N, place, seed):
    w, absB = legs_spectrum(N)
    ends = np.log([1e-3, N * N / math.pi + 1])
    for start in (place * np.ones(N // 2), np.random.default_rng(seed).random(N // 2)):
        roots, slope = secular_roots(N, np.exp(ends[0] + start * (ends[1] - ends[0])))
        np.testing.assert_allclose(roots, w, rtol=4e-15)
        np.testing.assert_allclose(2 / slope, absB**2, rtol=1e-14)


def test_the_smallest_frequencies_fall_slowly():
    """Values of an independent computation."""
    last = [legs_spectrum(N)[0][-1] for N in (4, 64, 256, 1024)]
    np.testing.assert_allclose(last, [0.557, 0.264, 0.212, 0.178], atol=5e-4)


def test_the_matrix_itself_must_not_be_diagonalised():
    """Its eigenvectors' condition number at N = 16, where its eigenvalues are -1, ..., -16."""
    condition = np.linalg.cond(np.linalg.eig(hippo_legs(16)[0])[1])
    assert 1e10 < condition < 1e12
    assert np.linalg.cond(legs_spectrum(16, vectors=True)[2]) < 1 + 1e-12


@pytest.mark.parametrize("dt", [0.1, 0.01])
def test_the_diagonal_model_with_half_its_weights_has_nearly_the_basis_of_legs(dt):
    """Sampled by zero-order hold the difference falls as 1 / N; with weights that are not halved it does not."""
    errors = {}
    for scale in (0.5, 1.0):
        for N in (128, 512):
            V = legs_spectrum(N, vectors=True)[2]
            system = s4d(N, 3, "legs", B_scale=scale, C=V[:3], dt=dt, bandlimit=1e9)
            difference = system.kernel(round(20 / dt)) - legs_basis_zoh([0, 1, 2], dt, round(20 / dt))
            errors[scale, N] = np.sqrt(np.sum(difference**2, axis=1) / dt)
    np.testing.assert_allclose(errors[0.5, 128] / errors[0.5, 512], 4, rtol=0.35)
    np.testing.assert_allclose(errors[1.0, 512], math.sqrt(0.5), rtol=0.05)


@given(even_sizes)
def test_spectrum_agrees_with_a_dense_solver(N):
    """The tolerance is the dense solver's: eps times the largest eigenvalue, on the smallest."""
    w, absB, V = legs_spectrum(N, vectors=True)
    dense_w, dense_V = dense(N)
    np.testing.assert_allclose(w, dense_w, rtol=1e-11, atol=N * EPS * dense_w[0])
    np.testing.assert_allclose(absB, np.abs(dense_V.conj().T @ hippo_legs(N)[1]), rtol=1e-9)
    # the same lines: eigenvectors agree up to the phase that a solver chooses
    np.testing.assert_allclose(np.abs(np.sum(V.conj() * dense_V, axis=0)), 1, atol=1e-10)


def test_spectrum_agrees_with_a_dense_solver_to_the_relative_accuracy_of_the_theory():
    for N in (4, 16, 64, 256):
        np.testing.assert_allclose(legs_spectrum(N)[0], dense(N)[0], rtol=1e-11)


@given(even_sizes)
def test_eigenvectors_are_orthonormal_and_in_the_canonical_phase(N):
    w, absB, V = legs_spectrum(N, vectors=True)
    A, B, P = hippo_legs(N)
    M = N // 2
    np.testing.assert_allclose(V.conj().T @ V, np.eye(M), atol=1e-12)
    np.testing.assert_allclose(V.T @ V, np.zeros((M, M)), atol=1e-12)  # orthogonal to the conjugates
    np.testing.assert_allclose(V.conj().T @ P, absB / math.sqrt(2), rtol=0, atol=1e-12 * N)
    np.testing.assert_allclose(V.conj().T @ B, absB, rtol=0, atol=1e-12 * N)
    residual = (A + np.outer(P, P)) @ V - V * (-0.5 + 1j * w)
    assert np.abs(residual).max() <= 1e-14 * N * w[0]


@pytest.mark.parametrize("N", [1024])
def test_eigenvectors_at_a_large_size(N):
    V = legs_spectrum(N, vectors=True)[2]
    assert np.abs(V.conj().T @ V - np.eye(N // 2)).max() < 1e-12


def test_small_roots_are_more_accurate_than_a_dense_solvers():
    N = 256
    step, _ = distance_to_root(N, N // 2 - 1, legs_spectrum(N)[0][-1])
    dense_step, _ = distance_to_root(N, N // 2 - 1, dense(N)[0][-1])
    assert abs(step) < 4e-15
    assert abs(dense_step) > 1e-14


def test_spectrum_is_much_faster_than_a_dense_solver():
    """Some 500 times at N = 1024; a loaded machine may take 100 away and the test still holds."""
    N = 512
    A, _, P = hippo_legs(N)
    hermitian = -1j * (A + np.outer(P, P) + np.eye(N) / 2)
    ours, theirs = [], []
    for _ in range(3):
        start = time.perf_counter()
        legs_spectrum(N)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        np.linalg.eigvalsh(hermitian)
        theirs.append(time.perf_counter() - start)
    assert 5 * min(ours) < min(theirs)


@pytest.mark.parametrize("N", [0, -2, 2.0, True, "4", None])
def test_sizes_that_are_none_are_refused(N):
    with pytest.raises(ValueError, match="N must be a positive"):
        legs_spectrum(N)
    with pytest.raises(ValueError, match="N must be a positive integer"):
        hippo_legs(N)


def test_odd_sizes_have_no_pairs():
    with pytest.raises(ValueError, match="even"):
        legs_spectrum(7)
    assert hippo_legs(7)[0].shape == (7, 7)


def polynomial_basis(n, t):
    """sqrt(2n+1) e^-t P_n(2 e^-t - 1) in the current precision."""
    x = mpmath.exp(-mpmath.mpf(float(t)))
    return mpmath.sqrt(2 * n + 1) * x * mpmath.legendre(n, 2 * x - 1)


@given(st.integers(1, 32), st.floats(0.0, 6.0))
def test_basis_is_the_exponential_of_the_matrix(N, t):
    A, B, _ = hippo_legs(N)
    np.testing.assert_allclose(legs_basis(np.arange(N), np.asarray(t)), scipy.linalg.expm(t * A) @ B, atol=1e-10)


@given(st.integers(0, 300), st.floats(0.0, 30.0) | st.floats(1e-12, 1e-3))
def test_basis_against_high_precision(n, t):
    """The allowance is that of the polynomial itself: one rounding of exp(-t) turns its phase by up to n eps."""
    with mpmath.workdps(60):
        true = float(polynomial_basis(n, t))
    assert abs(float(legs_basis(n, np.asarray(t))) - true) <= 8 * EPS * (n + 1) * math.sqrt(2 * n + 1) * math.exp(-t)


@pytest.mark.parametrize("n", range(9))
def test_a_basis_function_is_the_kernel_of_its_system(n):
    """Residues of order n cancel like (3 + 2 sqrt(2))^n."""
    expected = legs_basis_zoh(n, 0.1, 60)
    np.testing.assert_allclose(legs_system(n, 0.1).kernel(60), expected, rtol=0, atol=10 * EPS * 5.83**n)


@given(even_sizes.filter(lambda N: N <= 32), st.integers(0, 31), st.sampled_from([None, 0.5]))
def test_the_normal_part_is_a_diagonal_system(N, n, clip):
    n = n % N
    B = hippo_legs(N)[1]
    w, V = dense(N)
    projected = V.conj().T @ B
    if clip is not None:
        projected *= np.minimum(1, clip / np.abs(projected))
    t = np.array([0.0, 0.3, 2.0])
    expected = np.real(np.exp(t[:, None] * (-0.5 + 1j * w)) @ (V[n] * projected))  # 2 Re, and half of B
    found = legs_normal_system(N, n, clip=clip).impulse_response(t)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_orders_without_digits_are_refused():
    with pytest.raises(ValueError, match=r"n must be an integer in 0\.\.8"):
        legs_system(9)
    with pytest.raises(ValueError, match=r"n must be an integer in 0\.\.3"):
        legs_normal_system(4, 4)


def test_basis_at_the_ends():
    n = np.arange(50)
    np.testing.assert_allclose(legs_basis(n, np.zeros(1))[:, 0], np.sqrt(2 * n + 1), rtol=1e-15)
    np.testing.assert_array_equal(legs_basis(n, np.array([1e4])), np.zeros((50, 1)))


def test_basis_has_norm_one_over_root_two_and_is_orthogonal():
    """K_n is orthonormal under the uniform measure of x = exp(-t) up to the factor x: int K_n K_m dt = int x P P dx."""
    points, weights = np.polynomial.legendre.leggauss(40)
    x = (points + 1) / 2
    K = legs_basis(np.arange(30), -np.log(x))
    gram = (K * (weights / 2 / x)) @ K.T
    np.testing.assert_allclose(np.diagonal(gram), 0.5, rtol=1e-13)
    over_x = (K * (weights / 2 / x**2)) @ K.T
    np.testing.assert_allclose(over_x, np.eye(30), atol=1e-12)


@given(st.integers(0, 60), st.floats(-9.0, 0.5), st.integers(1, 4))
def test_zoh_samples_are_integrals(n, exponent, length):
    dt = 10.0**exponent
    got = legs_basis_zoh(n, dt, length)
    with mpmath.workdps(60):
        step = mpmath.mpf(dt)
        for cell in range(length):
            ends = [mpmath.exp(-(cell + i) * step) for i in (0, 1)]
            if n == 0:
                true = ends[0] - ends[1]
            else:
                after, before = ([mpmath.legendre(order, 2 * x - 1) for x in ends] for order in (n + 1, n - 1))
                antiderivative = [(p - q) / (2 * (2 * n + 1)) for p, q in zip(after, before, strict=True)]
                true = mpmath.sqrt(2 * n + 1) * (antiderivative[0] - antiderivative[1])
            size = math.sqrt(2 * n + 1) * float(ends[0] - ends[1])  # what |P_n| <= 1 allows
            assert abs(got[cell] - float(true)) <= 8 * EPS * (n + 1) * size


def test_zoh_samples_keep_their_digits_at_tiny_steps():
    """At t = 0 the sample is dt K_0(0) (1 - dt / 2): differences of antiderivatives would leave 3 digits of it."""
    assert math.isclose(legs_basis_zoh(0, 1e-13, 1)[0], 1e-13, rel_tol=1e-12)


def test_orders_may_come_in_any_shape_and_order():
    t = np.linspace(0, 2, 5)
    table = legs_basis(np.array([[3, 0], [1, 3]]), t)
    assert table.shape == (2, 2, 5)
    np.testing.assert_array_equal(table[0, 0], table[1, 1])
    np.testing.assert_array_equal(table[0, 1], legs_basis(0, t))
    assert legs_basis(2, t.reshape(5, 1)).shape == (5, 1)
    assert legs_basis_zoh([0, 2], 0.1, 7).shape == (2, 7)
    assert legs_basis_zoh(2, 0.1, 7).shape == (7,)


def test_other_libraries_and_precisions():
    t = np.linspace(0, 3, 4)
    strict = legs_basis([0, 5], array_api_strict.asarray(t))
    np.testing.assert_allclose(np.asarray(strict), legs_basis([0, 5], t), rtol=1e-14)
    assert legs_basis(3, t.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: legs_basis(-1, np.ones(2)), "n must be integers >= 0"),
        (lambda: legs_basis(1.5, np.ones(2)), "n must be integers >= 0"),
        (lambda: legs_basis(1, np.array([-1.0])), "t must be >= 0"),
        (lambda: legs_basis(1, np.array([np.nan])), "t must be finite"),
        (lambda: legs_basis_zoh(1, 0.0, 3), "dt must be positive"),
        (lambda: legs_basis_zoh(1, math.nan, 3), "dt must be positive"),
        (lambda: legs_basis_zoh(1, 0.1, 0), "length must be an integer >= 1"),
        (lambda: legs_basis_zoh(1, 0.1, 2.5), "length must be an integer >= 1"),
        (lambda: legs_basis_zoh(-1, 0.1, 2), "n must be integers >= 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
