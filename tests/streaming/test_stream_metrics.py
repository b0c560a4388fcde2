"""Metrics of directions and the offline reference: against high precision, SciPy, and plain expressions."""

import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.spectra import orthonormal
from lrtheory.streaming.metrics import canonical_signs, corr2, energy, energy_ratio, near_top_mass, sin2, subspace_sin2
from lrtheory.streaming.offline import second_moment, top_directions

EPS = np.finfo(np.float64).eps


@given(seed=st.integers(0, 10**6), d=st.integers(1, 12))
def test_squared_cosine_and_sine_of_vectors_of_any_length_and_sign(seed, d):
    rng = np.random.default_rng(seed)
    v, truth = rng.standard_normal((2, 3, d))
    plain = np.sum(v * truth, axis=-1) ** 2 / np.sum(v * v, axis=-1) / np.sum(truth * truth, axis=-1)
    assert np.allclose(corr2(v, truth), plain, rtol=1e-12, atol=1e-15)
    assert np.allclose(sin2(v, truth), 1 - plain, rtol=1e-12, atol=1e-15)
    for found in (corr2(v, truth), sin2(v, truth)):
        assert np.all((found >= 0) & (found <= 1))
    # powers of 2 and signs change no bit, not where squares would overflow or vanish either
    for scale in (-1.0, 2.0**600, -(2.0**-600)):
        assert np.array_equal(corr2(v * scale, truth), corr2(v, truth))
        assert np.array_equal(sin2(v, truth * scale), sin2(v, truth))


@pytest.mark.parametrize("angle", [1e-3, 1e-7, 1e-11])
def test_small_angles_keep_their_digits(angle):
    basis = orthonormal(30, 2, Stream(1))
    v = np.cos(angle) * basis[:, 0] + np.sin(angle) * basis[:, 1]
    with mpmath.workdps(50):
        a, b = ([mpmath.mpf(float(x)) for x in vector] for vector in (v, basis[:, 0]))
        dot = [mpmath.fdot(x, y) for x, y in ((a, b), (a, a), (b, b))]
        exact = 1 - dot[0] ** 2 / (dot[1] * dot[2])
    # the residual is exact to some eps against sin = angle
    assert abs(float(sin2(v, basis[:, 0]) - exact)) < 20 * EPS * angle


def test_float32_and_other_libraries_are_kept():
    v, truth = np.random.default_rng(0).standard_normal((2, 7)).astype(np.float32)
    assert sin2(v, truth).dtype == np.float32
    xp = array_api_strict
    for metric in (sin2, corr2):
        strict = metric(xp.asarray(v), xp.asarray(truth))
        assert isinstance(strict, type(xp.asarray(0.0)))
        assert float(strict) == float(metric(v, truth))
    basis = orthonormal(7, 3, Stream(0)).T
    lam = np.array([3.0, 2.9, 1.0])
    strict = near_top_mass(xp.asarray(v.astype(np.float64)), xp.asarray(lam), xp.asarray(basis), 0.1)
    assert np.isclose(float(strict), near_top_mass(v.astype(np.float64), lam, basis, 0.1), rtol=1e-14)
    rows = np.random.default_rng(1).standard_normal((9, 7))
    assert np.isclose(float(energy(xp.asarray(truth.astype(float)), xp.asarray(rows))), energy(truth, rows), rtol=1e-6)


def test_largest_principal_angle_of_spans():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 3, 8))
    angle = scipy.linalg.subspace_angles(a.T, b.T)[0]
    assert np.isclose(subspace_sin2(a, b), np.sin(angle) ** 2, rtol=1e-12)
    assert subspace_sin2(rng.standard_normal((3, 3)) @ a, a) < 1e-28
    stacked = subspace_sin2(np.stack([a, b]), np.stack([b, b]))
    assert np.allclose(stacked, [subspace_sin2(a, b), 0.0], rtol=1e-12, atol=1e-28)
    one = rng.standard_normal((2, 1, 5))
    assert np.isclose(subspace_sin2(one[0], one[1]), sin2(one[0, 0], one[1, 0]), rtol=1e-12)


@pytest.mark.parametrize("shape", [(5000, 6), (30, 6), (4, 9)])
@pytest.mark.parametrize("sparse", [False, True])
def test_energy_and_offline_directions_against_the_svd(shape, sparse):
    rng = np.random.default_rng(4)
    dense = rng.standard_normal(shape) * (rng.random(shape) < 0.5)
    dense[:, 0] *= 3
    rows = scipy.sparse.csr_array(dense) if sparse else dense
    k = min(3, *shape)
    _, values, vectors = np.linalg.svd(dense, full_matrices=False)
    energies, directions = top_directions(rows, k)
    assert np.allclose(energies, values[:k] ** 2, rtol=1e-12)
    assert np.allclose(directions, canonical_signs(vectors[:k]), atol=1e-9)
    assert np.all(np.max(np.abs(directions), axis=1) == np.max(directions, axis=1))
    v = rng.standard_normal((2, shape[1]))
    plain = np.sum((dense @ v.T) ** 2, axis=0) / np.sum(v * v, axis=1)
    assert np.allclose(energy(v, rows), plain, rtol=1e-12)
    assert np.allclose(energy(v[0], rows), plain[0], rtol=1e-12)
    assert np.allclose(energy_ratio(v, rows), plain / values[0] ** 2, rtol=1e-12)
    assert np.isclose(energy_ratio(directions[0], rows), 1.0, rtol=1e-12)
    assert np.allclose(second_moment(rows), dense.T @ dense, rtol=1e-12, atol=1e-9)


def test_offline_directions_of_a_large_sparse_matrix():
    """Beyond the sizes where A^T A is formed: a permuted diagonal, whose singular values are its entries."""
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 1, 5000)
    values[17], values[4001] = 3.0, -2.0
    order = rng.permutation(5000)
    rows = scipy.sparse.csr_array((values, (np.arange(5000), order)), shape=(5000, 5000))
    energies, directions = top_directions(rows, 2)
    assert np.allclose(energies, [9.0, 4.0], rtol=1e-10)
    assert np.argmax(directions[0]) == order[17]
    assert sin2(directions[0], np.eye(1, 5000, order[17])[0]) < 1e-18


def test_a_tie_has_no_angle_but_an_energy():
    rows = np.diag([2.0, 2.0, 1.0])
    v = np.array([1.0, 1.0, 0.0])
    assert np.isclose(energy_ratio(v, rows), 1.0, rtol=1e-15)
    energies, directions = top_directions(rows, 3)
    assert np.isclose(near_top_mass(v, energies, directions, 0.0), 1.0, rtol=1e-14)
    assert np.isclose(near_top_mass(np.ones(3), energies, directions, 0.5), 2 / 3, rtol=1e-14)
    assert np.isclose(near_top_mass(np.ones(3), energies, directions, 0.75), 1.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sin2(np.zeros(3), np.ones(3)), "v must be finite and not zero"),
        (lambda: corr2(np.ones(3), np.array([1.0, np.nan, 0.0])), "truth must be finite"),
        (lambda: corr2(np.ones(3), np.ones(4)), "got 3 and 4"),
        (lambda: corr2(1.0, np.ones(4)), "shape"),
        (lambda: subspace_sin2(np.eye(3)[:2], np.eye(3)[:1]), r"\(2, 3\) and \(1, 3\)"),
        (lambda: energy(np.ones(3), np.ones((4, 2))), r"\(n, 3\), got \(4, 2\)"),
        (lambda: energy_ratio(np.ones(2), np.zeros((4, 2))), "top must be positive"),
        (lambda: near_top_mass(np.ones(2), np.ones(2), np.eye(2), 1.5), "gamma"),
        (lambda: near_top_mass(np.ones(2), np.ones(3), np.eye(2), 0.5), r"\(3,\)"),
        (lambda: top_directions(np.ones((4, 2)), 3), "k must be an integer from 1 to 2, got 3"),
        (lambda: top_directions(np.ones(4)), r"\(n, d\)"),
        (lambda: top_directions(np.array([[1.0, np.inf]])), "finite"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_complex_vectors_are_refused():
    with pytest.raises(TypeError, match="complex128"):
        sin2(np.ones(2) * 1j, np.ones(2))
