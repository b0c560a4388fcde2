"""CountSketch against the sign matrix that it stands for, its law over streams, and what it refuses."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.random import Stream
from lrtheory.streaming import CountSketch
from lrtheory.streaming.count_sketch import hashed
from lrtheory.streaming.theory import count_sketch_sd

ROWS = Stream(5, "rows").normal((40, 6))


def splitmix(key, count):
    """The first outputs of SplitMix64, in Python's integers."""
    mask, words = (1 << 64) - 1, []
    for c in range(count):
        x = (key + (c + 1) * 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        words.append(x ^ (x >> 31))
    return words


def sign_matrix(n, n_buckets, partition=0, stream=0):
    key = int(Stream(stream, "CountSketch", partition).generator().integers(1 << 64, dtype=np.uint64))
    matrix = np.zeros((n_buckets, n))
    for i, word in enumerate(splitmix(key, n)):
        matrix[(word >> 32) * n_buckets >> 32, i] = 1.0 if word & 1 else -1.0
    return matrix


@given(st.integers(0, 40), st.sampled_from([1, 7, 16, 300]), st.sampled_from([0, "a", (3, "b")]), st.integers(0, 99))
def test_is_the_product_with_its_sign_matrix(cut, n_buckets, partition, stream):
    sketch = CountSketch(n_buckets, partition=partition, stream=stream)
    sketch.partial_fit(ROWS[:cut]).partial_fit(ROWS[cut:])
    dense = sign_matrix(40, n_buckets, partition, stream) @ ROWS
    np.testing.assert_allclose(sketch.sketch_, dense, rtol=1e-13, atol=1e-13)
    v = ROWS[:2] / 3
    np.testing.assert_allclose(sketch.energy(v), np.sum((dense @ v.T) ** 2, axis=0), rtol=1e-12)
    assert sketch.frobenius2_ == pytest.approx(np.sum(ROWS**2), rel=1e-13)
    assert (sketch.n_seen_, sketch.state_floats_, sketch.partitions_) == (40, 6 * n_buckets, (partition,))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.booleans())
def test_chunks_change_no_bit(sizes, sparse):
    rows = np.where(np.abs(ROWS) > 1, ROWS, 0.0)
    source = csr_array(rows) if sparse else rows
    parts, ends = CountSketch(9), np.minimum(np.cumsum([0, *sizes, 40]), 40)
    for first, last in pairwise(ends):
        parts.partial_fit(source[first:last])
    np.testing.assert_array_equal(parts.sketch_, CountSketch(9).fit(rows).sketch_)


@given(st.integers(0, 10**6))
def test_signs_of_rows_change_nothing_that_is_expected(seed):
    """The flipped rows have the sketch of flipped signs: columns of the sign matrix change sign, energies keep their
    law; the sum of squares changes no bit."""
    flips = 2.0 * Stream(seed, "flips").generator().integers(2, size=40) - 1.0
    flipped = CountSketch(9).fit(flips[:, None] * ROWS)
    np.testing.assert_allclose(flipped.sketch_, (sign_matrix(40, 9) * flips) @ ROWS, rtol=1e-13, atol=1e-13)
    assert flipped.frobenius2_ == CountSketch(9).fit(ROWS).frobenius2_


def test_energy_is_unbiased_and_has_its_standard_deviation():
    """Property P18, 400 streams: the mean within 4 standard errors, the standard deviation within 20 %."""
    v = np.ones(6) / np.sqrt(6)
    energies = [CountSketch(32, stream=stream).fit(ROWS).energy(v) for stream in range(400)]
    sd = count_sketch_sd(ROWS @ v, 32)
    assert abs(np.mean(energies) - np.sum((ROWS @ v) ** 2)) < 4 * sd / np.sqrt(400)
    assert np.std(energies) == pytest.approx(sd, rel=0.2)


def test_buckets_and_signs_are_uniform_and_independent():
    """Chi-square of the table (bucket, sign) over 16000 rows; its 2 * 16 - 1 degrees of freedom have the upper 1e-6
    quantile 79."""
    buckets, signs = hashed(2024, 0, 16000, 16)
    table = np.bincount(2 * buckets + (signs > 0), minlength=32)
    assert np.sum((table - 500.0) ** 2 / 500.0) < 79


def test_parts_merged_in_any_tree_are_the_sketch_of_all_rows():
    cuts = [0, 7, 7, 22, 40]
    parts = [CountSketch(9, partition=p).partial_fit(ROWS[cuts[p] : cuts[p + 1]]) for p in range(4)]
    dense = sum(
        sign_matrix(cuts[p + 1] - cuts[p], 9, p) @ ROWS[cuts[p] : cuts[p + 1]] if cuts[p + 1] > cuts[p] else 0
        for p in range(4)
    )
    copies = [pickle.loads(pickle.dumps(part)) for part in parts]
    tree = copies[0].merge(copies[1]).merge(copies[2].merge(copies[3]))
    chain = parts[3].merge(parts[2]).merge(parts[1]).merge(parts[0])
    for merged in (tree, chain):
        np.testing.assert_allclose(merged.sketch_, dense, rtol=1e-13, atol=1e-13)
        assert merged.n_seen_ == 40
        assert merged.frobenius2_ == pytest.approx(np.sum(ROWS**2), rel=1e-13)
        assert set(merged.partitions_) == {0, 2, 3}  # of partition 1 there was no row


def test_a_merged_sketch_takes_more_rows_with_fresh_numbers():
    """Rows after a merge go on with the numbers of the own partition, as if nothing had been merged between."""
    merged = CountSketch(9, partition="a").partial_fit(ROWS[:10])
    merged.merge(CountSketch(9, partition="b").partial_fit(ROWS[10:25])).partial_fit(ROWS[25:])
    own = sign_matrix(25, 9, "a")
    dense = own[:, :10] @ ROWS[:10] + sign_matrix(15, 9, "b") @ ROWS[10:25] + own[:, 10:] @ ROWS[25:]
    np.testing.assert_allclose(merged.sketch_, dense, rtol=1e-13, atol=1e-13)


def test_merged_energy_is_unbiased():
    """The partitions' numbers are independent: were they equal, rows of both would meet with one sign, and the energy
    of equal halves would have the expectation 2 |A v|^2."""
    half, v = ROWS[:20], np.eye(6)[0]
    energies = [
        CountSketch(16, stream=stream).fit(half).merge(CountSketch(16, stream=stream, partition=1).fit(half)).energy(v)
        for stream in range(400)
    ]
    sd = count_sketch_sd(np.tile(half @ v, 2), 16)
    assert abs(np.mean(energies) - 2 * np.sum((half @ v) ** 2)) < 4 * sd / np.sqrt(400)


def test_centered_parts_merge_to_the_centered_matrix():
    """In expectation over streams the Gram matrix is that of all rows about their mean; F^2 is so for each stream."""
    rows = ROWS + np.arange(6)
    centered = rows - rows.mean(0)
    v = np.eye(6)[5]
    energies = []
    for stream in range(300):
        a = CountSketch(16, center=True, stream=stream).fit(rows[:12])
        a.merge(CountSketch(16, center=True, stream=stream, partition=1).fit(rows[12:]))
        energies.append(a.energy(v))
        assert a.frobenius2_ == pytest.approx(np.sum(centered**2), rel=1e-12)
        np.testing.assert_allclose(a.mean_, rows.mean(0), rtol=1e-12, atol=1e-13)
    energy = np.sum((centered @ v) ** 2)
    assert abs(np.mean(energies) - energy) < 4 * energy * np.sqrt(2 / 16) / np.sqrt(300)


def test_components_are_those_of_the_sketch():
    fitted = CountSketch(12, n_components=3).fit(ROWS.astype(np.float32))
    s, vectors = np.linalg.svd(fitted.sketch_)[1:]
    assert fitted.components_.dtype == np.float32
    np.testing.assert_allclose(fitted.explained_energy_, s[:3] ** 2, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(fitted.components_ * vectors[:3], axis=-1)), 1.0, rtol=1e-6)


def test_more_buckets_than_rows_find_the_direction():
    """With no two rows in a bucket the sketch has the rows themselves, up to signs."""
    stream = next(s for s in range(100) if np.all(np.abs(sign_matrix(6, 512, 0, s)).sum(1) <= 1))
    fitted = CountSketch(512, stream=stream).fit(ROWS[:6])
    values, vectors = np.linalg.eigh(ROWS[:6].T @ ROWS[:6])
    np.testing.assert_allclose(fitted.explained_energy_, values[-1:], rtol=1e-12)
    assert np.sum(fitted.components_[0] * vectors[:, -1]) ** 2 == pytest.approx(1.0, rel=1e-12)


def test_a_refused_chunk_leaves_the_sketch():
    fitted = CountSketch(9).partial_fit(ROWS[:10])
    before = fitted.sketch_
    bad = ROWS[10:].copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 13 of the stream is not finite"):
        fitted.partial_fit(bad)
    np.testing.assert_array_equal(fitted.sketch_, before)
    np.testing.assert_array_equal(fitted.partial_fit(ROWS[10:]).sketch_, CountSketch(9).fit(ROWS).sketch_)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_buckets": 0}, ValueError, "n_buckets must be an integer from 1"),
        ({"n_buckets": 2.0}, ValueError, "n_buckets must be an integer"),
        ({"n_buckets": 2, "n_components": 3}, ValueError, "n_components must be an integer from 1 to 2"),
        ({"partition": 0.5}, TypeError, "partition must be an integer, a string"),
        ({"stream": np.arange(3)}, ValueError, "stream must name one stream"),
    ],
)
def test_refuses_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        CountSketch(**parameters).fit(ROWS)


def test_refuses_to_merge_what_does_not_add_up():
    fitted = CountSketch(9).fit(ROWS)
    with pytest.raises(ValueError, match="partition must differ"):
        fitted.merge(CountSketch(9).fit(ROWS))
    with pytest.raises(ValueError, match="partition must differ"):
        fitted.merge(fitted)
    with pytest.raises(ValueError, match="n_buckets must be the same in both, got 9 and 8"):
        fitted.merge(CountSketch(8, partition=1).fit(ROWS))
    with pytest.raises(ValueError, match="stream must be the same"):
        fitted.merge(CountSketch(9, partition=1, stream=1).fit(ROWS))
    with pytest.raises(ValueError, match="same number of columns, got 6 and 5"):
        fitted.merge(CountSketch(9, partition=1).fit(ROWS[:, :5]))
    with pytest.raises(TypeError, match="other must be a CountSketch, got ndarray"):
        fitted.merge(ROWS)
    scaled = CountSketch(9, scale="first_row").fit(ROWS)
    with pytest.raises(ValueError, match="rows were divided by"):
        scaled.merge(CountSketch(9, scale="first_row", partition=1).fit(1e3 * ROWS))
    np.testing.assert_array_equal(fitted.sketch_, CountSketch(9).fit(ROWS).sketch_)


def test_merging_with_one_that_has_seen_nothing():
    fitted = CountSketch(9, partition=1).fit(ROWS)
    before = fitted.sketch_
    np.testing.assert_array_equal(fitted.merge(CountSketch(9)).sketch_, before)
    np.testing.assert_array_equal(CountSketch(9).merge(fitted).sketch_, before)


def test_energy_refuses_another_width():
    with pytest.raises(ValueError, match=r"v must have shape \(..., 6\), got \(5,\)"):
        CountSketch(9).fit(ROWS).energy(np.ones(5))
    with pytest.raises(ValueError, match="has seen no rows yet"):
        CountSketch(9).energy(np.ones(5))
