"""Norms of diagonal systems against closed forms, brute force and Lyapunov equations."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from stable_systems import dense, response, stable_systems

from lrtheory.ssm import DiagonalSSM, difference, h2_norm, hinf_norm, norms, s4d

either = st.booleans()


@given(stable_systems(), either)
def test_h2_norm_by_the_lyapunov_equation(system, discrete):
    a, b, c = dense(system, discrete)
    if discrete:
        gramian = scipy.linalg.solve_discrete_lyapunov(a, np.outer(b, b))
    else:
        gramian = scipy.linalg.solve_continuous_lyapunov(a, -np.outer(b, b))
    size = np.abs(c) @ np.abs(gramian) @ np.abs(c)  # modes may cancel
    np.testing.assert_allclose(h2_norm(system, discrete=discrete) ** 2, c @ gramian @ c, rtol=1e-9, atol=1e-11 * size)


def test_h2_norm_is_the_length_of_the_kernel():
    system = s4d(16, 2, "inv", dt=0.01, stream=0)
    kernel = system.kernel(8000)
    np.testing.assert_allclose(h2_norm(system, discrete=True), np.linalg.norm(kernel, axis=-1), rtol=1e-12)
    one = DiagonalSSM(np.array([-2.0]), np.array([3.0]), np.array([1.0]), conjugate_pairs=False)
    np.testing.assert_allclose(h2_norm(one), 3 / 2, rtol=1e-14)  # 3 / sqrt(2 * 2)


@given(stable_systems(), either, st.floats(-2, 2))
def test_hinf_norm_is_the_largest_of_a_fine_grid(system, discrete, feed):
    system = replace(system, D=np.array(feed))
    norm, frequency = hinf_norm(system, discrete=discrete)
    if discrete:
        omega = np.linspace(0, np.pi, 4001)
    else:
        omega = np.concatenate([[0], np.geomspace(1e-3, 1e4, 4000)])
    values = np.abs(response(system, omega, discrete) + feed)
    assert values.max() <= norm * (1 + 1e-6)
    reached = np.abs(response(system, [min(frequency, 1e12)], discrete)[0] + feed)
    np.testing.assert_allclose(reached, norm, rtol=1e-9)


def test_hinf_norm_in_closed_form():
    lag = DiagonalSSM(np.array([-2.0]), np.array([3.0]), np.array([1.0]), conjugate_pairs=False)
    norm, frequency = hinf_norm(lag)
    np.testing.assert_allclose(norm, 1.5, rtol=1e-14)
    assert frequency < 1e-6
    # a resonance 1e-7 wide: |G|^2 of w / (s - a) + conj., its maximum from the zeros of the derivative
    a, w = -1e-7 + 3j, 1 - 2j
    norm, frequency = hinf_norm(DiagonalSSM(np.array([a]), np.array([w]), np.array([1.0])))
    np.testing.assert_allclose(frequency, 3, rtol=1e-6)
    np.testing.assert_allclose(norm, abs(w) / 1e-7, rtol=1e-6)  # the conjugate adds |w| / 6
    # the gain of a lead is that at infinite frequency
    norm, frequency = hinf_norm(replace(lag, D=np.array(-3.0)))
    assert norm == 3
    assert np.isinf(frequency)


@given(stable_systems(max_modes=4), either)
def test_the_certificate_finds_what_the_grid_missed(system, discrete):
    """Started from a level that is too low, the Hamiltonian leads to the same norm."""
    w, x = norms.weighted_modes(system, discrete)
    poles, weights, feed = norms._closed(w, x, 0.0, discrete)
    if discrete:
        poles, weights, feed = norms._cayley(poles, weights, feed)
    norm, _ = hinf_norm(system, discrete=discrete, certify=False)
    level = max(norm / 3, abs(feed) * 1.01)
    for _ in range(60):
        value, _ = norms._largest_above(poles, weights, feed, level)
        if value <= level:
            break
        level = value * (1 + 1e-9)
    np.testing.assert_allclose(level, norm, rtol=1e-6)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_certified_norm_does_not_rest_on_the_grid(discrete, monkeypatch):
    system = s4d(12, 3, "inv", dt=0.05, stream=1)
    expected, _ = hinf_norm(system, discrete=discrete)
    found = norms._peak

    def low(*given):
        norm, frequency = found(*given)
        return norm / 3, frequency + 1.0

    monkeypatch.setattr(norms, "_peak", low)
    np.testing.assert_allclose(hinf_norm(system, discrete=discrete, certify=False)[0], expected / 3, rtol=1e-12)
    norm, frequency = hinf_norm(system, discrete=discrete)
    np.testing.assert_allclose(norm, expected, rtol=2e-6)
    omega = frequency / system.dt if discrete else frequency
    reached = np.abs(system.freqresp(omega[:, None], discrete=discrete))[:, 0]
    np.testing.assert_allclose(reached, norm, rtol=1e-9)


@given(stable_systems(channels=(2,)), stable_systems(channels=(2,)), either)
def test_difference_has_the_difference_of_the_kernels(first, second, discrete):
    second = replace(second, dt=first.dt, discretization=first.discretization)
    both = difference(first, second)
    expected = first.kernel(40) - second.kernel(40)
    np.testing.assert_allclose(both.kernel(40), expected, atol=1e-13 * np.abs(first.kernel(40)).max() + 1e-12)
    assert hinf_norm(difference(first, first), certify=False)[0].max() <= 1e-12 * hinf_norm(first)[0].max()


def test_difference_of_the_feedthroughs():
    system = s4d(4, 2, "inv", dt=0.01, D=np.array([1.0, 2.0]), stream=0)
    assert difference(replace(system, D=None), replace(system, D=None)).D is None
    np.testing.assert_array_equal(difference(system, replace(system, D=None)).D, [1, 2])
    np.testing.assert_array_equal(difference(replace(system, D=None), system).D, [-1, -2])


def test_bad_input_is_refused():
    system = s4d(8, 1, "inv", dt=0.01, stream=0)
    for tolerance in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="tolerance must lie in"):
            hinf_norm(system, tolerance=tolerance)
    for other in (replace(system, dt=0.02), replace(system, discretization="bilinear")):
        with pytest.raises(ValueError, match="share step and discretisation"):
            difference(system, other)
