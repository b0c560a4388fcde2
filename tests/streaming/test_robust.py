"""Robust variants of Oja's method against transcriptions, and on rows that they are for."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import metrics
from lrtheory.streaming.oja import Oja
from lrtheory.streaming.robust import ClippedOja, GeometricMedianOja
from lrtheory.streaming.sampled import student

D = 6


def tailed(n=400, seed=0):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, D)) * (1 + generator.pareto(1.5, n))[:, None]
    rows[:, 0] *= 3
    rows[::50] = 0
    return rows


def start():
    return np.random.default_rng(1).standard_normal(D)


def clipped(rows, quantile):
    """The rows as the docstring says, one at a time, and the last threshold."""
    found, threshold, t = rows.copy(), None, 0
    for i, row in enumerate(rows):
        length = np.linalg.norm(row)
        if length == 0:
            continue
        t += 1
        if threshold is None:
            threshold = length
            continue
        found[i] = row * min(1, threshold / length)
        threshold *= math.exp(t**-0.6 * (quantile - (length <= threshold)))
    return found, threshold


@pytest.mark.parametrize(("quantile", "k"), [(0.5, 1), (0.9, 1), (0.9, 2)])
def test_clipped_oja_is_oja_on_clipped_rows(quantile, k):
    rows, given = tailed(), np.random.default_rng(1).standard_normal((k, D))
    expected, threshold = clipped(rows, quantile)
    assert np.sum(np.any(expected != rows, axis=1)) > 20
    found = ClippedOja(1e-3, quantile=quantile, n_components=k, start=given).fit(rows)
    plain = Oja(1e-3, n_components=k, start=given).fit(expected)
    np.testing.assert_allclose(found.components_, plain.components_, atol=1e-12)
    assert found.threshold_ == pytest.approx(threshold, rel=1e-12)
    assert ClippedOja(1e-3, quantile=quantile, scale=4.0).fit(rows).threshold_ == pytest.approx(threshold, rel=1e-12)
    assert found.frobenius2_ == pytest.approx(np.sum(rows**2), rel=1e-13)


def test_the_threshold_nears_the_quantile_of_the_norms():
    rows = np.random.default_rng(3).standard_normal((50_000, D))
    found = ClippedOja(1e-4, quantile=0.8).fit(rows)
    share = np.mean(np.linalg.norm(rows, axis=1) <= found.threshold_)
    assert share == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("made", [ClippedOja(1e-3), GeometricMedianOja(1e-3, n_runs=3)])
def test_chunks_and_sparse_rows_change_nothing(made):
    rows = tailed()
    whole = made.fit(rows).components_
    parts = type(made)(**made.get_params())
    for first, last in ((0, 1), (1, 90), (90, 400)):
        parts.partial_fit(rows[first:last])
    np.testing.assert_allclose(parts.components_, whole, atol=1e-12)
    np.testing.assert_allclose(made.fit(csr_array(rows)).components_, whole, atol=1e-12)


@pytest.mark.parametrize("runs", [4, 5, 8])
@pytest.mark.parametrize("stream", range(5))
def test_the_median_of_runs_is_the_run_in_the_middle_of_the_others(runs, stream):
    rows = tailed(seed=stream)
    found = GeometricMedianOja(1e-2, n_runs=runs, stream=stream).fit(rows)
    v = np.stack([run.components_[0] for run in found._runs])
    for j in range(runs):
        alone = Oja(1e-2, start=found._runs[j].start, stream=found._runs[j].stream).fit(rows[j::runs])
        np.testing.assert_allclose(v[j], alone.components_[0], atol=1e-12)
    radius = [sorted(1 - (v @ v[j]) ** 2)[math.ceil(runs / 2) - 1] for j in range(runs)]
    assert found.chosen_ == np.argmin(radius)
    np.testing.assert_allclose(found.components_[0], v[np.argmin(radius)], atol=1e-15)
    chosen = found._runs[np.argmin(radius)]  # its energy is that of its share of the rows
    np.testing.assert_allclose(found.explained_energy_, chosen.explained_energy_ * 400 / chosen.n_seen_, rtol=1e-13)


def test_batches_are_judged_member_by_member():
    rows, rates = tailed(), np.array([1e-4, 1e-2])
    found = GeometricMedianOja(rates, n_runs=4).fit(rows)
    assert found.components_.shape == (2, 1, D)
    assert found.explained_energy_.shape == (2, 1)
    assert found.chosen_.shape == (2,)
    for b in range(2):
        alone = GeometricMedianOja(rates[b], n_runs=4).fit(rows)
        np.testing.assert_allclose(found.components_[b], alone.components_, atol=1e-12)
        np.testing.assert_allclose(found.explained_energy_[b], alone.explained_energy_, rtol=1e-12)
        assert found.status_[b] == alone.status_


def test_most_runs_outvote_bad_ones():
    """Two of seven runs see another direction alone."""
    rows = np.zeros((700, D))
    rows[:, 0] = 1
    rows[0::7] = rows[3::7] = np.eye(D)[1] * 10
    found = GeometricMedianOja(1.0, n_runs=7).fit(rows)
    assert metrics.corr2(found.components_[0], np.eye(D)[0]) > 0.999
    assert found.chosen_ not in (0, 3)


def test_clipping_helps_with_heavy_tails():
    """Student rows with 2.5 degrees of freedom: the median over streams, at one rate for both."""
    lam = np.array([4.0] + [1.0] * 19)
    ratios = []
    for seed in range(15):
        made = student(4000, lam, 2.5, seed)
        errors = [
            metrics.sin2(method(4e-3, stream=seed).fit(made.rows).components_[0], made.direction)
            for method in (ClippedOja, Oja)
        ]
        ratios.append(errors[0] / errors[1])
    assert np.median(ratios) < 0.8


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (ClippedOja(1e-3, quantile=1.0), "quantile"),
        (ClippedOja(1e-3, quantile=math.nan), "quantile"),
        (ClippedOja(-1.0), "step_size"),
        (GeometricMedianOja(1e-3, n_runs=1), "n_runs"),
        (GeometricMedianOja(math.inf), "step_size"),
    ],
)
def test_bad_parameters_are_named(made, named):
    with pytest.raises(ValueError, match=named):
        made.fit(tailed())


@pytest.mark.parametrize(("made", "length"), [(ClippedOja(1e-3), 40), (GeometricMedianOja(1e-3, n_runs=3), 13)])
def test_rows_beyond_the_end_of_a_schedule_leave_no_trace(made, length):
    rows = tailed(60)
    found = type(made)(**made.get_params() | {"schedule": np.ones(length)}).partial_fit(rows[:30])
    with pytest.raises(ValueError, match=f"schedule has {length} numbers"):
        found.partial_fit(rows[30:])
    expected = type(made)(**made.get_params()).partial_fit(rows[:30]).partial_fit(rows[30:38])
    np.testing.assert_array_equal(found.partial_fit(rows[30:38]).components_, expected.components_)
    assert found.n_seen_ == 38


@pytest.mark.parametrize("made", [ClippedOja(1e-3), GeometricMedianOja(1e-3, n_runs=3)])
def test_rows_that_are_not_finite_are_named(made):
    rows = tailed()
    rows[123, 2] = np.inf
    with pytest.raises(ValueError, match="row 123 of the stream"):
        made.fit(rows)
