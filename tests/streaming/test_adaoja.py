"""AdaOja against its formula, and its law on independent rows."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import AdaOja, instances, metrics, theory
from lrtheory.streaming.sampled import spiked

D = 7


def rows_of(n=120, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D)) * np.array([3.0, 2.0, 1, 1, 1, 1, 1])


def plain(rows, start, size):
    """W and b after the batches, the last one as short as it is; growth of the full ones, and energies of each."""
    growth, energies = np.zeros(len(start)), []
    w, b = np.linalg.qr(start.T)[0].T, np.full(len(start), 1e-5)
    w *= np.sign(np.sum(w * start, axis=1))[:, None] if len(start) == 1 else 1
    for first in range(0, len(rows), size):
        y = rows[first : first + size]
        energies.append(np.sum((y @ w.T) ** 2, axis=0))
        g = (y.T @ (y @ w.T)).T / len(y)
        b = np.sqrt(b**2 + np.sum(g**2, axis=1))
        q, r = np.linalg.qr((w + g / b[:, None]).T)
        w = q.T
        growth += np.log(np.abs(np.diag(r))) * (len(y) == size)
    return w, b, growth, energies


@pytest.mark.parametrize(("k", "size"), [(1, 1), (1, 20), (1, 50), (2, 1), (3, 50)])
def test_it_is_its_formula(k, size):
    start = np.random.default_rng(1).standard_normal((k, D))
    w, b, growth, energies = plain(rows_of(), start, size)
    found = AdaOja(batch_size=size, n_components=k, start=start).fit(rows_of())
    np.testing.assert_allclose(metrics.corr2(found.components_, w), 1, atol=1e-12)
    np.testing.assert_allclose(found.b_, b if k > 1 or size > 1 else b[0], rtol=1e-12)
    np.testing.assert_allclose(found.log_growth_, growth if k > 1 or size > 1 else growth[0], rtol=1e-10)
    if k > 1 or size > 1:
        np.testing.assert_allclose(found.explained_energy_, np.sum(energies, axis=0), rtol=1e-11)
    else:  # of the newest half or more
        np.testing.assert_allclose(found.explained_energy_, np.sum(energies[31:], axis=0) * 120 / 89, rtol=1e-11)


@pytest.mark.parametrize("options", [dict(), dict(batch_size=16), dict(n_components=2, batch_size=5)])
def test_chunks_sparse_rows_and_batches_of_starts_change_nothing(options):
    rows, whole = rows_of(), AdaOja(**options).fit(rows_of())
    parts = AdaOja(**options)
    for first, last in ((0, 1), (1, 50), (50, 50), (50, 120)):
        parts.partial_fit(rows[first:last])
    many = AdaOja(**options, stream=np.array([0, 5])).fit(rows)
    for other in (parts.components_, AdaOja(**options).fit(csr_array(rows)).components_, many.components_[0]):
        np.testing.assert_allclose(metrics.corr2(other, whole.components_), 1, atol=1e-12)
    assert many.components_.shape == (2, options.get("n_components", 1), D)
    assert many.explained_energy_.shape == many.components_.shape[:2]
    np.testing.assert_allclose(many.explained_energy_[0], whole.explained_energy_, rtol=1e-10)


@pytest.mark.parametrize("options", [dict(), dict(batch_size=16)])
def test_a_chunk_that_is_refused_leaves_no_trace(options):
    rows, bad = rows_of(), rows_of(30, seed=2)
    bad[11, 3] = math.nan
    found = AdaOja(**options).partial_fit(rows[:70])
    with pytest.raises(ValueError, match="row 81 of the stream"):
        found.partial_fit(bad)
    found.partial_fit(rows[70:])
    np.testing.assert_allclose(metrics.corr2(found.components_, AdaOja(**options).fit(rows).components_), 1, atol=1e-13)


def test_it_falls_like_its_law():
    lam = np.array([4.0] + [1.0] * 49)
    errors = [
        metrics.sin2(AdaOja(stream=s).fit(made.rows).components_[0], made.direction)
        for s in range(20)
        for made in [spiked(16_000, lam, s)]
    ]
    assert np.mean(errors) == pytest.approx(theory.adaoja_sin2(16_000, lam), rel=0.15)


@pytest.mark.parametrize("order", ["random", "v1_first", "v1_middle", "v1_last"])
def test_it_suits_every_order_where_the_gap_is_wide(order):
    made = instances.carried(4000, 50, 8.0).ordered(order)
    assert metrics.corr2(AdaOja().fit(made.rows).components_[0], made.direction) > 0.99


@pytest.mark.parametrize(("options", "named"), [(dict(batch_size=0), "batch_size"), (dict(first_b=0.0), "first_b")])
def test_bad_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        AdaOja(**options).fit(rows_of())
