"""Frequent Directions against the plain algorithm, its guarantees (P15) on rows of every kind, and merging in trees."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.random import Stream
from lrtheory.streaming import FrequentDirections
from lrtheory.streaming.certificates import certify, sketch_error
from lrtheory.streaming.metrics import sin2

ROUNDING = 1e-13
"""Of squared quantities, in units of F^2: 30 shrinkings of some 1e-15 each."""


@st.composite
def streams_of_rows(draw, most=60):
    """Rows with spectra from flat to steep, some with heavy tails, in stored, rising or falling order of norms."""
    n, d = draw(st.integers(1, most)), draw(st.integers(2, 9))
    stream = Stream(draw(st.integers(0, 10**6)), "matrix")
    rows = stream.child("rows").normal((n, d)) * draw(st.sampled_from([1.0, 0.5, 0.1])) ** np.arange(d)
    if draw(st.booleans()):
        rows *= 1 + stream.child("tails").generator().pareto(0.7, n)[:, None]
    order = np.argsort(np.sum(rows**2, axis=1))
    return rows[draw(st.sampled_from([np.arange(n), order, order[::-1]]))]


def plain(rows, size):
    """Row by row, with a singular value decomposition of the whole buffer whenever one more does not fit."""
    sketch, lost = np.zeros((0, rows.shape[1])), 0.0
    for row in rows:
        if len(sketch) == 2 * size:
            s, v = np.linalg.svd(sketch)[1:]
            s = np.concatenate([s, np.zeros(2 * size)])
            lost += s[size - 1] ** 2
            shrunk = np.sqrt(np.maximum(s[: size - 1] ** 2 - s[size - 1] ** 2, 0.0))[: v.shape[0]]
            sketch = np.zeros((size - 1, rows.shape[1]))
            sketch[: shrunk.size] = shrunk[:, None] * v[: shrunk.size]
        sketch = np.vstack([sketch, row])
    return sketch, lost


def check_bounds(rows, size, fitted):
    """0 <= A^T A - S^T S <= error I, with error within the bounds that hold before and after the fact."""
    frobenius2 = np.sum(rows**2)
    noise = ROUNDING * frobenius2
    lost = np.linalg.eigvalsh(rows.T @ rows - fitted.sketch_.T @ fitted.sketch_)
    assert lost[0] >= -noise
    assert lost[-1] <= fitted.error_ + noise
    tails = np.concatenate([np.cumsum(np.linalg.svd(rows, compute_uv=False)[::-1] ** 2)[::-1], np.zeros(size)])
    for k in range(size):
        assert fitted.error_ <= tails[k] / (size - k) + noise
    assert np.sum(fitted.sketch_**2) <= frobenius2 - size * fitted.error_ + noise
    assert fitted.error_ <= sketch_error(frobenius2, np.sum(fitted.sketch_**2), size) + noise
    assert fitted.frobenius2_ == pytest.approx(frobenius2, rel=1e-12)


@given(streams_of_rows(), st.integers(2, 7))
def test_is_the_plain_algorithm(rows, size):
    fitted = FrequentDirections(size).fit(rows)
    sketch, lost = plain(rows, size)
    noise = ROUNDING * np.sum(rows**2)
    assert fitted.sketch_.shape == sketch.shape
    np.testing.assert_allclose(fitted.sketch_.T @ fitted.sketch_, sketch.T @ sketch, rtol=0, atol=noise)
    assert fitted.error_ == pytest.approx(lost, rel=1e-9, abs=noise)
    assert fitted.state_floats_ == 2 * size * rows.shape[1]


@given(streams_of_rows(), st.integers(2, 7))
def test_keeps_its_guarantees(rows, size):
    check_bounds(rows, size, FrequentDirections(size).fit(rows))


def test_guarantees_are_not_vacuous():
    """Flat spectra: the error is a good part of its bound, and something is lost in every direction."""
    rows = Stream(1, "flat").normal((400, 8))
    fitted = FrequentDirections(3).fit(rows)
    lost = np.linalg.eigvalsh(rows.T @ rows - fitted.sketch_.T @ fitted.sketch_)
    assert fitted.error_ > 0.5 * np.sum(rows**2) / 3
    assert lost[-1] > 0.5 * fitted.error_
    assert lost[-1] < fitted.error_


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_low_rank_is_kept(size, seed):
    stream = Stream(seed, "low rank")
    rows = stream.child("left").normal((50, size - 1)) @ stream.child("right").normal((size - 1, 8))
    fitted = FrequentDirections(size).fit(rows)
    gram = rows.T @ rows
    np.testing.assert_allclose(fitted.sketch_.T @ fitted.sketch_, gram, rtol=0, atol=ROUNDING * np.trace(gram))
    assert 0 <= fitted.error_ <= ROUNDING * np.trace(gram)


def test_small_singular_values_are_lost_where_the_gram_matrix_says():
    """sigma_2 = 10^-p sigma_1: its square is off by 1e-15 sigma_1^2 for each shrinking. From p = 8 on nothing is left,
    which is what the docstring admits."""
    for p, kept in ((4, True), (6, True), (8, False), (10, False)):
        rows = np.tile(np.diag([1.0, 10.0**-p, 0.0, 0.0]), (10, 1)) @ np.linalg.qr(Stream(0, "q").normal((4, 4)))[0]
        energies = FrequentDirections(3, n_components=2).fit(rows).explained_energy_
        off = abs(energies[1] - 10 * 100.0**-p)
        assert off < 1e-14 * 10
        assert bool(off < 1e-2 * 10 * 100.0**-p) is kept


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.booleans())
def test_chunks_change_no_bit(sizes, sparse):
    rows = Stream(2, "rows").normal((60, 7))
    rows[np.abs(rows) < 0.8] = 0.0
    source = csr_array(rows) if sparse else rows
    parts = FrequentDirections(4)
    for first, last in pairwise(np.minimum(np.cumsum([0, *sizes, 60]), 60)):
        parts.partial_fit(source[first:last])
    whole = FrequentDirections(4).fit(rows)
    np.testing.assert_array_equal(parts.sketch_, whole.sketch_)
    assert parts.error_ == whole.error_


@given(streams_of_rows())
def test_signs_of_rows_change_nothing(rows):
    flips = 1.0 - 2.0 * (np.arange(len(rows)) % 3 == 0)
    a, b = FrequentDirections(3).fit(rows), FrequentDirections(3).fit(flips[:, None] * rows)
    noise = ROUNDING * np.sum(rows**2)
    np.testing.assert_allclose(a.sketch_.T @ a.sketch_, b.sketch_.T @ b.sketch_, rtol=0, atol=noise)


@given(streams_of_rows(), st.integers(2, 5), st.lists(st.integers(0, 60), min_size=1, max_size=4), st.booleans())
def test_merged_parts_keep_the_guarantees(rows, size, cuts, chain):
    """Parts read apart and merged, one after another or in pairs, certify as much as one pass over all rows."""
    ends = sorted(min(c, len(rows)) for c in [0, len(rows), *cuts])
    parts = [FrequentDirections(size).partial_fit(rows[a:b]) for a, b in pairwise(ends)]
    while len(parts) > 1:
        pairs = [parts[:2]] if chain else [parts[i : i + 2] for i in range(0, len(parts), 2)]
        rest = parts[2:] if chain else []
        parts = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs] + rest
    assert parts[0].n_seen_ == len(rows)
    check_bounds(rows, size, parts[0])


def test_merging_leaves_the_other_as_it_was():
    rows = Stream(3, "rows").normal((40, 5))
    a, b = FrequentDirections(3).fit(rows[:20]), FrequentDirections(3).fit(rows[20:])
    before = pickle.dumps(b)
    a.merge(b)
    assert pickle.dumps(b) == before
    a.merge(a)  # twice the rows
    check_bounds(np.tile(rows, (2, 1)), 3, a)


def test_merging_with_itself_counts_no_shrinking_twice():
    rows = Stream(3, "rows").normal((12, 5))
    twice, copied = (FrequentDirections(3).fit(rows) for _ in range(2))
    copied.merge(FrequentDirections(3).fit(rows))
    before = twice.error_
    assert 0 < 2 * before < twice.merge(twice).error_  # merging shrinks
    assert twice.error_ == copied.error_


def test_centered_parts_merge_to_the_centered_matrix():
    rows = Stream(4, "rows").normal((50, 6)) + np.arange(6)
    parts = [FrequentDirections(4, center=True).fit(rows[a:b]) for a, b in ((0, 10), (10, 13), (13, 50))]
    merged = parts[0].merge(parts[1].merge(parts[2]))
    check_bounds(rows - rows.mean(0), 4, merged)
    np.testing.assert_allclose(merged.mean_, rows.mean(0), rtol=1e-12)


def test_refuses_to_merge_what_does_not_add_up():
    rows = Stream(5, "rows").normal((20, 5))
    fitted = FrequentDirections(3).fit(rows)
    with pytest.raises(ValueError, match="size must be the same in both, got 3 and 4"):
        fitted.merge(FrequentDirections(4).fit(rows))
    with pytest.raises(ValueError, match="robust must be the same"):
        fitted.merge(FrequentDirections(3, robust=True).fit(rows))
    with pytest.raises(ValueError, match="same number of columns"):
        fitted.merge(FrequentDirections(3).fit(rows[:, 1:]))


@given(streams_of_rows(), st.integers(3, 7))
def test_robust_energies_halve_the_worst_error(rows, size):
    robust = FrequentDirections(size, robust=True).fit(rows)
    assert robust.alpha_ == robust.error_ / 2
    off = rows.T @ rows - robust.sketch_.T @ robust.sketch_ - robust.alpha_ * np.eye(rows.shape[1])
    assert np.abs(np.linalg.eigvalsh(off)).max() <= robust.error_ / 2 + ROUNDING * np.sum(rows**2)
    v = np.eye(rows.shape[1])[:2]
    plainly = FrequentDirections(size).fit(rows)
    np.testing.assert_allclose(
        robust.energy(v), np.sum((plainly.sketch_ @ v.T) ** 2, axis=0) + robust.alpha_, rtol=1e-12
    )
    np.testing.assert_allclose(robust.explained_energy_, plainly.explained_energy_ + robust.alpha_, rtol=1e-12)


def test_energies_enclose_the_truth():
    rows = Stream(6, "rows").normal((300, 9)) * 0.7 ** np.arange(9)
    fitted = FrequentDirections(6, n_components=4).fit(rows)
    truth = np.linalg.svd(rows, compute_uv=False)[:4] ** 2
    assert np.all(fitted.explained_energy_ <= truth)
    assert np.all(truth <= fitted.explained_energy_ + fitted.error_)
    np.testing.assert_allclose(fitted.components_ @ fitted.components_.T, np.eye(4), atol=1e-12)


def test_evidence_certifies():
    """What the sketch alone proves of its own component, and of another vector, is true and says something."""
    rows = Stream(7, "rows").normal((500, 20)) * np.array([4.0, *np.ones(19)])
    fitted = FrequentDirections(15).fit(rows)
    truth = np.linalg.eigh(rows.T @ rows)[1][:, -1]
    for v in (fitted.components_[0], truth):
        certificate = certify(v, **fitted.evidence())
        assert sin2(v, truth) <= certificate.sin2 < 0.2
    assert certify(np.eye(20)[5], **fitted.evidence()).sin2 > 0.5


def test_fewer_rows_than_components():
    fitted = FrequentDirections(5, n_components=3).partial_fit(np.array([[3.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(fitted.explained_energy_, [9.0, 0.0, 0.0])
    np.testing.assert_allclose(fitted.components_ @ fitted.components_.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(fitted.components_[0], [1.0, 0.0, 0.0, 0.0])


def test_float32_rows_are_kept_in_double_precision():
    rows = Stream(8, "rows").normal((60, 6)).astype(np.float32)
    fitted, double = FrequentDirections(3).fit(rows), FrequentDirections(3).fit(rows.astype(np.float64))
    assert fitted.components_.dtype == np.float32
    np.testing.assert_array_equal(fitted.sketch_, double.sketch_)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"size": 1}, ValueError, "size must be an integer >= 2, got 1"),
        ({"size": 3, "n_components": 3}, ValueError, "n_components must be an integer from 1 to 2, got 3"),
        ({"robust": 1}, TypeError, "robust must be True or False"),
    ],
)
def test_refuses_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        FrequentDirections(**parameters).fit(np.eye(4))


def test_unchecked_rows_that_are_not_finite_are_met_at_the_shrinking():
    rows = np.ones((12, 3))
    rows[2, 1] = np.nan
    with pytest.raises(ValueError, match="row 2 of the stream is not finite"):
        FrequentDirections(2).fit(rows)
    for bad in (np.nan, np.inf):
        rows[2, 1] = bad
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="check_finite=False"):
            FrequentDirections(2, check_finite=False).fit(rows)
