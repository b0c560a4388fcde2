"""Thresholds and truncations, against their definitions as minimisers and best approximations."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.factors import Factors, as_matrix
from lrtheory.proximal import hard_threshold, singular_value_threshold, soft_threshold, truncated_eigh, truncated_svd
from lrtheory.random import Stream
from lrtheory.testing import strategies


class Wrapped:
    """Another form of a matrix: all that is asked of it is shape and product."""

    def __init__(self, a):
        self.a, self.shape = a, a.shape

    def product(self):
        return self.a


def forms(x):
    """The same matrix as Factors, as an array and as something else."""
    return x, x.product(), Wrapped(x.product())


NUMBERS = st.floats(-3, 3)
TAUS = st.floats(0, 2)


@given(NUMBERS, TAUS, NUMBERS)
def test_soft_threshold_minimises(z, tau, other):
    """tau |x| + (x - z)^2 / 2 is smallest at x."""

    def objective(x):
        return tau * abs(x) + (x - z) ** 2 / 2

    x = float(soft_threshold(np.array([z]), tau)[0])
    assert objective(x) <= objective(other) + 1e-12
    assert objective(x) <= objective(x + 1e-3 * other) + 1e-12


@given(NUMBERS, TAUS, NUMBERS)
def test_hard_threshold_minimises(z, tau, other):
    """tau^2 / 2 [x != 0] + (x - z)^2 / 2 is smallest at x."""

    def objective(x):
        return tau**2 / 2 * (x != 0) + (x - z) ** 2 / 2

    x = float(hard_threshold(np.array([z]), tau)[0])
    assert x in (0.0, z)
    assert objective(x) <= objective(other) + 1e-12


@given(st.data(), TAUS)
def test_singular_value_threshold_satisfies_the_optimality_condition(data, tau):
    """z - x lies in tau times the subdifferential of the nuclear norm at x: its spectral norm is at most tau and its
    inner product with x is tau |x|_*.
    """
    x = data.draw(strategies.factors(5, 4))
    for z in forms(x):
        got = singular_value_threshold(z, tau)
        rest = x.product() - got
        assert np.linalg.norm(rest, 2) <= tau + 1e-13
        np.testing.assert_allclose(np.sum(rest * got), tau * np.linalg.norm(got, "nuc"), rtol=0, atol=1e-12)


@given(st.data())
def test_singular_value_threshold_is_firmly_nonexpansive(data):
    a, b = (data.draw(strategies.factors(4, 6, symmetric=False)).product() for _ in range(2))
    tau = data.draw(TAUS)
    p, q = singular_value_threshold(a, tau), singular_value_threshold(b, tau)
    assert np.sum((p - q) ** 2) <= np.sum((p - q) * (a - b)) + 1e-12


@given(st.data())
def test_truncated_svd_is_the_best_approximation(data):
    n1, n2 = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    x = data.draw(strategies.factors(n1, n2))
    exact = np.linalg.svd(x.product(), compute_uv=False)
    for z in forms(x):
        k = data.draw(st.integers(1, min(n1, n2, x.k)))
        u, s, v = truncated_svd(z, k)
        assert (u.shape, s.shape, v.shape) == ((n1, k), (k,), (n2, k))
        for basis in (u, v):
            np.testing.assert_allclose(basis.T @ basis, np.eye(k), rtol=0, atol=1e-13)
        np.testing.assert_allclose(s, exact[:k], rtol=0, atol=1e-13 * exact[0])
        left = np.linalg.norm(x.product() - (u * s) @ v.T)
        np.testing.assert_allclose(left, np.linalg.norm(exact[k:]), rtol=0, atol=1e-12)  # Eckart, Young


@given(st.data())
def test_truncated_eigh_is_the_projection(data):
    """Onto positive semi-definite matrices of rank k: the rest has no positive eigenvalue above those kept."""
    n = data.draw(st.integers(1, 9))
    x = data.draw(strategies.factors(n, n))
    symmetric = (x.product() + x.product().T) / 2
    exact = np.sort(np.linalg.eigvalsh(symmetric))[::-1]
    for z in forms(x):
        k = data.draw(st.integers(1, min(n, x.k)))
        w, v = truncated_eigh(z, k)
        np.testing.assert_allclose(v.T @ v, np.eye(k), rtol=0, atol=1e-13)
        np.testing.assert_allclose(w, np.maximum(exact[:k], 0), rtol=0, atol=1e-13 * np.abs(exact).max())
        rest = symmetric - (v * w) @ v.T
        best = np.concatenate([np.minimum(exact[:k], 0), exact[k:]])
        np.testing.assert_allclose(np.linalg.norm(rest), np.linalg.norm(best), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [3, 20])  # Factors of few columns take their own path
@pytest.mark.parametrize("library", [np, array_api_strict])
def test_batches_and_libraries(library, n):
    stream = Stream(np.arange(3)[:, None] + np.arange(2))
    left, right = (stream.child(side).normal((n, 3)) for side in ("left", "right"))
    x = Factors(library.asarray(left), library.asarray(right))
    taus = np.linspace(0.1, 2, 6).reshape(3, 2)
    u, s, v = truncated_svd(x, 2)
    w, vectors = truncated_eigh(x, 2)
    shrunk = singular_value_threshold(x, taus)
    for a in (u, s, v, w, vectors, shrunk):
        assert type(a) is type(x.left)
    u, s, v, w, vectors, shrunk = (np.asarray(a) for a in (u, s, v, w, vectors, shrunk))
    for i in np.ndindex(3, 2):
        alone = Factors(left[i], right[i])
        for a, b in ((u[i], truncated_svd(alone, 2)[0]), (vectors[i], truncated_eigh(alone, 2)[1])):
            np.testing.assert_allclose(a @ a.T, b @ b.T, rtol=0, atol=1e-10)
        np.testing.assert_allclose((u[i] * s[i]) @ v[i].T, plain_truncation(alone.product(), 2), rtol=0, atol=1e-10)
        np.testing.assert_allclose(shrunk[i], singular_value_threshold(alone, taus[i]), rtol=0, atol=1e-10)


def plain_truncation(z, k):
    u, s, vt = np.linalg.svd(z)
    return (u[:, :k] * s[:k]) @ vt[:k]


def test_thresholds_of_a_batch():
    z = Stream(0).normal((3, 4))
    taus = np.array([0.0, 0.5, 1.0])
    for threshold in (soft_threshold, hard_threshold):
        got = threshold(z, taus)
        for i in range(3):
            np.testing.assert_array_equal(got[i], threshold(z[i], float(taus[i])))


def test_single_precision_stays_single():
    x = Factors(*(Stream(0).normal((2, 9, 2)).astype(np.float32)))
    for z in forms(x):
        found = (*truncated_svd(z, 2), *truncated_eigh(z, 2), singular_value_threshold(z, 0.1))
        assert {a.dtype for a in found} == {np.dtype(np.float32)}
    assert soft_threshold(x.left, 0.1).dtype == hard_threshold(x.left, 0.1).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [3, 12])
def test_matrices_that_are_not_finite_are_no_affair_of_the_others(bad, n):
    left, right = Stream(1).normal((2, 3, n, 2))
    left[1, 0, 0] = bad
    x = Factors(left, right)
    with np.errstate(all="ignore"):
        for z in (x, Wrapped(x.product())):
            for s in (truncated_svd(z, 2)[1], truncated_eigh(z, 2)[0]):
                assert np.isnan(s[1]).all()
                assert np.isfinite(s[[0, 2]]).all()
            shrunk = singular_value_threshold(z, 0.1)
            assert np.isnan(shrunk[1]).all()
            assert np.isfinite(shrunk[[0, 2]]).all()
        assert np.isnan(truncated_svd(Factors(left), 1)[1][1]).all()
    assert np.isnan(soft_threshold(np.array([np.nan]), 1.0)).all()
    assert np.isnan(hard_threshold(np.array([np.nan]), 1.0)).all()


def test_dense():
    a = np.ones((2, 3))
    assert as_matrix(a) is a
    assert as_matrix(Wrapped(a)) is a
    np.testing.assert_array_equal(as_matrix(Factors(a)), a @ a.T)


@pytest.mark.parametrize("tau", [-0.1, np.nan, np.inf, np.array([0.1, -0.1])])
@pytest.mark.parametrize("threshold", [soft_threshold, hard_threshold, singular_value_threshold])
def test_bad_thresholds(threshold, tau):
    with pytest.raises(ValueError, match="tau must be finite and not negative"):
        threshold(np.ones((2, 3, 3)), tau)


@pytest.mark.parametrize("threshold", [soft_threshold, hard_threshold, singular_value_threshold])
def test_thresholds_of_another_shape(threshold):
    with pytest.raises(ValueError, match="batch shape"):
        threshold(np.ones((2, 3, 3)), np.ones(5))


@pytest.mark.parametrize("k", [0, 4, -1, 1.0, True, "2"])
@pytest.mark.parametrize("truncate", [truncated_svd, truncated_eigh])
def test_bad_ranks(truncate, k):
    with pytest.raises(ValueError, match=r"k must be an integer in 1\.\.3"):
        truncate(np.ones((3, 3)), k)
    with pytest.raises(ValueError, match=r"k must be an integer in 1\.\.1"):
        truncate(Factors(np.ones((5, 1)), np.ones((5, 1))), 2)


def test_eigenvectors_need_a_square_matrix():
    with pytest.raises(ValueError, match="square matrices, got 3 x 2"):
        truncated_eigh(np.ones((3, 2)), 1)
