"""Matrix Krasulina against its formula, and where it is exponentially fast."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import Krasulina, metrics
from lrtheory.streaming.krasulina import MatrixKrasulina

D = 9


def rows_of(n=150, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D)) * np.array([3.0, 2.0, 1, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_its_formula(k):
    rows, w = rows_of(), np.linalg.qr(np.random.default_rng(1).standard_normal((D, k)))[0].T
    energies = np.zeros(k)
    found = MatrixKrasulina(0.05, n_components=k, schedule="inv_sqrt", start=w).fit(rows)
    for t, a in enumerate(rows, 1):
        s = w @ a
        energies += s**2
        q, r = np.linalg.qr((w + 0.05 / np.sqrt(t) * np.outer(s, a - w.T @ s)).T)
        w = (q * np.sign(np.diag(r))).T
    np.testing.assert_allclose(metrics.corr2(found.components_, w), 1, atol=1e-12)
    np.testing.assert_allclose(found.explained_energy_, energies, rtol=1e-11)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(k), atol=1e-14)


def test_one_component_is_that_of_krasulina():
    """Whose vector is not normalised, and need not be: the step does not depend on its length."""
    start = np.random.default_rng(1).standard_normal(D)
    ours = MatrixKrasulina(0.01, n_components=1, start=start).fit(rows_of()).components_
    theirs = Krasulina(0.01, start=start).fit(rows_of()).components_
    np.testing.assert_allclose(metrics.corr2(ours, theirs), 1, atol=1e-12)


def in_high_precision(rows, rate, w):
    """W by the formula and Gram-Schmidt, with more digits than the steps have."""
    with mpmath.workdps(1000):
        w = [[mpmath.mpf(float(x)) for x in row] for row in w]
        for a in [[mpmath.mpf(float(x)) for x in row] for row in rows]:
            s = [mpmath.fdot(u, a) for u in w]
            rest = [x - mpmath.fsum(s[c] * w[c][j] for c in range(len(w))) for j, x in enumerate(a)]
            moved = [[x + rate * s[c] * r for x, r in zip(w[c], rest, strict=True)] for c in range(len(w))]
            w = []
            for u in moved:
                for q in w:
                    along = mpmath.fdot(u, q)
                    u = [x - along * y for x, y in zip(u, q, strict=True)]
                w.append([x / mpmath.sqrt(mpmath.fdot(u, u)) for x in u])
        return np.array([[float(x) for x in u] for u in w])


@pytest.mark.parametrize("rate", [1e3, 1e5, 1e20, 1e200, 1e305])
def test_steps_of_any_length_keep_orthonormal_components(rate):
    rows, w = rows_of(12), np.linalg.qr(np.random.default_rng(1).standard_normal((D, 3)))[0].T
    found = MatrixKrasulina(rate, n_components=3, start=w).fit(rows).components_
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-11)
    np.testing.assert_allclose(metrics.corr2(found, in_high_precision(rows, rate, w)), 1, atol=1e-10)


def test_a_component_that_a_long_step_hardly_touches():
    """It stays; the next one is not measured by it."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]  # the first product is of rounding errors
    found = MatrixKrasulina(2e4, start=q[:2]).fit(q[1:2] + q[2:3]).components_
    np.testing.assert_allclose(metrics.corr2(found, [q[0], q[1] + 2e4 * q[2]]), 1, atol=1e-13)


def test_rows_of_rank_k_are_learned_exponentially_fast_at_a_fixed_rate():
    generator = np.random.default_rng(2)
    basis = np.linalg.qr(generator.standard_normal((D, 2)))[0].T
    rows = generator.standard_normal((4000, 2)) @ basis
    found, errors = MatrixKrasulina(0.02, stream=3), []
    for first in range(0, 800, 100):
        found.partial_fit(rows[first : first + 100])
        errors.append(float(metrics.subspace_sin2(found.components_, basis)))
    assert all(after < 0.3 * before for before, after in pairwise(errors))
    assert errors[-1] < 1e-9


def test_chunks_and_sparse_rows_change_nothing():
    rows, whole = rows_of(), MatrixKrasulina(0.01, schedule="inv_sqrt").fit(rows_of())
    kept, parts = rows.copy(), MatrixKrasulina(0.01, schedule="inv_sqrt")
    for first, last in ((0, 1), (1, 90), (90, 150)):
        parts.partial_fit(rows[first:last])
    np.testing.assert_array_equal(rows, kept)
    for other in (parts, MatrixKrasulina(0.01, schedule="inv_sqrt").fit(csr_array(rows))):
        np.testing.assert_array_equal(other.components_, whole.components_)


@pytest.mark.parametrize(
    ("options", "named"),
    [(dict(step_size=-1.0), "step_size"), (dict(step_size=np.ones(2)), "batch"), (dict(step_size=1.0, t0=-1), "t0")],
)
def test_bad_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        MatrixKrasulina(**options).fit(rows_of())
