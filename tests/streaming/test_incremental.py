"""Incremental SVD and CCIPCA against transcriptions, another library and their law."""

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import CCIPCA, IncrementalSVD, metrics, theory
from lrtheory.streaming.sampled import spiked

D = 8


def rows_of(n=230, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D)) * np.array([4.0, 3.0, 2.0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(("batch", "rank"), [(20, 3), (3, 3), (50, 5)])
def test_incremental_svd_is_its_formula(batch, rank):
    rows, kept = rows_of(), np.zeros((0, D))
    for first in range(0, 230, batch):
        whole = np.concatenate([kept, rows[first : first + batch]])
        _, s, v = np.linalg.svd(whole, full_matrices=False)
        kept = (s[:, None] * v)[:rank]
    found = IncrementalSVD(2, rank=rank, batch_size=batch).fit(rows)
    v = v[:2] * np.sign(np.take_along_axis(v, np.abs(v).argmax(1)[:, None], 1))[:2]
    np.testing.assert_allclose(found.components_, v, atol=1e-10)
    np.testing.assert_allclose(found.explained_energy_, s[:2] ** 2, rtol=1e-10)


def test_incremental_svd_is_that_of_scikit_learn():
    """On rows whose batches have no mean: that library centers, batch by batch."""
    sklearn = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    half = rows_of().reshape(-1, 23, D)
    rows = np.concatenate([half, -half], axis=1).reshape(-1, D)  # batches of 46 rows
    theirs = sklearn.IncrementalPCA(3, batch_size=46).fit(rows)
    ours = IncrementalSVD(3, batch_size=46).fit(rows)
    np.testing.assert_allclose(metrics.corr2(ours.components_, theirs.components_), 1, atol=1e-10)
    np.testing.assert_allclose(ours.explained_energy_, theirs.singular_values_**2, rtol=1e-10)


def test_rows_of_low_rank_are_exact():
    generator = np.random.default_rng(1)
    rows = generator.standard_normal((300, 2)) @ generator.standard_normal((2, 20))
    _, s, v = np.linalg.svd(rows, full_matrices=False)
    found = IncrementalSVD(2, batch_size=7).fit(rows)
    np.testing.assert_allclose(found.explained_energy_, s[:2] ** 2, rtol=1e-10)
    np.testing.assert_allclose(metrics.corr2(found.components_, v[:2]), 1, atol=1e-10)


def test_what_is_weak_in_each_batch_is_lost():
    """There is no worst-case bound: v_1 has less energy than another row in every batch, and most of all."""
    rows = np.zeros((1000, 1001))
    rows[:, 0] = 1.0
    rows[::10] = 0.0
    rows[np.arange(0, 1000, 10), 1 + np.arange(100)] = 3.2  # 10.2 a batch, 9 along v_1
    found = IncrementalSVD(1, batch_size=10).fit(rows)
    assert metrics.corr2(found.components_[0], np.eye(1001)[0]) < 0.01


def ccipca(rows, k, amnesic):
    v, ages = [None] * k, [0] * k
    for row in rows:
        a = row.copy()
        for c in range(k):
            if v[c] is None:
                if np.linalg.norm(a) > 1e-12 * np.linalg.norm(row):
                    v[c], ages[c] = np.linalg.norm(a) * a, 1
                break
            ages[c] += 1
            weight = min((1 + amnesic) / ages[c], 1)
            v[c] = (1 - weight) * v[c] + weight * a * (a @ v[c] / np.linalg.norm(v[c]))
            unit = v[c] / np.linalg.norm(v[c])
            a = a - (a @ unit) * unit
    return np.array(v)


@pytest.mark.parametrize(("k", "amnesic"), [(1, 2.0), (1, 0.0), (3, 2.0)])
def test_ccipca_is_its_formula(k, amnesic):
    rows = rows_of()
    expected = ccipca(rows, k, amnesic)
    found = CCIPCA(k, amnesic=amnesic).fit(rows)
    lengths = np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(metrics.corr2(found.components_, expected), 1, atol=1e-12)
    np.testing.assert_allclose(found.explained_energy_, lengths * 230, rtol=1e-11)


def test_ccipca_of_rows_whose_energies_are_a_float_s_range_apart():
    """Six rows of norm 1e-90, six of 1; in high precision."""
    rows = rows_of(12) * np.repeat([1e-90, 1.0], 6)[:, None]
    with mpmath.workdps(60):
        for t, a in enumerate([[mpmath.mpf(float(x)) for x in row] for row in rows], start=1):
            if t == 1:
                v = [mpmath.norm(a) * x for x in a]
                continue
            weight = mpmath.mpf(min(3 / t, 1))
            along = mpmath.fdot(a, v) / mpmath.norm(v)
            v = [(1 - weight) * x + weight * along * y for x, y in zip(v, a, strict=True)]
        expected, length = np.array([float(x / mpmath.norm(v)) for x in v]), float(mpmath.norm(v))
    found = CCIPCA().fit(rows)
    np.testing.assert_allclose(metrics.corr2(found.components_[0], expected), 1, atol=1e-13)
    np.testing.assert_allclose(found.explained_energy_, [12 * length], rtol=1e-12)


def test_ccipca_keeps_its_vector_where_a_row_of_full_weight_is_orthogonal():
    found = CCIPCA().fit(np.array([[2.0, 0, 0], [0, 3.0, 0]]))
    np.testing.assert_array_equal(found.components_, [[1, 0, 0]])


def test_ccipca_follows_its_law():
    lam = np.array([4.0] + [1.0] * 29)
    errors = []
    for seed in range(20):
        made = spiked(8000, lam, seed)
        errors.append(metrics.sin2(CCIPCA().fit(made.rows).components_[0], made.direction))
    assert np.mean(errors) == pytest.approx(theory.ccipca_sin2(8000, lam), rel=0.2)


@pytest.mark.parametrize("made", [IncrementalSVD(2, batch_size=7), CCIPCA(2)])
def test_chunks_and_sparse_rows_change_nothing(made):
    rows = rows_of()
    whole = made.fit(rows)
    kept = rows.copy()
    parts, sparse = (type(made)(**made.get_params()) for _ in range(2))
    for first, last in ((0, 1), (1, 90), (90, 90), (90, 230)):
        parts.partial_fit(rows[first:last])
    sparse.fit(csr_array(rows))
    np.testing.assert_array_equal(rows, kept)
    for other in (parts, sparse):
        np.testing.assert_allclose(other.components_, whole.components_, atol=1e-13)
        assert other.frobenius2_ == pytest.approx(np.sum(rows**2), rel=1e-13)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (IncrementalSVD(2, rank=1), "rank"),
        (IncrementalSVD(batch_size=0), "batch_size"),
        (IncrementalSVD(D + 1), "n_components"),
        (CCIPCA(amnesic=-1.0), "amnesic"),
        (CCIPCA(0), "n_components"),
    ],
)
def test_bad_parameters_are_named(made, named):
    with pytest.raises(ValueError, match=named):
        made.fit(rows_of())


@pytest.mark.parametrize("made", [IncrementalSVD(2), CCIPCA(2)])
def test_too_few_rows_are_told(made):
    with pytest.raises(ValueError, match="n_components=2, but"):
        made.fit(rows_of()[:1]).components_  # noqa: B018 - the property raises


@pytest.mark.parametrize("made", [IncrementalSVD(2), CCIPCA(2)])
def test_rows_that_are_not_finite_are_named(made):
    rows = rows_of()
    rows[123, 2] = np.nan
    with pytest.raises(ValueError, match="row 123 of the stream"):
        made.fit(rows)
