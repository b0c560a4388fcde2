"""Gaussian sketches and row samples: their laws, independence between partitions, merging and what they refuse."""

import pickle
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix
from scipy.stats import chi2, kstest

from lrtheory.random import Stream
from lrtheory.streaming import CountSketch, FrequentDirections, GaussianSketch, RowSampler
from lrtheory.streaming.instances import generic
from lrtheory.streaming.metrics import sin2

ROWS = Stream(11, "rows").normal((150, 6))
KINDS = (CountSketch, GaussianSketch, RowSampler)
RARE = 1e-6
"""Chance of failure of a statistical test, were its streams drawn again; they are fixed."""


def gaussian_matrix(n, size, partition=0, stream=0):
    """The matrix that a sketch multiplies by, found through the identity."""
    return GaussianSketch(size, partition=partition, stream=stream).fit(np.eye(n)).sketch_


@given(st.lists(st.integers(1, 80), min_size=1, max_size=5), st.sampled_from([1, 5, 32]), st.booleans())
def test_gaussian_is_one_matrix_for_all_chunks_and_rows(sizes, size, sparse):
    rows = np.where(np.abs(ROWS) > 1, ROWS, 0.0)
    source = csr_array(rows) if sparse else rows
    fitted = GaussianSketch(size)
    for first, last in pairwise(np.minimum(np.cumsum([0, *sizes, 150]), 150)):
        fitted.partial_fit(source[first:last])
    np.testing.assert_allclose(fitted.sketch_, gaussian_matrix(150, size) @ rows, rtol=1e-12, atol=1e-12)


def test_gaussian_entries_are_normal_and_independent_between_partitions():
    a, b = gaussian_matrix(400, 50), gaussian_matrix(400, 50, partition=1)
    entries = np.sqrt(50) * np.concatenate([a.ravel(), b.ravel()])
    assert kstest(entries, "norm").pvalue > RARE
    for other in (b, np.roll(a, 1, axis=0), np.roll(a, 64, axis=1)):  # 64: the next block of rows
        assert abs(50 * np.mean(a * other)) < 5 / np.sqrt(a.size)


def test_gaussian_energy_has_the_chi_square_law():
    v = np.ones(6) / np.sqrt(6)
    energies = np.array([GaussianSketch(8, stream=s).fit(ROWS).energy(v) for s in range(300)])
    assert kstest(8 * energies / np.sum((ROWS @ v) ** 2), chi2(8).cdf).pvalue > RARE


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_unbiased_in_one_pass_and_in_merged_parts(kind):
    """Property P18 for all three, also when the rows are split unevenly over three partitions."""
    v = np.eye(6)[2]
    weights = np.where(np.arange(150) < 20, 3.0, 1.0)[:, None]
    rows, truth = weights * ROWS, np.sum((weights * ROWS @ v[:, None]) ** 2)
    whole, merged = [], []
    for s in range(400):
        whole.append(kind(16, stream=s).fit(rows).energy(v))
        parts = [
            kind(16, partition=p, stream=s).fit(rows[a:b]) for p, (a, b) in enumerate(((0, 15), (15, 100), (100, 150)))
        ]
        merged.append(parts[0].merge(parts[1].merge(parts[2])).energy(v))
    for energies in (whole, merged):
        assert abs(np.mean(energies) - truth) < 5 * np.std(energies) / np.sqrt(400)
        assert np.std(energies) < 0.6 * truth  # sqrt(2 / 16) of it for sketches


def chosen(sampler, rows):
    """The number of the row that each reservoir holds."""
    return np.argmax(np.all(sampler.rows_[:, None] == rows, axis=-1), axis=-1)


def check_shares(held, weights):
    """Chi-square of how often each row is held against its share of F^2."""
    expected = held.size * weights / weights.sum()
    counts = np.bincount(held, minlength=weights.size)
    assert np.all(counts[weights == 0] == 0)
    some = weights > 0
    assert np.sum((counts[some] - expected[some]) ** 2 / expected[some]) < chi2.isf(RARE, some.sum() - 1)


SKEWED = np.array([0.0, 1.0, 5.0, 0.0, 2.0, 0.5, 8.0, 1.0, 0.0])[:, None] * np.exp(np.arange(9) / 7)[:, None] * [1, 0.5]


@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_reservoirs_hold_rows_by_their_squared_norm(cut):
    sampler = RowSampler(20000).partial_fit(SKEWED[:cut]).partial_fit(SKEWED[cut:])
    held = chosen(sampler, SKEWED)
    check_shares(held, np.sum(SKEWED**2, axis=1))
    assert sampler.frobenius2_ == pytest.approx(np.sum(SKEWED**2), rel=1e-14)


@pytest.mark.parametrize("kind", ["chain", "reversed", "more rows after"])
def test_merged_reservoirs_hold_rows_by_their_squared_norm(kind):
    weights = np.sum(SKEWED**2, axis=1)
    parts = [
        RowSampler(20000, partition=p).partial_fit(SKEWED[a:b]) for p, (a, b) in enumerate(((0, 3), (3, 6), (6, 9)))
    ]
    if kind == "chain":
        merged = parts[0].merge(parts[1]).merge(parts[2])
    elif kind == "reversed":
        merged = parts[2].merge(parts[1].merge(parts[0]))
    else:
        merged = parts[0].merge(parts[1]).partial_fit(SKEWED[6:8]).partial_fit(SKEWED[8:])
    check_shares(chosen(merged, SKEWED), weights)


def test_reservoirs_are_independent():
    """Pairs of neighbours hold pairs of rows by the product of the shares, before and after merging."""
    rows = SKEWED[[1, 2, 4, 6]]
    weights = np.sum(rows**2, axis=1)
    merged = RowSampler(40000).fit(rows[:2]).merge(RowSampler(40000, partition=1).fit(rows[2:]))
    for sampler in (RowSampler(40000).fit(rows), merged):
        held = chosen(sampler, rows)
        check_shares(4 * held[::2] + held[1::2], np.outer(weights, weights).ravel())


def test_partitions_sample_independently():
    """Were the numbers of equal parts equal, reservoirs of both would hold rows of one number."""
    a, b = (chosen(RowSampler(2000, partition=p).fit(ROWS[:20]), ROWS[:20]) for p in range(2))
    shares = np.sum(ROWS[:20] ** 2, axis=1) / np.sum(ROWS[:20] ** 2)
    p = np.sum(shares**2)
    assert abs(np.mean(a == b) - p) < 5 * np.sqrt(p / 2000)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.booleans())
def test_chunks_change_no_bit_of_a_sample(sizes, sparse):
    rows = np.where(np.abs(ROWS) > 0.7, ROWS, 0.0)
    source = csr_array(rows) if sparse else rows
    parts = RowSampler(40)
    for first, last in pairwise(np.minimum(np.cumsum([0, *sizes, 150]), 150)):
        parts.partial_fit(source[first:last])
    whole = RowSampler(40).fit(source)
    np.testing.assert_array_equal(parts.sketch_, whole.sketch_)
    np.testing.assert_allclose(whole.sketch_, RowSampler(40).fit(rows).sketch_, rtol=1e-12)
    assert np.sum(whole.sketch_**2) == pytest.approx(np.sum(rows**2), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_components_are_those_of_the_sketch(kind):
    rows = csr_matrix(ROWS.astype(np.float32))
    fitted = kind(30, n_components=2).fit(rows)
    s, vectors = np.linalg.svd(fitted.sketch_)[1:]
    assert fitted.components_.dtype == np.float32
    np.testing.assert_allclose(fitted.explained_energy_, s[:2] ** 2, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(fitted.components_ * vectors[:2], axis=-1)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_centered_parts_merge_to_the_centered_matrix(kind):
    rows = ROWS[:40] + np.arange(6)
    centered = rows - rows.mean(0)
    energies = []
    for s in range(300):
        a = (
            kind(16, center=True, stream=s)
            .fit(rows[:11])
            .merge(kind(16, center=True, stream=s, partition=1).fit(rows[11:]))
        )
        assert a.frobenius2_ == pytest.approx(np.sum(centered**2), rel=1e-12)
        energies.append(a.energy(np.eye(6)[5]))
    assert abs(np.mean(energies) - np.sum(centered[:, 5] ** 2)) < 5 * np.std(energies) / np.sqrt(300)


@pytest.mark.parametrize("kind", [*KINDS, FrequentDirections])
def test_conventions(kind):
    from sklearn.base import clone

    fitted = kind(7, n_components=2).fit(ROWS)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.partial_fit(ROWS[:5]).components_, fitted.partial_fit(ROWS[:5]).components_)
    assert clone(fitted).get_params() == fitted.get_params()
    assert fitted.components_.shape == (2, 6)
    np.testing.assert_allclose(np.sum(fitted.components_**2, axis=-1), 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="no direction: all 3 rows are zero"):
        kind(7).fit(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="has seen no rows yet"):
        kind(7).sketch_  # noqa: B018
    before = fitted.sketch_
    with pytest.raises(ValueError, match="row 157 of the stream is not finite"):
        fitted.partial_fit(np.where(np.arange(5)[:, None] == 2, np.inf, ROWS[:5]))
    np.testing.assert_array_equal(fitted.sketch_, before)
    with pytest.raises(ValueError, match="n_components must be an integer"):
        kind(2, n_components=3).fit(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_merging_refuses_the_same_partition(kind):
    fitted = kind(7).fit(ROWS)
    with pytest.raises(ValueError, match="partition must differ"):
        fitted.merge(kind(7).fit(ROWS))


@pytest.mark.parametrize("kind", KINDS)
def test_merging_with_one_that_has_seen_nothing_or_zeros(kind):
    fitted = kind(7, partition=1).fit(ROWS)
    before = fitted.energy(np.eye(6))
    fitted.merge(kind(7)).merge(kind(7, partition=2).partial_fit(np.zeros((3, 6))))
    assert fitted.n_seen_ == 153
    np.testing.assert_array_equal(fitted.energy(np.eye(6)), before)
    np.testing.assert_array_equal(kind(7).merge(fitted).energy(np.eye(6)), before)
    zeros = kind(7).partial_fit(np.zeros((3, 6))).merge(kind(7, partition=2).partial_fit(np.zeros((3, 6))))
    np.testing.assert_array_equal(zeros.partial_fit(np.zeros((1, 6))).energy(np.eye(6)), np.zeros(6))


@pytest.mark.slow
def test_sketches_on_the_generic_instance():
    """n = 20000, d = 200 in random order: Frequent Directions turns on near ell = (d - 1) / (R - 1), and is then ahead
    of sketches and samples of more memory, whose errors fall with R."""
    errors = {}
    for gap in (4, 8, 16, 32):
        instance = generic(20000, 200, gap, 1).ordered("random", 2)
        for name, make in {
            "directions": lambda s: FrequentDirections(20),
            "count": lambda s: CountSketch(40, stream=s),
            "gaussian": lambda s: GaussianSketch(40, stream=s),
            "sample": lambda s: RowSampler(400, stream=s),
        }.items():
            runs = [sin2(make(s).fit(instance.rows).components_[0], instance.direction) for s in range(3)]
            errors[name, gap] = float(np.mean(runs))
    assert errors["directions", 4] > 0.3
    assert errors["directions", 16] < 1e-3
    assert errors["directions", 32] < 1e-4
    for gap in (16, 32):
        assert errors["directions", gap] < 0.1 * errors["sample", gap] < 0.1 * errors["count", gap]
        assert 0.5 < errors["gaussian", gap] / errors["count", gap] < 2  # the same law of large numbers of rows
    for name in ("directions", "count", "gaussian", "sample"):
        assert all(errors[name, a] > errors[name, b] for a, b in combinations((4, 8, 16, 32), 2))
