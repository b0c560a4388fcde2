"""Fits of kernels: exact recovery, optimality of the refinement, long kernels by FFT, bad input."""

import array_api_strict
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from stable_systems import RULES

from lrtheory.ssm import balanced_truncation, fit_kernel, s4d
from lrtheory.ssm.fitting import _Exponentials, _refined, dense_subspace, krylov_subspace

pytestmark = pytest.mark.filterwarnings("ignore::lrtheory.ssm.AliasingWarning")


@st.composite
def separated_nodes(draw):
    """Nodes apart from one another inside the unit circle: pairs, and positive and negative real ones."""
    pairs, reals = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    if pairs + reals == 0:
        pairs = 1
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    phase = np.pi * (np.arange(pairs) + rng.uniform(0.3, 0.7, pairs)) / max(pairs, 1)
    z = np.concatenate([rng.uniform(0.7, 0.98, pairs) * np.exp(1j * phase), np.array([0.9, -0.8])[:reals]])
    return z, rng.uniform(1, 2, len(z)) * np.exp(1j * np.where(z.imag != 0, rng.uniform(0, 6, len(z)), 0))


def samples(z, w, length):
    return (w * z ** np.arange(length)[:, None]).sum(-1).real


@given(separated_nodes(), st.sampled_from((*RULES[:3], 0.4)), st.sampled_from([0, 30]))
def test_exact_data_are_recovered(nodes, rule, refine):
    z, w = nodes
    order = int(np.sum(np.where(z.imag != 0, 2, 1)))
    kernel = samples(z, w, 80)
    system, information = fit_kernel(kernel, order + 2, dt=0.1, discretization=rule, refine=refine)
    assert information.order == order
    assert information.error < 1e-11
    np.testing.assert_allclose(system.kernel(200), samples(z, w, 200), atol=1e-9 * np.abs(kernel).max())
    found = np.exp(system.log_nodes()[1])
    assert np.max(np.min(np.abs(found - z[:, None]), axis=1)) < 1e-8


@given(st.integers(0, 2**31 - 1), st.integers(1, 6))
def test_the_refined_fit_is_a_local_minimum(seed, rank):
    rng = np.random.default_rng(seed)
    kernel = np.exp(-0.05 * np.arange(60)) * np.cumsum(rng.standard_normal(60))
    system, information = fit_kernel(kernel, rank, refine=500, discretization="impulse")
    assert information.error <= information.initial_error
    size = np.linalg.norm(kernel)
    misfit = kernel - system.kernel(60)
    np.testing.assert_allclose(np.linalg.norm(misfit) / size, information.error, rtol=1e-6, atol=1e-12)
    # no step in a pole, with the best weights for it, lowers the misfit by more than the refinement's own threshold
    x = system.A
    live = np.abs(system.C) > 0
    for mode in np.flatnonzero(live):
        for step in (1e-3, -1e-3, 1e-3j, -1e-3j):
            moved = x.copy()
            moved[mode] += step * abs(x[mode].real)
            real = (x.imag == 0) | (np.abs(x.imag) == np.pi)
            if (real[mode] and step.imag) or moved[mode].real >= -1e-11:
                continue
            powers = np.exp(np.arange(60)[:, None] * moved[live])
            columns = np.concatenate([powers.real, powers[:, ~real[live]].imag], axis=1)
            other = kernel - columns @ np.linalg.lstsq(columns, kernel, rcond=1e-15)[0]
            assert np.linalg.norm(other) >= np.linalg.norm(misfit) * (1 - 1e-5)


@pytest.mark.parametrize("rank", [4, 9])
def test_the_fit_is_nearer_than_balanced_truncation(rank):
    """In l2 over the samples, which is what it minimises."""
    system = s4d(16, 1, "legs", dt=0.02, stream=2)
    kernel = system.kernel(800)[0]
    fitted, information = fit_kernel(kernel, rank, dt=0.02)
    truncated, _ = balanced_truncation(system, rank, discrete=True)
    errors = [np.linalg.norm(kernel - s.kernel(800).reshape(-1)) for s in (fitted, truncated)]
    assert errors[0] < errors[1]
    assert information.order == rank


@pytest.mark.parametrize("length", [600, 601])
@pytest.mark.parametrize("r", [5, 12, 32])
def test_krylov_subspace_is_as_good_as_the_dense_svd(length, r):
    kernel = s4d(32, 1, "inv", dt=0.01, stream=0).kernel(length)[0]
    u, s = krylov_subspace(kernel, r)
    odd = kernel[: length - (length + 1) % 2]
    p = (len(odd) + 1) // 2
    matrix = scipy.linalg.hankel(odd[:p], odd[p - 1 :])
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(s, values[:r], atol=1e-12 * values[0])
    np.testing.assert_allclose(u.T @ u, np.eye(r), atol=1e-12)
    left_out = np.linalg.norm(matrix - u @ (u.T @ matrix), 2)
    np.testing.assert_allclose(left_out, values[r], rtol=1e-9, atol=1e-12 * values[0])
    if length % 2:
        v, t = dense_subspace(kernel, r)
        np.testing.assert_allclose(t, values[:r], atol=1e-13 * values[0])
        assert np.linalg.norm(matrix - v @ (v.T @ matrix), 2) <= values[r] + 1e-13 * values[0]


def test_krylov_subspace_where_values_decay_slowly():
    rng = np.random.default_rng(0)
    kernel = np.exp(-np.arange(2001) / 200) * rng.standard_normal(2001)
    u, s = krylov_subspace(kernel, 20)
    matrix = scipy.linalg.hankel(kernel[:1001], kernel[1000:])
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(s, values[:20], rtol=0.01)
    assert np.linalg.norm(matrix - u @ (u.T @ matrix), 2) <= 1.05 * values[20]


def test_a_pair_becomes_two_real_poles_and_back():
    n = np.arange(60)
    real = 0.95**n - 0.7 * 0.8**n
    pair = 0.9**n * np.cos(0.2 * n)
    for kernel, start in ((real, np.log([0.9 + 0.05j])), (pair, np.log([0.95 + 0j, 0.8]))):
        model = _Exponentials.from_poles(start, kernel / np.linalg.norm(kernel))
        refined, _ = _refined(model, 60)
        assert len(refined.x) == 3 - len(start)
        assert refined.error < 1e-9


def test_long_kernels():
    truth = s4d(8, 1, "inv", dt=1e-3, stream=0)
    kernel = truth.kernel(20_000)[0]
    system, information = fit_kernel(kernel, 8, dt=1e-3)
    assert information.error < 1e-11
    found, expected = (a[np.argsort(a.imag)] for a in (system.A, truth.A))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_noise_leaves_the_poles_near():
    rng = np.random.default_rng(0)
    z, w = np.array([0.97 * np.exp(0.3j), 0.95 * np.exp(1.1j)]), np.array([1.0, 0.7j])
    clean = samples(z, w, 400)
    errors = []
    for refine in (0, 50):
        trials = [fit_kernel(clean + 0.01 * rng.standard_normal(400), 4, refine=refine)[0] for _ in range(20)]
        errors.append(np.median([np.abs(np.sort(np.abs(np.exp(t.A))) - [0.95, 0.97]).max() for t in trials]))
    # Cramer-Rao for one damped exponential: the deviation of |z| is some sigma sqrt(2) (1 - |z|^2)^(3/2) / |w|
    assert errors[1] < errors[0] * 1.05
    assert errors[1] < 3 * 0.01 * np.sqrt(2) * (1 - 0.95**2) ** 1.5 / 0.7


def test_growing_data_give_a_stable_system():
    system, information = fit_kernel(1.01 ** np.arange(100.0), 1)
    assert np.all(system.A.real < 0)
    assert 0.01 < information.error < 1


def test_poles_outside_the_unit_circle_are_reflected():
    system, _ = fit_kernel(1.01 ** np.arange(100.0), 1, refine=0, discretization="impulse")
    np.testing.assert_allclose(system.A, [-np.log(1.01)], rtol=1e-9)


def test_singular_values_are_those_of_the_hankel_matrix():
    n = np.arange(50.0)
    kernel = 3e4 * (0.9**n * np.cos(n) + 0.3 * 0.7**n)
    for length in (49, 50):
        _, information = fit_kernel(kernel[:length], 5, refine=0)
        rows = scipy.linalg.hankel(kernel[: length // 2 + 1], kernel[length // 2 : length])
        expected = np.linalg.svd(rows, compute_uv=False)[:5]
        np.testing.assert_allclose(information.singular_values, expected, atol=1e-13 * expected[0])


@pytest.mark.parametrize("seed", range(4))
def test_no_more_states_than_asked_for(seed):
    """A negative real pole is one state, and stays one while it is refined."""
    noise = np.random.default_rng(seed).standard_normal(40)
    for rank in (1, 3):
        kernel = (-0.8) ** np.arange(40.0) + 0.1 * noise
        system, information = fit_kernel(kernel, rank, refine=100, discretization="impulse")
        real = (system.A.imag == 0) | (np.abs(system.A.imag) == np.pi)
        assert np.sum(np.where(real, 1, 2)[np.abs(system.C) > 0]) <= information.order <= rank


@pytest.mark.parametrize("rule", ["bilinear", 0.6])
def test_negative_real_poles_have_real_images(rule):
    """abar = -1/2 is the image of a real pole, which has no imaginary part to the last digit."""
    system, _ = fit_kernel((-0.5) ** np.arange(30.0), 1, dt=0.1, discretization=rule)
    assert np.all(system.A.imag == 0)
    np.testing.assert_allclose(system.discretize()[0], [-0.5], rtol=1e-9)


def test_frequencies_stay_below_nyquists():
    data = np.cos(3.0 * np.arange(30.0))
    model = _Exponentials.from_poles(np.array([-0.1 + 3.0j]), data / np.linalg.norm(data))
    beyond = model.moved(np.array([0.0, 0.5]))
    np.testing.assert_allclose(beyond.x, [-0.1 + 1j * (3.5 - 2 * np.pi)], rtol=1e-14)


def test_channels_of_different_order():
    n = np.arange(64.0)
    kernels = np.stack([0.9**n, 0.9**n * np.cos(n), np.zeros(64), (-0.5) ** n])
    system, information = fit_kernel(kernels, 4)
    np.testing.assert_array_equal(information.order, [1, 2, 0, 1])
    np.testing.assert_allclose(system.kernel(64), kernels, atol=1e-13)
    assert system.modes == 1
    for channel in range(4):
        alone = fit_kernel(kernels[channel], 4)[0]
        np.testing.assert_allclose(alone.kernel(64), kernels[channel], atol=1e-13)


def test_short_kernels():
    for kernel in ([1.0, 0.5], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [2.0, 1.0, 0.5]):
        kernel = np.array(kernel)
        system, information = fit_kernel(kernel, 1)
        np.testing.assert_allclose(
            np.linalg.norm(system.kernel(len(kernel)) - kernel) / np.linalg.norm(kernel), information.error, atol=1e-12
        )
    np.testing.assert_allclose(fit_kernel(np.array([1.0, 0.5]), 1)[0].kernel(3), [1, 0.5, 0.25], rtol=1e-10)


def test_library_and_precision_of_the_input():
    kernel = s4d(4, 2, "inv", dt=0.1, stream=0).kernel(50)
    strict, information = fit_kernel(array_api_strict.asarray(kernel), 4, dt=0.1)
    assert isinstance(strict.A, type(array_api_strict.asarray(kernel)))
    np.testing.assert_array_equal(np.asarray(strict.C), fit_kernel(kernel, 4, dt=0.1)[0].C)
    single, information = fit_kernel(kernel.astype(np.float32), 4, dt=0.1, tolerance=1e-6)
    assert single.A.dtype == np.complex64
    assert information.error.dtype == np.float32
    np.testing.assert_allclose(single.kernel(50), kernel, atol=1e-5 * np.abs(kernel).max())


def test_bad_input_is_refused():
    kernel = 0.9 ** np.arange(20.0)
    with pytest.raises(TypeError, match="K must be an array"):
        fit_kernel([1.0, 2.0], 1)
    for bad in (kernel + 0j, np.arange(20)):
        with pytest.raises(TypeError, match="K must be real floating"):
            fit_kernel(bad, 1)
    with pytest.raises(ValueError, match="L >= 2"):
        fit_kernel(np.ones(1), 1)
    with pytest.raises(ValueError, match="K must be finite"):
        fit_kernel(np.array([1.0, np.nan, 2.0]), 1)
    for rank in (0, 11, 1.0, True):
        with pytest.raises(ValueError, match="rank must be an integer from 1 to L // 2 = 10"):
            fit_kernel(kernel, rank)
    for tolerance in (-1.0, 1.0, np.nan, True):
        with pytest.raises(ValueError, match="tolerance must lie in"):
            fit_kernel(kernel, 1, tolerance=tolerance)
    for refine in (-1, 2.5, True):
        with pytest.raises(ValueError, match="refine must be an integer"):
            fit_kernel(kernel, 1, refine=refine)
    with pytest.raises(ValueError, match="dt must be positive"):
        fit_kernel(kernel, 1, dt=0.0)
    with pytest.raises(ValueError, match=r"dt must have the shape of K without its last axis, \(\), got \(3,\)"):
        fit_kernel(kernel, 1, dt=np.ones(3))
    with pytest.raises(ValueError, match="no discretization"):
        fit_kernel(kernel, 1, discretization="tustin")
    with pytest.raises(ValueError, match="which no stable pole has under the rule 'backward euler'"):
        # 1 - 1 / z of a fast oscillation lies in the right half plane
        fit_kernel(((0.9 * np.exp(1.5j)) ** np.arange(40)).real, 2, discretization="backward euler")
