"""The heaviest rows of a stream: which are kept, what they tell, merging."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.streaming.heavy import HeavyRows, LargestRows
from lrtheory.streaming.instances import hard, heavy_subset
from lrtheory.streaming.metrics import sin2
from lrtheory.streaming.theory import heavy_subset_sin2, heavy_threshold
from lrtheory.testing.strategies import seeds


def matrix(n, d, seed=0, *, tied=False):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    if tied:  # rows of entries -1, 0 and 1 have norms that are equal to the last bit
        return np.round(np.clip(rows, -1, 1))
    return rows * (1 + np.random.default_rng(seed + 1).pareto(1.5, (n, 1)))


def heaviest(rows, h):
    """Numbers of the h rows of largest norm, of equal ones the first."""
    return np.argsort(-np.sum(rows**2, axis=1), kind="stable")[:h]


@given(n=st.integers(1, 50), d=st.integers(2, 5), h=st.integers(1, 9), tied=st.booleans(), sparse=st.booleans(),
       cut=st.integers(0, 50), seed=seeds())  # fmt: skip
def test_the_rows_that_are_kept(n, d, h, tied, sparse, cut, seed):
    rows = matrix(n, d, seed, tied=tied)
    rows[0, 0] = 1.0
    given = csr_array(rows) if sparse else rows
    found = HeavyRows(h).partial_fit(given[: min(cut, n)]).partial_fit(given[min(cut, n) :])
    expected = heaviest(rows, h)
    assert np.array_equal(found.kept_numbers_, expected)
    assert np.array_equal(found.kept_rows_, rows[expected])
    _, values, vectors = np.linalg.svd(rows[expected], full_matrices=False)
    assert np.isclose(found.explained_energy_[0], values[0] ** 2, rtol=1e-12)
    if len(values) == 1 or values[1] < 0.99 * values[0]:
        assert sin2(found.components_[0], vectors[0]) < 1e-20
    energies, threshold = np.sum(rows**2, axis=1), np.sum(rows**2) / (d * math.log(d))
    assert np.isclose(found.heavy_threshold_, threshold, rtol=1e-12)
    if np.min(np.abs(energies / threshold - 1)) > 1e-9:
        heavy = int(np.sum(energies >= threshold))
        assert found.n_heavy_ == min(heavy, h)
        assert found.status_ == ("saturated" if heavy > h else "ok")


@given(n=st.integers(0, 40), h=st.integers(0, 6), sparse=st.booleans(), cut=st.integers(0, 40), seed=seeds())
def test_what_leaves_and_what_is_kept_make_up_the_stream(n, h, sparse, cut, seed):
    rows = matrix(n, 3, seed)
    energies, numbers = np.sum(rows**2, axis=1), np.arange(n)
    largest, left = LargestRows(h, 3), []
    for part in (slice(0, cut), slice(cut, n)):
        piece = csr_array(rows[part]) if sparse else rows[part]
        leaving = largest.exchange(piece, energies[part], numbers[part])
        left.append(leaving.toarray() if sparse else leaving)
        assert sparse == (not isinstance(leaving, np.ndarray))
    left = np.concatenate(left)
    assert len(left) == n - min(h, n)
    everything = np.concatenate([left, largest.rows])
    assert sorted(map(tuple, everything)) == sorted(map(tuple, rows))
    for t, row in enumerate(left):  # row t + h came: the smallest leaves, of it and the h largest before
        largest_before = np.sort(energies[: t + h])[t:]
        assert np.isclose(np.sum(row**2), min([*largest_before, energies[t + h]]), rtol=1e-12)


@given(n=st.integers(1, 40), m=st.integers(1, 40), h=st.integers(1, 7), tied=st.booleans(), center=st.booleans(),
       seed=seeds())  # fmt: skip
def test_merged_parts_keep_what_the_whole_stream_would(n, m, h, tied, center, seed):
    rows = matrix(n + m, 4, seed, tied=tied)
    whole = HeavyRows(h, center=center).partial_fit(rows)
    first, second = (HeavyRows(h, center=center).partial_fit(part) for part in (rows[:n], rows[n:]))
    before = copy.deepcopy(second)
    merged = first.merge(second)
    assert merged is first
    assert np.array_equal(second.kept_rows_, before.kept_rows_)
    assert second.n_seen_ == m
    assert merged.n_seen_ == n + m
    np.testing.assert_allclose(merged.frobenius2_, whole.frobenius2_, rtol=1e-11)
    if center:
        np.testing.assert_allclose(merged.mean_, rows.mean(0), atol=1e-12)
    else:
        assert np.array_equal(merged.kept_numbers_, whole.kept_numbers_)
        assert np.array_equal(merged.kept_rows_, whole.kept_rows_)
        if whole.frobenius2_:
            assert merged.status_ == whole.status_


def test_centered_parts_that_keep_all_rows_merge_to_the_centered_whole():
    rows = matrix(20, 4) + 5.0
    merged = HeavyRows(30, center=True).partial_fit(rows[:8]).merge(HeavyRows(30, center=True).partial_fit(rows[8:]))
    around = rows - rows.mean(0)
    np.testing.assert_allclose(merged.kept_rows_.T @ merged.kept_rows_, around.T @ around, rtol=1e-10, atol=1e-10)


def test_saturated_says_that_a_heavy_row_was_lost():
    """From F^2 / (d log d) on, here 0.303 F^2; also where the other part has lost it."""
    for energies, status in (([0.5, 0.5], "saturated"), ([0.69, 0.31], "saturated"), ([0.7, 0.3], "ok")):
        rows = np.sqrt(energies)[:, None] * np.eye(3)[:2]
        assert HeavyRows(1).fit(rows).status_ == HeavyRows(1).fit(rows[::-1]).status_ == status
        assert HeavyRows(2).fit(rows).status_ == "ok"
        assert HeavyRows(1).partial_fit(1e-3 * np.eye(3)).merge(HeavyRows(1).fit(rows)).status_ == status


def test_merging_with_none_seen():
    rows = matrix(9, 3)
    seen, fresh = HeavyRows(3).fit(rows), HeavyRows(3)
    assert seen.merge(HeavyRows(3)).n_seen_ == 9
    merged = fresh.merge(seen)
    assert np.array_equal(merged.kept_rows_, seen.kept_rows_)
    merged.partial_fit(100 * rows)
    assert seen.n_seen_ == 9
    assert np.array_equal(seen.kept_rows_, rows[heaviest(rows, 3)])


def test_merging_takes_over_the_scale_and_the_wider_type():
    rows = 1e6 * matrix(9, 3)
    seen = HeavyRows(3, scale="first_row").fit(rows)
    for other in (HeavyRows(3, scale="first_row"), HeavyRows(3, scale="first_row").partial_fit(np.zeros((2, 3)))):
        merged = other.merge(seen)
        assert merged.scale_ == seen.scale_ > 1
        assert np.array_equal(merged.partial_fit(100 * rows).kept_rows_, 100 * rows[heaviest(rows, 3)] / seen.scale_)
    single, double = HeavyRows(3).fit(rows.astype(np.float32)), HeavyRows(3).fit(rows)
    assert single.kept_rows_.dtype == np.float32
    assert single.merge(double).kept_rows_.dtype == np.float64


def test_what_cannot_be_merged():
    rows = matrix(9, 3)
    found = HeavyRows(3).fit(rows)
    with pytest.raises(TypeError, match="other must be a HeavyRows, got list"):
        found.merge([])
    with pytest.raises(ValueError, match="h_max must be the same in both, got 3 and 4"):
        found.merge(HeavyRows(4).fit(rows))
    with pytest.raises(ValueError, match="same number of columns, got 3 and 2"):
        found.merge(HeavyRows(3).fit(rows[:, :2]))
    first = HeavyRows(3, scale="first_row").fit(rows)
    with pytest.raises(ValueError, match="rows were divided by"):
        first.merge(HeavyRows(3, scale="first_row").fit(1e6 * rows))


@pytest.mark.parametrize(("h", "quotient", "stored"), [(20, 10.0, 10), (40, 25.0, 4), (64, 8.0, 48)])
def test_a_share_of_equally_heavy_rows_reveals_little(h, quotient, stored):
    """T6, exact in every order."""
    instance = heavy_subset(h, quotient, 80)
    for seed in range(3):
        found = HeavyRows(stored).fit(instance.rows, order="random", order_stream=seed)
        error = sin2(found.components_[0], instance.direction)
        assert np.isclose(error, heavy_subset_sin2(stored / h, quotient), rtol=1e-12)


def test_heavy_rows_of_the_hard_instance_are_those_of_the_top():
    instance = hard(500, 4, 4.0).ordered("random", 1)
    found = HeavyRows(32).fit(instance.rows)
    assert found.n_heavy_ == 4
    assert found.status_ == "ok"
    assert np.isclose(found.heavy_threshold_, heavy_threshold(1 + 499 / 4, 500), rtol=1e-12)
    assert sin2(found.kept_rows_[3], instance.direction) == 0
    assert HeavyRows(3).fit(instance.rows).status_ == "saturated"


def test_several_components_and_snapshots():
    rows = matrix(50, 6)
    found = HeavyRows(10, n_components=3).partial_fit(rows[:2])
    with pytest.raises(ValueError, match="n_components=3, but only 2 rows came so far"):
        _ = found.components_
    found.partial_fit(rows[2:])
    kept, numbers = found.kept_rows_, found.kept_numbers_
    _, values, vectors = np.linalg.svd(kept)
    np.testing.assert_allclose(np.abs(np.sum(found.components_ * vectors[:3], -1)), 1, rtol=1e-12)
    np.testing.assert_allclose(found.explained_energy_, values[:3] ** 2, rtol=1e-12)
    before = kept.copy()
    found.partial_fit(1e3 * rows)
    assert np.array_equal(kept, before)
    assert not np.array_equal(found.kept_numbers_, numbers)
    assert found.state_floats_ == 10 * 6 + 20


def test_single_precision_is_kept():
    rows = matrix(30, 4).astype(np.float32)
    found = HeavyRows(5).fit(rows)
    assert found.kept_rows_.dtype == found.components_.dtype == np.float32
    assert np.array_equal(found.kept_rows_, rows[heaviest(rows.astype(np.float64), 5)])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (HeavyRows(-1), "h_max must be an integer >= 1, got -1"),
        (HeavyRows(2, n_components=3), "h_max must be an integer >= 3, got 2"),
        (HeavyRows(log_power=math.nan), "log_power must be finite"),
    ],
)
def test_bad_parameters_are_refused(estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(matrix(20, 4))


def test_bad_rows_are_named_and_leave_the_state():
    rows = matrix(20, 4)
    found = HeavyRows(3).partial_fit(rows)
    bad = rows.copy()
    bad[7] = np.inf
    with pytest.raises(ValueError, match="row 27 of the stream"):
        found.partial_fit(bad)
    assert np.array_equal(found.kept_rows_, rows[heaviest(rows, 3)])
    assert found.n_seen_ == 20
