"""Approximate diagonalisation of LegS: identities, the bound, trade-off and comparison with the normal part."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.ssm import DenseSSM, hippo_legs, legs_deviation_bound, perturb_then_diagonalize, transfer_deviation
from lrtheory.ssm.approximate import eigenvector_conditioning, gaussian, optimized
from lrtheory.testing.strategies import seeds

FREQUENCIES = np.concatenate([[0.0], np.geomspace(1e-2, 1e5, 1200)])  # responses are conjugate at -w


def legs(N, C, dt=1.0):
    A, B, _ = hippo_legs(N)
    return DenseSSM(A, B, C, dt)


def legs_response(C):
    """C (iw - A)^-1 B in closed form: entry n is sqrt(2n+1) prod_{k<n} (s - k) / prod_{k=1}^{n+1} (s + k)."""

    def response(w):
        s = 1j * np.asarray(w)
        entry, total = 1 / (s + 1), np.zeros(len(s), complex)
        for n in range(len(C)):
            total += C[n] * np.sqrt(2 * n + 1) * entry
            entry = entry * (s - n) / (s + n + 2)
        return total

    return response


def diagonal_response(system):
    """2 Re over the poles, as a function of iw: the modes and their conjugates."""

    def response(w):
        s = 1j * np.asarray(w)[:, None]
        r = system.C * system.B
        return np.sum(r / (s - system.A) + np.conj(r) / (s - np.conj(system.A)), axis=1)

    return response


def drawn_weights(seed, N):
    C = Stream(seed).child("C").normal((N,))
    return C / np.linalg.norm(C)


@given(st.integers(1, 40), st.floats(0.0, 1e3))
def test_the_input_side_has_a_closed_form_norm(N, w):
    """|(iw - A)^-1 B| = N / sqrt(w^2 + N^2), on which the bound rests; and (A + A^T) / 2 <= -1/2."""
    A, B, _ = hippo_legs(N)
    state = np.linalg.solve(1j * w * np.eye(N) - A, B.astype(complex))
    assert np.linalg.norm(state) == pytest.approx(N / math.hypot(w, N), rel=1e-10)
    assert np.linalg.eigvalsh((A + A.T) / 2)[-1] < -0.5 + 1e-9


@given(seeds(), st.integers(2, 24), st.floats(-3.0, math.log10(0.45)))
def test_deviation_is_within_the_bound(seed, N, exponent):
    """From the closed form of LegS's response, for random E and C."""
    C = drawn_weights(seed, N)
    near = perturb_then_diagonalize(legs(N, C), 10.0**exponent, stream=seed)
    assert near.size == pytest.approx(10.0**exponent, rel=1e-12)
    assert np.linalg.norm(near.E, 2) == pytest.approx(near.size, rel=1e-12)
    assert np.max(near.system.A.real) < 0  # the bound's condition makes A + E stable
    deviation, place = transfer_deviation(legs_response(C), near.perturbed.freqresp, FREQUENCIES)
    assert 0 < deviation <= legs_deviation_bound(C, near.size)
    at = np.array([place])
    assert abs(legs_response(C)(at) - near.perturbed.freqresp(at))[0] == pytest.approx(deviation, rel=1e-9)


@given(seeds(), st.integers(2, 32))
def test_the_diagonal_system_is_the_perturbed_one(seed, N):
    """Responses and kernels, to cond(V) eps."""
    C = drawn_weights(seed, N)
    near = perturb_then_diagonalize(legs(N, C, dt=0.05), 0.05, stream=seed)
    assert np.array_equal(near.perturbed.A, hippo_legs(N)[0] + near.E)
    rounding = 1e-14 * near.condition * N
    expected = np.array(
        [C @ np.linalg.solve(1j * w * np.eye(N) - near.perturbed.A, near.perturbed.B) for w in (0, 1, 50)]
    )
    found = diagonal_response(near.system)(np.array([0.0, 1.0, 50.0]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)
    np.testing.assert_allclose(near.system.kernel(40), near.perturbed.kernel(40), rtol=0, atol=rounding)


@pytest.mark.parametrize("N", [16, 48])
def test_deviation_and_condition_trade_off(N):
    """Deviation proportional to the size, condition to its inverse: slopes over 1e-4 .. 1e-1, medians of five E."""
    sizes = 10.0 ** np.arange(-4, 0)
    C = np.ones(N) / math.sqrt(N)
    deviations, conditions = np.empty((2, 5, 4))
    for seed in range(5):
        for i, size in enumerate(sizes):
            near = perturb_then_diagonalize(legs(N, C), size, stream=seed)
            deviations[seed, i] = transfer_deviation(legs_response(C), near.perturbed.freqresp, FREQUENCIES)[0]
            conditions[seed, i] = near.condition
    slopes = [np.polyfit(np.log(sizes), np.log(np.median(v, axis=0)), 1)[0] for v in (deviations, conditions)]
    assert slopes[0] == pytest.approx(1.0, abs=0.1)
    assert slopes[1] == pytest.approx(-1.0, abs=0.2)


def test_the_normal_part_does_not_converge_uniformly_and_this_does():
    """S4D-LegS at n = 0 has the response 1 / (1 + s) / (1 + R_N(s)): its deviation does not fall with N."""

    def normal_part(N):
        def response(w):
            s = 1j * np.asarray(w)
            R = np.prod([(s - k + 1) / (s + k) for k in range(1, N + 1)], axis=0)
            return 1 / (1 + s) / (1 + R)

        return response

    first = np.array([1.0])
    s4d = [transfer_deviation(legs_response(first), normal_part(N), FREQUENCIES)[0] for N in (16, 32, 64)]
    assert min(s4d) > 0.3
    ours = []
    for N in (16, 32, 64):
        near = perturb_then_diagonalize(legs(N, np.eye(N)[0]), 1e-2)
        ours.append(transfer_deviation(legs_response(first), diagonal_response(near.system), FREQUENCIES)[0])
    assert max(ours) < 2.1e-2  # the bound of size 1e-2, whatever N


@given(seeds(), st.integers(2, 8))
def test_gradient_of_the_conditioning(seed, N):
    s = Stream(seed)
    A, direction = s.child("A").normal((N, N)), s.child("direction").normal((N, N))
    value, gradient = eigenvector_conditioning(A)
    X = np.linalg.eig(A)[1]
    inverse = np.linalg.inv(X)
    assert math.exp(value) == pytest.approx(np.linalg.norm(inverse) ** 2, rel=1e-8)  # columns of X have norm 1
    h = (
        1e-7
        * np.min(np.abs(np.subtract.outer(*[np.linalg.eigvals(A)] * 2))[~np.eye(N, dtype=bool)])
        / math.exp(value / 2)
    )
    ahead, behind = (eigenvector_conditioning(A + t * direction)[0] for t in (h, -h))
    slope = float(np.sum(gradient * direction))
    noise = 1e-15 * math.exp(value / 2) * N / h  # rounding of f in a difference over 2 h
    assert (ahead - behind) / (2 * h) == pytest.approx(slope, rel=1e-4, abs=noise + 1e-6 * np.linalg.norm(gradient))


@pytest.mark.parametrize("seed", range(3))
def test_optimised_perturbations_are_better_conditioned(seed):
    """At the same size; a factor of 5 at least (20 is typical), and the deviation stays within the bound."""
    A, _, _ = hippo_legs(24)
    C = drawn_weights(seed, 24)
    random = perturb_then_diagonalize(legs(24, C), 1e-2, stream=seed)
    best = perturb_then_diagonalize(legs(24, C), 1e-2, optimized, stream=seed)
    assert best.size <= 1e-2 * (1 + 1e-12)
    assert best.condition < random.condition / 5
    deviation, _ = transfer_deviation(legs_response(C), best.perturbed.freqresp, FREQUENCIES)
    assert deviation <= legs_deviation_bound(C, best.size)
    np.testing.assert_array_equal(random.E, gaussian(A, 1e-2, Stream(seed)))


def test_deviation_finds_peaks_between_grid_points():
    """A resonance of height 1000 and width 1e-3, on a grid with steps of 0.1."""

    def resonance(w):
        return 1 / (1j * (w - math.pi) + 1e-3)

    deviation, place = transfer_deviation(resonance, np.zeros_like, np.linspace(0.0, 10.0, 101))
    assert deviation == pytest.approx(1000.0, rel=1e-9)
    assert place == pytest.approx(math.pi, abs=1e-6)


def test_perturbations_of_ones_own():
    """E = P P^T makes LegS normal: condition 1, and poles with real part -1/2."""
    A, B, P = hippo_legs(12)
    near = perturb_then_diagonalize(DenseSSM(A, B, B), 1.0, lambda A, size, stream: np.outer(P, P))
    assert near.condition == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(near.system.A.real, -0.5, atol=1e-12)
    assert near.size == pytest.approx(72.0)


def test_bad_input_is_refused():
    A, B, _ = hippo_legs(6)
    system = DenseSSM(A, B, B)
    for size in (0.0, -1.0, math.nan, "1"):
        with pytest.raises(ValueError, match="size must be positive"):
            perturb_then_diagonalize(system, size)
    with pytest.raises(ValueError, match="single A"):
        perturb_then_diagonalize(DenseSSM(np.stack([A, A]), B, B), 0.1)
    with pytest.raises(ValueError, match="condition number"):
        perturb_then_diagonalize(legs(32, np.ones(32)), 1e-300)
    with pytest.raises(ValueError, match=r"\[0, 1/2\)"):
        legs_deviation_bound(B, 0.5)
    assert legs_deviation_bound(1j * B, 0.1) == pytest.approx(legs_deviation_bound(B, 0.1), rel=1e-14)
    with pytest.raises(ValueError, match="increasing"):
        transfer_deviation(np.sin, np.cos, np.array([1.0, 0.5, 2.0]))
    with pytest.raises(ValueError, match="one channel"):
        transfer_deviation(lambda w: np.ones((2, len(w))), np.zeros_like, np.arange(5.0))
