"""Closed-form predictions: against dense linear algebra, high precision, quadrature, and an independent computation."""

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import simpson

from lrtheory.ssm import dense_basis, hippo_legs, legs_basis, legs_spectrum, legs_spectrum_dense, s4d
from lrtheory.ssm.theory import (
    all_pass,
    basis_difference,
    clipped_error_law,
    continuous_error,
    continuous_error_limit,
    discrete_error,
    legs_frequency,
    legs_transfer,
    step_error,
    top_remainder,
    transfer_error,
    transfer_ratio,
    zoh_error_law,
)

EPS = np.finfo(np.float64).eps


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def normal_part(N):
    A, B, P = hippo_legs(N)
    return A + np.outer(P, P), B / 2


def test_top_frequency_and_the_slope_of_its_remainder():
    sizes = 2 ** np.arange(4, 11)
    remainders = [top_remainder(int(N)) for N in sizes]
    assert abs(slope(sizes, -np.array(remainders)) + 2) < 0.01
    # values of an independent computation, two digits
    for N, value in ((4, -3.4e-2), (64, -1.5e-4), (256, -9.3e-6), (1024, -5.8e-7)):
        assert math.isclose(top_remainder(N), value, rel_tol=0.02)
    constant = -(math.pi / 12 + math.pi**3 / 90)
    assert math.isclose(remainders[-2] * 512**2, constant, rel_tol=1e-4)


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_every_term_of_the_expansion_lowers_the_order_of_its_error(terms):
    """Errors of relative order N^-2, N^-4, N^-6: slopes 0, -2 and -4 of the absolute error of the first frequencies."""
    sizes = np.array([64, 128, 256])  # larger ones leave a third-term remainder near rounding
    for j in range(3):
        errors = [abs(legs_spectrum(int(N))[0][j] - legs_frequency(N, j, terms)) for N in sizes]
        assert abs(slope(sizes, errors) - (2 - 2 * terms)) < (0.3 if terms == 3 else 0.05)


def test_inverse_law_against_the_spectrum():
    """Ratios of S4D-Inv's frequencies to LegS's, from an independent computation."""
    for N, first, last in ((64, 0.9848, 1.23), (1024, 0.9990, 1.79)):
        w, inverse = legs_spectrum(N)[0], N / math.pi * (N / (2 * np.arange(N // 2) + 1) - 1)
        assert math.isclose(inverse[0] / w[0], first, abs_tol=6e-5)
        assert math.isclose(inverse[N // 4] / w[N // 4], 0.778, abs_tol=3e-2 if N == 64 else 3e-3)
        assert math.isclose(inverse[-1] / w[-1], last, abs_tol=6e-3)


@given(st.integers(1, 60), st.floats(-3.0, 4.0), st.sampled_from([-1.0, 1.0]))
def test_all_pass_against_its_product(N, log_w, sign):
    w = sign * 10.0**log_w
    got = complex(all_pass(N, w))
    assert math.isclose(abs(got) ** 2, w * w / (w * w + N * N), rel_tol=1e-13)
    with mpmath.workdps(40):
        s = mpmath.mpc(0, w)
        product = mpmath.fprod((s - k + 1) / (s + k) for k in range(1, N + 1))
        assert abs(got - complex(product)) <= 8 * N * EPS * abs(got)


@given(st.integers(1, 12), st.floats(-2.0, 3.0))
def test_transfer_functions_against_dense_solves(N, log_w):
    """(s - A)^-1 B row by row, and the ratio that all rows share."""
    w = 10.0**log_w
    A, B, _ = hippo_legs(N)
    normal, half = normal_part(N)
    legs = np.linalg.solve(1j * w * np.eye(N) - A, B)
    diagonal = np.linalg.solve(1j * w * np.eye(N) - normal, half)
    np.testing.assert_allclose([legs_transfer(n, 1j * w) for n in range(N)], legs, rtol=0, atol=1e-11)
    np.testing.assert_allclose(diagonal, transfer_ratio(N, w) * legs, rtol=0, atol=1e-10)
    assert math.isclose(transfer_error(N, w), abs(transfer_ratio(N, w) - 1), rel_tol=1e-9, abs_tol=1e-14)


def test_transfer_error_falls_as_the_frequency_over_N():
    for w in (0.1, 1.0, 10.0):
        sizes = 64 * max(1, round(w)) * 2 ** np.arange(6)
        errors = np.array([transfer_error(int(N), w) for N in sizes])
        assert abs(slope(sizes, errors) + 1) < 0.03
        np.testing.assert_allclose(errors, w / sizes, rtol=0.1)
    published = {16: 6.17e-2, 64: 1.574e-2, 256: 3.895e-3, 1024: 9.775e-4, 4096: 2.441e-4}
    for N, value in published.items():
        assert math.isclose(transfer_error(N, 1.0), value, rel_tol=1e-3)


def test_transfer_ratio_is_one_half_at_high_frequencies():
    assert abs(transfer_ratio(16, 1e8) - 0.5) < 1e-4
    assert abs(transfer_ratio(4096, 1e-6) - 1) < 1e-9


def test_transfer_ratio_peaks_at_the_eigenfrequencies():
    N = 64
    w = legs_spectrum(N)[0][:4]
    peaks, between = np.abs(transfer_ratio(N, w)), np.abs(transfer_ratio(N, np.sqrt(w[1:] * w[:-1])))
    assert (peaks > 5).all()
    assert (between < 1).all()


@given(st.integers(0, 8), st.integers(5, 16).map(lambda half: 2 * half), st.floats(0.0, 5.0))
def test_basis_difference_is_that_of_matrix_exponentials(n, N, t):
    poles, weights = basis_difference(n, N)
    normal, half = normal_part(N)
    true = (scipy.linalg.expm(t * normal) @ half)[n] - legs_basis(n, np.asarray(t))
    # the residues of LegS alternate: their sum of moduli times eps
    assert abs(np.real(weights @ np.exp(t * poles)) - true) <= 1e-11 + 4 * EPS * 6.0**n


@pytest.mark.parametrize("n", [0, 1, 2])
def test_continuous_and_step_errors_against_quadrature(n):
    N, dt = 8, 1e-3
    A, B, _ = hippo_legs(N)
    normal, half = normal_part(N)
    difference = (dense_basis(normal, half, dt, 30_001) - dense_basis(A, B, dt, 30_001))[n]
    assert math.isclose(continuous_error(n, N) ** 2, simpson(difference**2, dx=dt), rel_tol=1e-6)
    for k in (100, 2_000, 30_000):
        assert math.isclose(
            step_error(n, N, np.array([k * dt]))[0], simpson(difference[: k + 1], dx=dt), rel_tol=1e-5, abs_tol=1e-8
        )


@pytest.mark.parametrize("length", [None, 40])
@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("n", [0, 3])
def test_discrete_errors_against_dense_discretisations(n, rule, length):
    N, dt = 10, 0.2
    kernels = []
    for A, B in (normal_part(N), hippo_legs(N)[:2]):
        if rule == "zoh":
            abar = scipy.linalg.expm(dt * A)
            bbar = np.linalg.solve(A, (abar - np.eye(N)) @ B)
        else:
            abar = np.linalg.solve(np.eye(N) - dt * A / 2, np.eye(N) + dt * A / 2)
            bbar = np.linalg.solve(np.eye(N) - dt * A / 2, dt * B)
        kernel = [bbar]
        for _ in range((length or 12_000) - 1):
            kernel.append(abar @ kernel[-1])
        kernels.append(np.array(kernel)[:, n])
    true = math.sqrt(np.sum((kernels[0] - kernels[1]) ** 2) / dt)
    assert math.isclose(discrete_error(n, N, dt, rule, length), true, rel_tol=1e-8)


def test_published_zoh_errors():
    """Values of an independent computation over 12 units of time."""
    for dt, errors in (
        (0.1, {16: 0.1828, 32: 0.1048, 64: 0.0514, 128: 0.0240, 256: 0.0128, 512: 0.0058, 1024: 0.00285}),
        (0.01, {64: 0.1494, 256: 0.0374, 1024: 0.00968}),
        (0.001, {128: 0.2209, 512: 0.0628, 1024: 0.0307}),
    ):
        for N, value in errors.items():
            assert math.isclose(discrete_error(0, N, dt, length=round(12 / dt)), value, rel_tol=5e-3)


def test_published_bilinear_errors():
    """Relative to |K_0| = 1 / sqrt 2, over 12 units of time: three digits of an independent computation."""
    for dt, errors in (
        (0.1, [0.536, 0.260, 0.126, 0.0379, 0.0150, 0.0063, 0.0023]),
        (0.01, [0.704, 0.696, 0.432, 0.215, 0.107, 0.0485, 0.0168]),
    ):
        ours = [discrete_error(0, 2**i, dt, "bilinear", round(12 / dt)) * math.sqrt(2) for i in range(4, 11)]
        np.testing.assert_allclose(ours, errors, rtol=0.02)  # two digits are all that the last ones have


@given(st.integers(0, 4), st.integers(3, 40).map(lambda half: 2 * half), st.floats(-2.0, 0.5))
def test_the_bilinear_rule_is_an_isometry(n, N, log_dt):
    """So its error over all time is the continuous one, at any step: it does not vanish as N grows."""
    assert math.isclose(discrete_error(n, N, 10.0**log_dt, "bilinear"), continuous_error(n, N), rel_tol=1e-7)


def test_zoh_error_follows_its_law():
    for dt in (0.1, 0.01):
        sizes = [N for N in (32, 64, 128, 256, 512, 1024) if N * math.sqrt(dt) >= 3]
        for n in range(4):
            errors = np.array([discrete_error(n, N, dt) for N in sizes])
            law = np.array([zoh_error_law(n, dt, N) for N in sizes])
            np.testing.assert_allclose(errors, law, rtol=0.25)
            assert abs(slope(sizes, errors) + 1) < 0.1


def test_zoh_error_saturates_where_N_is_too_small_for_the_step():
    assert math.isclose(discrete_error(0, 16, 1e-4), 0.5, rel_tol=0.01)
    assert zoh_error_law(0, 1e-4, 16) > 6


def test_continuous_error_has_a_limit_that_is_not_zero():
    for n in range(4):
        for N in (64, 256, 1024):
            assert math.isclose(continuous_error(n, N), continuous_error_limit(n), rel_tol=0.01)
    np.testing.assert_allclose(
        [continuous_error(n, 256) for n in range(4)], [0.5000, 0.8660, 1.1179, 1.3227], atol=2e-4
    )
    assert math.isclose(continuous_error(0, 16), 0.498, abs_tol=1e-3)


@pytest.mark.parametrize("clip", [1.0, 2.0, 3.0])
def test_clipped_input_weights_make_the_basis_converge_in_norm(clip):
    """Slope -1/2 and the constant of the law, where exact weights leave sqrt(2n + 1) / 2."""
    for n in (0, 1, 3):
        sizes = np.array([1024, 2048])
        errors = [continuous_error(n, int(N), clip) for N in sizes]
        np.testing.assert_allclose(errors, clipped_error_law(n, sizes, clip), rtol=3e-3)
        assert abs(slope(sizes, errors) + 0.5) < 0.01
    assert math.isclose(clipped_error_law(0, 1), 0.8016, abs_tol=5e-5)


def test_clipped_difference_is_that_of_matrix_exponentials():
    """The clipped weights in the eigenbasis of a dense solver."""
    N, t = 12, 0.7
    _, absB, V = legs_spectrum_dense(N)
    half = np.real(V @ np.minimum(absB, 2.0))  # the conjugates' part and the factor 1/2
    true = (scipy.linalg.expm(t * normal_part(N)[0]) @ half - legs_basis(np.arange(N), np.asarray(t)))[:3]
    for n in range(3):
        poles, weights = basis_difference(n, N, clip=2.0)
        assert math.isclose(np.real(weights @ np.exp(t * poles)), true[n], abs_tol=1e-11)


def test_sup_norm_does_not_converge_either():
    """0.59 to 0.73 on [1, 5] in an independent computation, on its own grid of times."""
    t = np.linspace(1, 5, 20_001)
    for N in (32, 64, 128, 256):
        poles, weights = basis_difference(0, N)
        assert 0.55 < np.abs(np.real(np.exp(t[:, None] * poles) @ weights)).max() < 0.8


def test_step_responses_converge_at_rate_one():
    sizes = np.array([16, 32, 64, 128])
    t = np.linspace(0, 10, 20_001)
    errors = np.array([np.abs(step_error(0, int(N), t)).max() for N in sizes])
    assert abs(slope(sizes, errors) + 1) < 0.15
    # an independent computation on another, coarser grid of times
    np.testing.assert_allclose(errors, [0.02524, 0.01241, 0.00626, 0.00307], rtol=0.05)


def test_zoh_and_bilinear_kernels_differ_by_the_square_of_the_step():
    """Values of an independent computation: lin, N = 8."""
    differences = []
    for dt in (1e-2, 5e-3, 2.5e-3):
        C = np.array([1, 0.5 - 0.2j, 0.3j, 0.7])
        zoh, bilinear = (
            s4d(8, init="lin", C=C, dt=dt, discretization=rule).kernel(2000) for rule in ("zoh", "bilinear")
        )
        differences.append(np.abs(zoh - bilinear).max() / dt)
    np.testing.assert_allclose(differences, [7.71e-3, 1.93e-3, 4.82e-4], rtol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: legs_frequency(8, 0, terms=4), "terms must be"),
        (lambda: basis_difference(9, 64), "n must be an integer in 0..8"),
        (lambda: basis_difference(-1, 64), "n must be an integer"),
        (lambda: basis_difference(4, 4), "in 0..3"),
        (lambda: basis_difference(0, 5), "even"),
        (lambda: clipped_error_law(0, 8, clip=0.0), "clip must be positive"),
        (lambda: all_pass(0, 1.0), "N must be a positive integer"),
        (lambda: discrete_error(0, 8, 0.0), "dt must be positive"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
