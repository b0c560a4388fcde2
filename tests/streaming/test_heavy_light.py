"""Heavy rows kept, light rows through a block method: against transcriptions and exact instances."""

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.random import Stream
from lrtheory.streaming._starts import start_rows
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.heavy_light import HeavyBlockPower, HeavyHistory
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.instances import generic, hard, split
from lrtheory.streaming.metrics import corr2, energy, sin2, subspace_sin2
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.sampled import pareto
from lrtheory.streaming.theory import split_sin2
from lrtheory.testing.strategies import seeds

METHODS = {
    "select": lambda *h, **more: HeavyBlockPower(*h, combine="select", n_buckets=32, block_size=9, **more),
    "rayleigh_ritz": lambda *h, **more: HeavyBlockPower(*h, n_buckets=32, block_size=9, **more),
    "history": lambda *h, **more: HeavyHistory(*h, block_size=6, **more),
}
by_method = pytest.mark.parametrize("name", METHODS)


def matrix(n, d, seed=0):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, d)) * 0.8 ** np.arange(d)
    return rows * (1 + generator.pareto(1.5, (n, 1)))


def unit(v):
    return v / np.linalg.norm(v)


class Sorter:
    """The largest rows so far; `offer` returns the row that leaves, or None."""

    def __init__(self, h_max):
        self.h_max, self.heap = h_max, []

    def offer(self, number, row):
        heapq.heappush(self.heap, (row @ row, -number, tuple(row)))
        return np.array(heapq.heappop(self.heap)[2]) if len(self.heap) > self.h_max else None

    def rows(self, d):
        return np.array([row for _, _, row in sorted(self.heap, reverse=True)]).reshape(-1, d)


def heavy_block_power(rows, h_max, blocks, combine, r, start, sketch_stream):
    """The algorithm as it is described, row by row."""
    d = rows.shape[1]
    w, sorter, light, number = unit(start), Sorter(h_max), [], 0
    for j, block in enumerate(np.array_split(rows, blocks)):
        y, before = np.zeros(d), len(light)
        for row in block:
            left = sorter.offer(number, row)
            number += 1
            if left is not None:
                y += left * (left @ w)
                light.append(left)
        kept = sorter.rows(d)
        threshold = np.sum(rows**2) / (d * math.log(d))
        heavy = kept[np.sum(kept**2, axis=1) >= threshold]
        if combine == "rayleigh_ritz":
            y = y * len(light) / max(len(light) - before, 1) + kept.T @ (kept @ w)
        elif j == blocks - 1:
            rest = kept[len(heavy) :]
            y = y + rest.T @ (rest @ w)
        w = unit(y) if y.any() else w
    exact = kept.T @ kept
    if light:
        sketch = CountSketch(r, stream=sketch_stream).partial_fit(np.array(light)).sketch_
        exact = exact + sketch.T @ sketch
    v = np.linalg.svd(heavy)[2] if len(heavy) else np.zeros((0, d))
    if combine == "select":
        candidates = ([w] if light or not len(heavy) else []) + list(v[:1])
        return max(candidates, key=lambda u: u @ exact @ u)
    q = np.linalg.qr(np.stack([w, *v[: min(3, len(heavy))]]).T)[0]
    return q @ np.linalg.eigh(q.T @ exact @ q)[1][:, -1]


@given(n=st.integers(8, 90), d=st.integers(5, 12), h=st.integers(0, 9), blocks=st.integers(1, 4),
       combine=st.sampled_from(["select", "rayleigh_ritz"]), sparse=st.booleans(), seed=seeds())  # fmt: skip
def test_heavy_block_power_is_the_algorithm_as_described(n, d, h, blocks, combine, sparse, seed):
    rows = matrix(n, d, seed)
    found = HeavyBlockPower(h, combine=combine, n_buckets=16, n_blocks=blocks, stream=seed)
    found.fit(csr_array(rows) if sparse else rows)
    start = start_rows(None, 1, d, (), seed)[0]
    expected = heavy_block_power(rows, h, blocks, combine, 16, start, Stream(seed).child("sketch"))
    assert sin2(found.components_[0], expected) < 1e-12
    assert found.n_blocks_ == blocks


@pytest.mark.parametrize("combine", ["select", "rayleigh_ritz"])
@pytest.mark.parametrize("seed", range(4))
def test_kept_rows_that_are_not_heavy_join_the_last_block(combine, seed):
    rows = np.random.default_rng(seed).standard_normal((40, 6)) * 0.8 ** np.arange(6)
    found = HeavyBlockPower(6, combine=combine, n_buckets=16, n_blocks=3, stream=seed).fit(rows)
    assert found.n_heavy_ < 6
    start = start_rows(None, 1, 6, (), seed)[0]
    expected = heavy_block_power(rows, 6, 3, combine, 16, start, Stream(seed).child("sketch"))
    assert sin2(found.components_[0], expected) < 1e-12


@pytest.mark.parametrize(("h", "used"), [(0, 20), (2, 20), (64, 22)])
def test_a_short_open_block_counts_with_the_rows_that_join_it(h, used):
    """None is heavy: of 22 rows in blocks of 10, two are too few, and all 22, where none left the heap, are not."""
    rows, start = np.random.default_rng(3).standard_normal((22, 4)), np.array([1.0, 2, 0, 1])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # equal norms: the first rows are kept
    rows *= np.linspace(1.01, 1, 22)[:, None]
    found = HeavyBlockPower(h, combine="select", n_buckets=16, block_size=10, start=start).fit(rows)
    assert found.n_heavy_ == 0
    w = start
    for block in [rows] if used == 22 else [rows[h:10], rows[10:20]]:
        w = unit(block.T @ (block @ w))
    assert sin2(found.components_[0], w) < 1e-24


@given(n=st.integers(2, 60), d=st.integers(3, 9), h=st.integers(0, 9), size=st.integers(1, 9), seed=seeds())
def test_heavy_history_is_the_stack_of_kept_rows_and_the_history(n, d, h, size, seed):
    rows = matrix(n, d, seed)
    sorter, light = Sorter(h), []
    for number, row in enumerate(rows):
        left = sorter.offer(number, row)
        light += [] if left is None else [left]
    stack = sorter.rows(d)
    if light:
        history = HistoryPCA(size, stream=seed).partial_fit(np.array(light))
        stack = np.concatenate([stack, np.sqrt(history.explained_energy_)[:, None] * history.components_])
    _, values, vectors = np.linalg.svd(stack)
    found = HeavyHistory(h, block_size=size, stream=seed).fit(rows)
    assert np.isclose(found.explained_energy_[0], values[0] ** 2, rtol=1e-10)
    if len(values) == 1 or values[1] < 0.99 * values[0]:
        assert sin2(found.components_[0], vectors[0]) < 1e-18


@by_method
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("sparse", [False, True])
def test_any_division_into_chunks_gives_the_same_result(name, k, sparse):
    """P4: bit for bit for one component, else up to the rounding of matrix products."""
    rows = matrix(90, 12) * (np.random.default_rng(4).random((90, 12)) < 0.6)
    rows = csr_array(rows) if sparse else rows
    whole = METHODS[name](5, n_components=k).partial_fit(rows)
    parts = METHODS[name](5, n_components=k)
    for first, last in zip([0, 1, 4, 4, 27, 60], [1, 4, 4, 27, 60, 90], strict=True):
        parts.partial_fit(rows[first:last])
        if last >= k:
            _ = parts.components_  # a look changes nothing
    tolerance = 0 if k == 1 else 1e-11
    np.testing.assert_allclose(parts.components_, whole.components_, atol=tolerance)
    np.testing.assert_allclose(parts.explained_energy_, whole.explained_energy_, rtol=tolerance)
    assert np.array_equal(parts.kept_numbers_, whole.kept_numbers_)
    assert (parts.n_heavy_, parts.status_, parts.n_blocks_) == (whole.n_heavy_, whole.status_, whole.n_blocks_)
    dense = METHODS[name](5, n_components=k).partial_fit(rows.toarray() if sparse else csr_array(rows))
    np.testing.assert_allclose(dense.components_, whole.components_, atol=1e-10)


@pytest.mark.parametrize("combine", ["select", "rayleigh_ritz"])
@pytest.mark.parametrize("k", [1, 3])
def test_without_kept_rows_it_is_the_power_method(combine, k):
    """P17."""
    rows = matrix(100, 9)
    plain = BlockPower(4, n_components=k, stream=3).fit(rows)
    found = HeavyBlockPower(0, combine=combine, n_blocks=4, n_components=k, stream=3).fit(rows)
    assert subspace_sin2(found.components_, plain.components_) < 1e-20
    history = HistoryPCA(n_components=k, stream=3).fit(rows)
    found = HeavyHistory(0, n_components=k, stream=3).fit(rows)
    np.testing.assert_allclose(found.components_, history.components_, atol=1e-7)
    assert subspace_sin2(found.components_, history.components_) < 1e-20


@given(n=st.integers(2, 14), d=st.integers(6, 9), seed=seeds())
def test_where_every_row_is_heavy_it_is_the_whole_matrix(n, d, seed):
    """P17: rows of equal norm, at most d log d of them."""
    n = min(n, int(d * math.log(d)))
    rows = matrix(n, d, seed)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, values, vectors = np.linalg.svd(rows)
    for method in (HeavyBlockPower(20, combine="select"), HeavyBlockPower(20), HeavyHistory(20)):
        found = method.fit(rows)
        assert found.n_heavy_ == n
        assert np.isclose(found.explained_energy_[0], values[0] ** 2, rtol=1e-12)
        assert sin2(found.components_[0], vectors[0]) < 1e-20 / (1 - values[1] / values[0]) ** 2


@given(n=st.integers(10, 200), h=st.integers(1, 20), k=st.integers(1, 2), seed=seeds())
def test_select_returns_the_candidate_of_largest_energy(n, h, k, seed):
    """P19."""
    rows = matrix(n, 8, seed)
    found = HeavyBlockPower(h, combine="select", n_buckets=64, n_components=k, stream=seed).fit(rows)
    energies = found.candidate_energies_.sum(-1)
    assert len(energies) == 1 + (found.n_heavy_ >= k and n > h)
    chosen = [np.allclose(np.abs(np.sum(v * found.components_, -1)), 1) for v in found.candidates_]
    assert any(chosen)
    assert np.isclose(energies[chosen].max(), energies.max(), rtol=1e-12)
    assert np.isclose(found.explained_energy_.sum(), energies.max(), rtol=1e-12)


@pytest.mark.parametrize("gap", [4.0, 16.0, 64.0, 256.0])
def test_split_instance(gap):
    """T5: "select" errs by 1 / (1 + R) exactly, in every order; Rayleigh-Ritz by less than a fiftieth of that."""
    instance = split(100, 2000, gap)
    for seed in range(3):
        rows = instance.ordered("random", seed).rows
        found = HeavyBlockPower(combine="select", n_blocks=8, stream=seed).fit(rows)
        assert np.isclose(sin2(found.components_[0], instance.direction), split_sin2(gap), rtol=1e-10)
        found = HeavyBlockPower(n_blocks=8, stream=seed).fit(rows)
        assert found.n_heavy_ == 1
        assert sin2(found.components_[0], instance.direction) < split_sin2(gap) / 50


@pytest.mark.parametrize("combine", ["select", "rayleigh_ritz"])
@pytest.mark.parametrize("decoy", [False, True])
def test_hard_instance_is_easy_with_heavy_rows(combine, decoy):
    """T7 and T8: v_1 itself, where no fixed rate finds it; the heavy rows are the k along it, and the decoy."""
    for k in (3, 4):
        for seed in range(3):
            instance = hard(1000, k, k - 0.1 * decoy, decoy=decoy).ordered("random", seed)
            found = HeavyBlockPower(combine=combine, stream=seed).fit(instance.rows)
            assert found.n_heavy_ == k + decoy
            assert found.status_ == "ok"
            assert corr2(found.components_[0], instance.direction) > 0.999
            assert corr2(HeavyHistory(stream=seed).fit(instance.rows).components_[0], instance.direction) > 0.999


def test_heavy_tailed_rows():
    """T13: errors of the two combinations far below those of their light parts alone."""
    errors = []
    for seed in range(4):
        instance = pareto(10_000, 100, seed)
        methods = (
            HeavyHistory(stream=seed),
            HeavyBlockPower(stream=seed),
            HeavyBlockPower(combine="select", stream=seed),
            HistoryPCA(stream=seed),
            BlockPower(6, stream=seed),
        )
        found = [method.fit(instance.rows) for method in methods]
        errors.append([sin2(method.components_[0], instance.direction) for method in found])
        assert 0 < found[0].n_heavy_ < 64
        assert found[0].n_heavy_ == found[1].n_heavy_
    errors = np.array(errors)
    assert np.all(errors[:, :3] < 5e-3)
    assert np.all(errors[:, 0] < errors[:, 1])
    assert np.median(errors[:, 3]) > 0.03
    assert np.median(errors[:, 4]) > 0.03


def test_without_heavy_rows_little_is_lost():
    instance = generic(8000, 80, 6.0, 1)
    plain, kept = HistoryPCA().fit(instance.rows), HeavyHistory().fit(instance.rows)
    assert kept.n_heavy_ == 0
    assert sin2(kept.components_[0], instance.direction) < 4 * sin2(plain.components_[0], instance.direction)
    plain, kept = BlockPower().fit(instance.rows), HeavyBlockPower().fit(instance.rows)
    assert sin2(kept.components_[0], instance.direction) < 4 * sin2(plain.components_[0], instance.direction)


@by_method
def test_several_components_of_a_heavy_tailed_matrix(name):
    rows = pareto(5000, 30, 2).rows
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    more = {"h_max": 64, "n_components": 2, "stream": 1}
    found = (HeavyHistory(**more) if name == "history" else HeavyBlockPower(combine=name, **more)).fit(rows)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(2), atol=1e-13)
    assert subspace_sin2(found.components_, vectors[:2]) < (0.1 if name == "select" else 0.01)
    np.testing.assert_allclose(found.explained_energy_, values[:2] ** 2, rtol=0.1)


def test_energies_are_exact_for_kept_rows_and_sketched_for_the_others():
    rows = matrix(400, 10)
    errors = []
    for seed in range(30):
        found = HeavyBlockPower(8, combine="select", n_buckets=64, stream=seed).fit(rows)
        light = np.delete(rows, found.kept_numbers_, axis=0)
        v = found.components_[0]
        errors.append((found.explained_energy_[0] - energy(v, rows)) / energy(v, light))
    # of relative deviation sqrt(2 / 64) at most, over 30 sketches; choosing by energy adds a bias of the same size
    assert np.sqrt(np.mean(np.square(errors))) < 1.5 * math.sqrt(2 / 64)
    assert np.std(errors) > 0.01 * math.sqrt(2 / 64)


@by_method
def test_one_row_zero_rows_and_bad_rows(name):
    with pytest.raises(ValueError, match="no direction: all 3 rows are zero"):
        METHODS[name](4).fit(np.zeros((3, 5)))
    found = METHODS[name](4).fit(np.array([[0.0, -3.0, 4.0]]))
    np.testing.assert_allclose(found.components_, [[0.0, -0.6, 0.8]], atol=1e-15)
    np.testing.assert_allclose(found.explained_energy_, [25.0])
    rows = matrix(40, 5)
    found = METHODS[name](4).partial_fit(rows)
    before = found.components_
    bad = rows.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 43 of the stream"):
        found.partial_fit(bad)
    assert np.array_equal(found.components_, before)
    found.partial_fit(rows)
    again = METHODS[name](4).partial_fit(np.concatenate([rows, rows]))
    assert np.array_equal(found.components_, again.components_)


@by_method
def test_parameters(name):
    from sklearn.base import clone

    rows = matrix(60, 5)
    found = METHODS[name](4, stream=4).fit(rows)
    again = clone(found)
    assert again.get_params() == found.get_params()
    assert np.array_equal(again.fit(rows).components_, found.components_)
    before = found.components_, found.explained_energy_, found.n_heavy_
    found.set_params(n_components=3, h_max=9, log_power=7.0)  # of the next fit
    assert all(map(np.array_equal, before, (found.components_, found.explained_energy_, found.n_heavy_)))
    assert found.fit(rows).components_.shape == (3, 5)
    found = METHODS[name](4).fit(rows)
    assert found.state_floats_ >= (4 + 2) * 5 + (32 * 5 if name != "history" else 0)
    assert METHODS[name](2).fit(rows).kept_rows_.shape == (2, 5)
    for bad, message in (
        (METHODS[name](-1), "h_max must be an integer >= 0, got -1"),
        (METHODS[name](log_power=math.inf), "log_power must be finite"),
        (METHODS[name](stream=np.arange(3)), "takes one start, got a batch of shape \\(3,\\)"),
        (METHODS[name](start=np.ones((2, 1, 5))), "takes one start, got a batch of shape \\(2,\\)"),
    ):
        with pytest.raises(ValueError, match=message):
            bad.fit(rows)


def test_one_bucket_is_enough_for_two_components_to_exist():
    found = HeavyBlockPower(0, n_buckets=1, n_components=2).fit(matrix(30, 4)).components_
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-13)


def test_unknown_combination():
    with pytest.raises(ValueError, match="rayleigh_ritz"):
        HeavyBlockPower(combine="rayleigh-ritz").fit(matrix(9, 3))
