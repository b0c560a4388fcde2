"""Spectra, distances without cancellation, angles between subspaces."""

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors
from lrtheory.random import Stream
from lrtheory.spectra import distance, norm, orthonormal, singular_values, spectrum, subspace_distance
from lrtheory.testing import strategies

EPS = np.finfo(np.float64).eps


def exact_distance(a, b):
    """|A - B|_F in 60 digits from the same floating point factors."""
    with mpmath.workdps(60):
        left, right = (mpmath.matrix(f.left.tolist()) * mpmath.matrix(f.right.tolist()).T for f in (a, b))
        return mpmath.sqrt(sum(entry**2 for entry in (left - right)))


@given(st.data(), st.integers(0, 15))
def test_distance_against_high_precision_down_to_tiny_differences(data, digits):
    a = data.draw(strategies.factors(4))
    other = data.draw(strategies.factors(4, k=a.k, symmetric=a.symmetric))
    b = a + other * 10.0**-digits
    got, exact = distance(a, b), exact_distance(a, b)
    # documented: some eps (|A| + |B|); expanding the square would be off by sqrt(eps) times that, 1e8 times as much
    assert abs(got - float(exact)) <= 30 * EPS * float(norm(a) + norm(b))


def test_the_tolerance_above_excludes_the_expanded_square():
    a = Factors(np.random.default_rng(0).normal(size=(6, 3)))
    b = a * (1 + 1e-12)
    squares = np.sum(a.product() ** 2) + np.sum(b.product() ** 2) - 2 * np.sum(a.product() * b.product())
    expanded = np.sqrt(max(squares, 0.0))
    exact = float(exact_distance(a, b))
    bound = 30 * EPS * float(norm(a) + norm(b))
    assert abs(distance(a, b) - exact) <= bound
    assert abs(distance(a, b) - exact) <= 1e-3 * exact  # three digits of a difference of 1e-12
    assert abs(expanded - exact) > bound


@given(st.data())
def test_distance_needs_no_common_shape_of_factors(data):
    a, b = data.draw(strategies.factors(4)), data.draw(strategies.factors(4))
    assert np.isclose(distance(a, b), np.linalg.norm(a.product() - b.product()), rtol=1e-12, atol=1e-14)
    assert np.isclose(norm(a), np.linalg.norm(a.product()), rtol=1e-12, atol=0)


def test_distance_broadcasts_batches_and_takes_rank_zero():
    a = Factors(np.random.default_rng(0).normal(size=(2, 1, 4, 3)))
    b = Factors(np.random.default_rng(1).normal(size=(3, 4, 2)))
    got = distance(a, b)
    assert got.shape == (2, 3)
    assert np.isclose(got[1, 2], np.linalg.norm(a.product()[1, 0] - b.product()[2]), rtol=1e-13)
    nothing = Factors(np.empty((4, 0)))
    assert norm(nothing) == 0.0
    assert np.isclose(distance(Factors(a.left[0, 0]), nothing), np.linalg.norm(a.product()[0, 0]), rtol=1e-13)


@given(strategies.factors(5, 3))
def test_singular_values_of_a_product(x):
    expected = np.linalg.svd(x.product(), compute_uv=False)[: min(x.k, 3)]
    np.testing.assert_allclose(singular_values(x), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(singular_values(x.product())[: min(x.k, 3)], expected, rtol=0, atol=1e-13)


def test_singular_values_of_what_is_not_finite_are_nan():
    matrices = np.stack([np.eye(3), np.full((3, 3), np.nan), np.diag([1.0, np.inf, 1.0])])
    got = singular_values(matrices)
    assert np.array_equal(got[0], np.ones(3))
    assert np.isnan(got[1:]).all()


@given(st.integers(1, 6), st.integers(0, 6), strategies.streams())
def test_orthonormal_columns(n, r, stream):
    r = min(r, n)
    q = orthonormal(n, r, stream)
    assert q.shape == (n, r)
    np.testing.assert_allclose(q.T @ q, np.eye(r), rtol=0, atol=1e-14)


def test_orthonormal_is_haar():
    # Of a Haar matrix every entry has mean 0 and variance 1/n: with R's signs left in Q the diagonal would not.
    q = orthonormal(3, 3, Stream(np.arange(4000)))
    standard_error = 1 / np.sqrt(3 * 4000)
    assert np.abs(q.mean(axis=0)).max() < 5 * standard_error
    assert np.abs((q**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / 4000)  # var(q^2) = 4/45 on the 2-sphere
    unsigned = np.linalg.qr(Stream(np.arange(4000)).normal((3, 3)))[0]
    assert np.abs(unsigned.mean(axis=0)).max() > 20 * standard_error


def test_orthonormal_batches_are_their_members():
    batch = orthonormal(4, 2, Stream(np.arange(3), "q"))
    assert np.array_equal(batch[1], orthonormal(4, 2, Stream(1, "q")))


@pytest.mark.parametrize("r", [-1, 4])
def test_orthonormal_refuses_too_many_columns(r):
    with pytest.raises(ValueError, match=r"r must lie in 0\.\.n = 3"):
        orthonormal(3, r, Stream(0))


@given(st.integers(2, 8), st.floats(1, 1e6), st.sampled_from(["linear", "geometric"]))
def test_spectrum_falls_from_one_to_one_over_kappa(r, kappa, kind):
    s = spectrum(r, kappa, kind)
    assert s[0] == 1.0
    assert np.isclose(s[-1], 1 / kappa, rtol=1e-13)
    steps = np.diff(s) if kind == "linear" else s[1:] / s[:-1]
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9, atol=1e-14)


def test_spectrum_of_rank_zero_and_one():
    assert spectrum(0).shape == (0,)
    assert spectrum(0, 5.0, "geometric").shape == (0,)
    assert np.array_equal(spectrum(1), [1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 0.5), "kappa"),
        ((3, np.inf), "kappa"),
        ((3, np.nan), "kappa"),
        ((1, 2.0), "kappa must be 1 when r = 1"),
        ((3, 2.0, "geom"), "kind .*'geom'"),
    ],
)
def test_spectrum_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        spectrum(*arguments)


@given(st.floats(1e-12, 1.5))
def test_subspace_distance_is_the_sine_of_the_angle(angle):
    u, v = np.eye(3)[:, :1], np.array([[np.cos(angle)], [np.sin(angle)], [0.0]])
    # relative accuracy for angles far below sqrt(eps)
    assert np.isclose(subspace_distance(u, v), np.sin(angle), rtol=1e-12, atol=0)


@given(st.data())
def test_subspace_distance_does_not_depend_on_the_bases(data):
    u, v = (orthonormal(6, 2, data.draw(strategies.streams())) for _ in range(2))
    q = data.draw(strategies.orthogonal_matrices(2))
    assert np.isclose(subspace_distance(u, v), subspace_distance(u @ q, v), rtol=1e-9, atol=1e-14)
    assert np.isclose(subspace_distance(u, v), subspace_distance(v, u), rtol=1e-9, atol=1e-14)
    assert subspace_distance(u, u @ q) < 1e-14


def test_other_libraries():
    a, b = (np.random.default_rng(i).normal(size=(4, 2)) for i in range(2))
    strict = [Factors(array_api_strict.asarray(f)) for f in (a, b)]
    assert np.isclose(float(distance(*strict)), distance(Factors(a), Factors(b)), rtol=1e-14)
    np.testing.assert_allclose(np.asarray(singular_values(strict[0])), singular_values(Factors(a)), rtol=1e-14)
