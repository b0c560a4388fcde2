"""The kernel for eigenvectors of small symmetric matrices, against NumPy and within Frequent Directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtheory.streaming import FrequentDirections, directions
from lrtheory.streaming._cpu_eigen import symmetric_eigen


def check(a):
    """Eigenvalues to rounding of the largest, orthonormal vectors, and a small residual."""
    n, size = a.shape[0], max(np.abs(a).max(), 1e-300)
    values, vectors = np.full(n, np.nan), np.full((n, n), np.nan)
    assert symmetric_eigen(a.copy(), values, vectors)
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(a), rtol=0, atol=4e-15 * n * size)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(n), atol=1e-14 * n)
    np.testing.assert_allclose((vectors.T * values) @ vectors, a, atol=4e-15 * n * size)


@settings(deadline=None, max_examples=150)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), spread=st.floats(0, 14), equal=st.booleans())
def test_random_matrices_of_any_spectrum(n, seed, spread, equal):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(n) * 10.0 ** -generator.uniform(0, spread, n)
    if equal:
        values = np.round(values)
    q = np.linalg.qr(generator.standard_normal((n, n)))[0]
    a = (q * values) @ q.T
    check((a + a.T) / 2)


@pytest.mark.parametrize("n", [2, 7, 40, 64])
def test_rows_along_one_direction(n):
    """Products of equal modulus: what should be zeros falls from 1e-14 to 1e-60."""
    for seed in range(20):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], n)
        check(np.outer(signs, signs) * 0.512)


@settings(deadline=None, max_examples=100)
@given(n=st.integers(2, 64), rank=st.integers(1, 5), seed=st.integers(0, 2**32), equal=st.booleans())
def test_products_of_dependent_rows(n, rank, seed, equal):
    """Rounding leaves a block far below the rest, with entries of all sizes."""
    generator = np.random.default_rng(seed)
    weights = np.repeat(np.eye(rank), -(-n // rank), axis=0)[:n] if equal else generator.standard_normal((n, rank))
    rows = weights @ generator.standard_normal((rank, 30))
    gram = rows @ rows.T
    check(gram / gram.max())


@pytest.mark.parametrize(
    "a",
    [
        np.zeros((5, 5)),
        np.eye(6),
        np.ones((7, 7)),
        np.diag(np.geomspace(1, 1e-300, 9)),
        np.diag(np.ones(6), 1) + np.diag(np.ones(6), -1),
        np.diag([1.0, 2.0, 3.0]) + np.diag([1e-17, 1e-17], 1) + np.diag([1e-17, 1e-17], -1),
        np.outer(np.eye(8)[3], np.eye(8)[3]),
        np.add.outer(np.arange(12.0), np.arange(12.0)) / 22,
        1 / (1 + np.add.outer(np.arange(12.0), np.arange(12.0))),
    ],
    ids=["zero", "one", "ones", "graded", "tridiagonal", "nearly diagonal", "one entry", "rank two", "Hilbert"],
)
def test_matrices_with_structure(a):
    check(a)


def test_nan_is_told():
    a = np.eye(4)
    a[1, 2] = a[2, 1] = np.nan
    assert not symmetric_eigen(a, np.empty(4), np.empty((4, 4)))


@pytest.mark.parametrize("scale", [1e-290, 1e-140, 1.0, 1e290])
def test_squares_of_entries_may_leave_the_range_of_floats(scale):
    rows = np.random.default_rng(0).standard_normal((12, 30))
    gram = rows @ rows.T
    values, vectors = directions._eigen(gram * scale)
    expected = np.linalg.eigh(gram)
    np.testing.assert_allclose(values / scale, expected[0], rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(vectors.T * expected[1], axis=0)), 1, rtol=1e-12)


@pytest.mark.parametrize("size", [5, directions.SMALL])  # the kernel's, LAPACK's
def test_both_ways_shrink_alike(size, monkeypatch):
    rows = np.random.default_rng(1).standard_normal((6 * size, 40)) * np.geomspace(3, 0.1, 40)
    found = FrequentDirections(size).fit(rows)
    monkeypatch.setattr(directions, "SMALL", 0 if size == 5 else 2 * size)
    other = FrequentDirections(size).fit(rows)
    moment = found.sketch_.T @ found.sketch_
    np.testing.assert_allclose(other.sketch_.T @ other.sketch_, moment, atol=1e-11 * np.abs(moment).max())
    assert other.error_ == pytest.approx(found.error_, rel=1e-11)
    monkeypatch.setattr(directions, "SMALL", 0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        FrequentDirections(5, check_finite=False).fit(np.full((30, 8), np.nan))
