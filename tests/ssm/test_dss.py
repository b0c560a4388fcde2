"""DSS-exp and DSS-softmax against their definitions in 40 digits."""

import math

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, dss_exp, dss_softmax_kernel, vandermonde
from lrtheory.testing.strategies import seeds


def softmax_in_forty_digits(a, w, dt, length):
    """Re sum_n (w_n / a_n) softmax_l(l dt a_n), term by term."""
    with mpmath.workdps(40):
        kernel = [mpmath.mpf(0)] * length
        for pole, weight in zip(a, w, strict=True):
            pole, weight = mpmath.mpc(complex(pole)), mpmath.mpc(complex(weight))
            terms = [mpmath.exp(step * mpmath.mpf(dt) * pole) for step in range(length)]
            total = mpmath.fsum(terms)
            for step in range(length):
                kernel[step] += (weight / pole * terms[step] / total).real
        return np.array([float(v) for v in kernel])


def drawn(seed, M):
    g = Stream(seed).normal((4, M))
    return 3 * g[0] + 3j * g[1], g[2] + 1j * g[3]


def conditioning(a, dt, length):
    """How much rounding of exp(L dt a) - 1 and of phases is magnified in the worst mode."""
    z = length * dt * np.where(a.real > 0, -a, a)
    return float(np.max((1 + np.abs(z)) / np.abs(np.expm1(z)) + 1))


@given(seeds(), st.integers(1, 4), st.floats(1e-3, 1.0), st.integers(1, 40))
def test_softmax_against_forty_digits(seed, M, dt, length):
    """Poles on both sides of the imaginary axis."""
    a, w = drawn(seed, M)
    expected = softmax_in_forty_digits(a, w, dt, length)
    scale = float(np.sum(np.abs(w / a))) * conditioning(a, dt, length)
    np.testing.assert_allclose(dss_softmax_kernel(a, w, dt, length), expected, rtol=0, atol=1e-14 * scale)


@given(seeds(), st.integers(1, 5), st.integers(1, 60))
def test_softmax_is_normalised(seed, M, length):
    """The samples add up to Re sum W / a."""
    a, w = drawn(seed, M)
    total = float(np.sum(dss_softmax_kernel(a, w, 0.1, length)))
    scale = float(np.sum(np.abs(w / a))) * conditioning(a, 0.1, length)
    assert math.isclose(total, float(np.sum((w / a).real)), abs_tol=1e-13 * scale)


@given(seeds(), st.integers(1, 6), st.floats(1e-3, 0.5), st.integers(1, 100))
def test_softmax_is_half_of_a_diagonal_system(seed, M, dt, length):
    """With Re a < 0 and weights w (exp(L dt a) - 1): half of the kernel with zero-order hold and conjugate pairs."""
    a, w = drawn(seed, M)
    a = -np.abs(a.real) + 1j * a.imag
    system = DiagonalSSM(a, np.ones_like(a), w, dt)
    kernel = dss_softmax_kernel(a, w * np.expm1(length * dt * a), dt, length)
    scale = dt * float(np.sum(np.abs(w))) * conditioning(a, dt, length)
    np.testing.assert_allclose(2 * kernel, system.kernel(length), rtol=0, atol=2e-13 * scale)
    pairs = dss_softmax_kernel(a, w * np.expm1(length * dt * a), dt, length, conjugate_pairs=True)
    np.testing.assert_allclose(pairs, 2 * kernel, rtol=1e-15, atol=0)


def test_strongly_growing_modes_stay_finite():
    """exp(L dt a) = exp(50000) overflows everything; all weight is then on the last sample."""
    kernel = dss_softmax_kernel(np.array([50.0 + 1j]), np.array([2.0 + 0j]), 1.0, 1000)
    assert np.all(np.isfinite(kernel))
    assert kernel[-1] == pytest.approx((2.0 / (50 + 1j)).real, rel=1e-14)
    assert np.abs(kernel[:-1]).max() < 1e-20


@given(seeds(), st.integers(2, 40))
def test_turning_the_poles_round_reverses_the_kernel(seed, length):
    a, w = drawn(seed, 3)
    forward = dss_softmax_kernel(a, w * a, 0.2, length)
    backward = dss_softmax_kernel(-a, -w * a, 0.2, length)
    scale = float(np.sum(np.abs(w))) * conditioning(a, 0.2, length)
    np.testing.assert_allclose(backward[::-1], forward, rtol=0, atol=1e-14 * scale)


def test_epsilon_is_that_of_the_formula():
    a, w, dt, length, epsilon = np.array([-0.3 + 2j, 0.1 - 1j]), np.array([1 - 1j, 2j]), 0.1, 12, 1e-2
    expected = np.zeros(length)
    for pole, weight in zip(a, w, strict=True):
        sign = -1 if pole.real > 0 else 1
        d = pole * (np.exp(sign * length * dt * pole) - 1)
        samples = np.exp((np.arange(length) - (length - 1 if sign < 0 else 0)) * dt * pole)
        expected += (weight * (np.exp(sign * dt * pole) - 1) * d.conjugate() / (abs(d) ** 2 + epsilon) * samples).real
    np.testing.assert_allclose(dss_softmax_kernel(a, w, dt, length, epsilon=epsilon), expected, rtol=1e-12, atol=1e-15)


@given(seeds(), st.integers(1, 5), st.booleans())
def test_exponential_form(seed, M, pairs):
    g = Stream(seed).normal((4, M))
    w = g[2] + 1j * g[3]
    a = -np.exp(g[0]) + 1j * g[1]
    steps = np.arange(20)[:, None]
    expected = (2 if pairs else 1) * np.sum(w * np.exp(steps * 0.1 * a) * (np.exp(0.1 * a) - 1) / a, axis=1).real
    kernel = dss_exp(g[0], g[1], w, 0.1, conjugate_pairs=pairs).kernel(20)
    scale = float(np.sum(np.abs(w / a)))  # the plain quotient cancels where dt a is small
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-14 * (1 + scale))


def test_channels_libraries_and_precisions():
    a, w = drawn(1, 8)
    a, w = a.reshape(2, 4), w.reshape(2, 4)
    dt = np.array([0.1, 0.3])
    kernel = dss_softmax_kernel(a, w, dt, 10)
    for h in range(2):
        np.testing.assert_allclose(kernel[h], dss_softmax_kernel(a[h], w[h], dt[h], 10), rtol=1e-13, atol=1e-15)
    shared = dss_softmax_kernel(a[0], w, 0.1, 10)
    np.testing.assert_allclose(shared[1], dss_softmax_kernel(a[0], w[1], 0.1, 10), rtol=1e-13, atol=1e-15)
    strict = dss_softmax_kernel(*(array_api_strict.asarray(v) for v in (a, w, dt)), 10)
    np.testing.assert_allclose(np.asarray(strict), kernel, rtol=1e-13, atol=1e-15)
    single = dss_softmax_kernel(a.astype(np.complex64), w.astype(np.complex64), dt, 10)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, kernel, atol=5e-6 * np.abs(kernel).max())

    def doubled(w, x, length):
        return 2 * vandermonde.naive(w, x, length)

    np.testing.assert_allclose(dss_softmax_kernel(a, w, dt, 10, doubled), 2 * kernel, rtol=1e-15)


def test_bad_input_is_refused():
    a, w = drawn(0, 3)
    with pytest.raises(ValueError, match="divides by 0"):
        dss_softmax_kernel(np.array([0j]), np.array([1 + 0j]), 0.1, 10)
    whole_turn = np.array([2j * math.pi])  # L dt a = 2 pi i
    with pytest.raises(ValueError, match="divides by 0"):
        dss_softmax_kernel(whole_turn, np.array([1 + 0j]), 0.1, 10)
    assert np.all(np.isfinite(dss_softmax_kernel(whole_turn, np.array([1 + 0j]), 0.1, 10, epsilon=1e-7)))
    tiny = dss_softmax_kernel(np.array([-1e-30 + 0j]), np.array([1e-30 + 0j]), 0.1, 10)
    np.testing.assert_allclose(tiny, np.full(10, -0.1), rtol=1e-14)  # small is not zero
    with pytest.raises(ValueError, match="length"):
        dss_softmax_kernel(a, w, 0.1, 0)
    with pytest.raises(ValueError, match="epsilon"):
        dss_softmax_kernel(a, w, 0.1, 5, epsilon=-1.0)
    with pytest.raises(ValueError, match="dt"):
        dss_softmax_kernel(a, w, -0.1, 5)
    with pytest.raises(ValueError, match="W must be finite"):
        dss_softmax_kernel(a, w * np.nan, 0.1, 5)
    with pytest.raises(TypeError, match="frequency must be an array"):
        dss_exp(np.zeros(1), 1.0, np.ones(1))
    with pytest.raises(TypeError, match="log_decay must be real"):
        dss_exp(np.zeros(1) * 1j, np.ones(1), np.ones(1))
