"""History PCA and the streaming power method, against plain transcriptions and what theory says of their errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.instances import carried, generic, hard
from lrtheory.streaming.metrics import corr2, sin2, subspace_sin2
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.sampled import spiked
from lrtheory.streaming.theory import block_power_sin2, history_pca_sin2, offline_sin2
from lrtheory.testing.strategies import orthogonal_matrices, seeds

METHODS = {
    "history": lambda **more: HistoryPCA(7, **more),
    "history, inner": lambda **more: HistoryPCA(7, inner=2, **more),
    "power": lambda **more: BlockPower(block_size=7, **more),
    "power, doubling": lambda **more: BlockPower(**more),
}
by_method = pytest.mark.parametrize("name", METHODS)


def matrix(n, d, seed=0, decay=0.7):
    return np.random.default_rng(seed).standard_normal((n, d)) * decay ** np.arange(d)


def signed(vectors):
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(-1)[..., None], -1)
    return vectors * np.sign(largest)


def orthonormal(rows):
    """Rows by Gram-Schmidt in extended precision, and the lengths."""
    found, lengths = [], []
    for row in np.asarray(rows, dtype=np.longdouble):
        for _ in range(2):
            for other in found:
                row = row - (row @ other) * other
        lengths.append(np.sqrt(row @ row))
        found.append(row / lengths[-1])
    return np.array(found), np.array(lengths)


def history(rows, size, inner, start):
    """The update as it is written, block by block."""
    rows, (w, _) = np.asarray(rows, dtype=np.longdouble), orthonormal(start)
    v, eigenvalues = w, np.zeros(len(w))
    for t, first in enumerate(range(0, len(rows), size), start=1):
        block = rows[first : first + size]
        for _ in range(inner):
            s = [
                (t - 1) / np.longdouble(t) * sum(lam * u * (u @ x) for lam, u in zip(eigenvalues, v, strict=True))
                + block.T @ (block @ x) / (t * len(block))
                for x in w
            ]
            w, lengths = orthonormal(s)
        v, eigenvalues = w, lengths
    return w.astype(float), (len(rows) * eigenvalues).astype(float)


def power(blocks, start):
    w, _ = orthonormal(start)
    for block in blocks:
        block = block.astype(np.longdouble)
        before, (w, _) = w, orthonormal((block.T @ (block @ w.T)).T)
    energies = np.sum((block @ before.T) ** 2, axis=0) / len(block)
    return w.astype(float), (sum(map(len, blocks)) * energies).astype(float)


@given(
    n=st.integers(1, 60), d=st.integers(3, 9), size=st.integers(3, 25), inner=st.integers(1, 3), k=st.integers(1, 3),
    seed=seeds(),
)  # fmt: skip
def test_history_is_the_update_as_written(n, d, size, inner, k, seed):
    n = max(n, 3)
    n += 3 * (n % size in (1, 2))  # a last block of fewer rows than components leaves the others to rounding
    rows, start = matrix(n, d, seed), np.random.default_rng(seed + 1).standard_normal((k, d))
    found = HistoryPCA(size, inner=inner, n_components=k, start=start).fit(rows)
    w, energies = history(rows, size, inner, start)
    np.testing.assert_allclose(found.components_, signed(w), atol=1e-9)
    np.testing.assert_allclose(found.explained_energy_, energies, rtol=1e-9)
    assert found.n_blocks_ == -(-n // size)


@given(n=st.integers(12, 80), d=st.integers(3, 9), blocks=st.integers(1, 4), k=st.integers(1, 3), seed=seeds())
def test_power_takes_the_blocks_of_array_split(n, d, blocks, k, seed):
    rows, start = matrix(n, d, seed), np.random.default_rng(seed + 1).standard_normal((k, d))
    w, energies = power(np.array_split(rows, blocks), start)
    told = BlockPower(blocks, n_components=k, n_rows=n, start=start).partial_fit(rows[:5]).partial_fit(rows[5:])
    for found in (BlockPower(blocks, n_components=k, start=start).fit(rows), told):
        np.testing.assert_allclose(found.components_, signed(w), atol=1e-9)
        np.testing.assert_allclose(found.explained_energy_, energies, rtol=1e-9)
        assert found.n_blocks_ == blocks


def test_default_number_of_blocks_and_blocks_after_the_last():
    rows = matrix(103, 30)
    found = BlockPower(gap_guess=4.0).fit(rows)
    assert found.n_blocks_ == 5  # ceil(log 30 / log 4) + 2
    assert BlockPower().fit(rows[:3]).n_blocks_ == 3
    start = BlockPower(gap_guess=4.0, n_components=1, stream=0)
    assert np.array_equal(start.fit(rows).components_, found.components_)
    more = matrix(20, 30, seed=5)
    found.partial_fit(more)  # 103 // 5 rows a block
    given = np.random.default_rng(3).standard_normal(30)
    continued = BlockPower(5, start=given).fit(rows).partial_fit(more)
    w, energies = power([*np.array_split(rows, 5), more], given[None])
    np.testing.assert_allclose(continued.components_, signed(w), atol=1e-10)
    np.testing.assert_allclose(continued.explained_energy_, energies, rtol=1e-10)


@pytest.mark.parametrize(("n", "used"), [(4, 4), (10, 10), (14, 10), (15, 15), (24, 20)])
def test_a_short_open_block_is_left_out_of_the_result_alone(n, used):
    rows, start = matrix(40, 6), np.random.default_rng(1).standard_normal((1, 6))
    found = BlockPower(block_size=10, start=start).partial_fit(rows[:n])
    blocks = [rows[i : min(i + 10, used)] for i in range(0, used, 10)]
    w, energies = power(blocks, start)
    np.testing.assert_allclose(found.components_, signed(w), atol=1e-10)
    np.testing.assert_allclose(found.explained_energy_, energies * n / used, rtol=1e-10)
    found.partial_fit(rows[n:])
    w, _ = power(np.array_split(rows, 4), start)
    np.testing.assert_allclose(found.components_, signed(w), atol=1e-10)


def test_doubling_blocks():
    rows, start = matrix(1 + 2 + 4 + 8 + 16, 6), np.random.default_rng(1).standard_normal((1, 6))
    w, _ = power(np.split(rows, [1, 3, 7, 15]), start)
    found = BlockPower(start=start).fit(row for row in rows)  # of unknown number
    np.testing.assert_allclose(found.components_, signed(w), atol=1e-10)
    assert found.n_blocks_ == 5


@given(n=st.integers(1, 30), d=st.integers(2, 9), k=st.integers(1, 2), seed=seeds())
def test_one_block_is_one_power_step(n, d, k, seed):
    """P17."""
    rows, start = matrix(max(n, k), d, seed), np.random.default_rng(seed + 1).standard_normal((k, d))
    w, _ = orthonormal(orthonormal(start)[0] @ rows.T @ rows)
    for found in (BlockPower(1, start=start), HistoryPCA(len(rows), start=start)):
        found.set_params(n_components=k)
        np.testing.assert_allclose(found.fit(rows).components_, signed(w.astype(float)), atol=1e-9)


@by_method
@pytest.mark.parametrize(("k", "keys"), [(1, 0), (1, np.arange(3)), (1, np.arange(17)), (3, 0), (2, np.arange(2))])
@pytest.mark.parametrize("sparse", [False, True])
def test_any_division_into_chunks_gives_the_same_blocks(name, k, keys, sparse):
    """P4: bit for bit where rows are taken one by one, else up to the rounding of matrix products."""
    rows = matrix(61, 12) * (np.random.default_rng(4).random((61, 12)) < 0.6)
    rows = csr_array(rows) if sparse else rows
    whole = METHODS[name](n_components=k, stream=keys).partial_fit(rows)
    parts = METHODS[name](n_components=k, stream=keys)
    for first, last in zip([0, 1, 4, 4, 21, 40], [1, 4, 4, 21, 40, 61], strict=True):
        parts.partial_fit(rows[first:last])
        _ = parts.components_  # a look changes nothing
    exact = k == 1 and np.size(keys) < 16
    np.testing.assert_allclose(parts.components_, whole.components_, atol=0 if exact else 1e-12)
    np.testing.assert_allclose(parts.explained_energy_, whole.explained_energy_, rtol=0 if exact else 1e-12)
    assert (parts.n_seen_, parts.n_blocks_) == (whole.n_seen_, whole.n_blocks_)
    np.testing.assert_allclose(parts.frobenius2_, np.sum(np.square(rows.data)), rtol=1e-13)


@by_method
@pytest.mark.parametrize("k", [1, 2])
def test_sparse_rows_and_members_of_a_batch_agree_with_dense_ones_alone(name, k):
    rows = matrix(61, 12) * (np.random.default_rng(4).random((61, 12)) < 0.6)
    alone = [METHODS[name](n_components=k, stream=b).fit(rows) for b in range(17)]
    for X, batch in ((csr_array(rows), 3), (rows, 3), (rows, 17), (csr_array(rows), 17)):
        found = METHODS[name](n_components=k, stream=np.arange(batch)).partial_fit(X)
        if name == "power, doubling":
            alone = [METHODS[name](n_components=k, stream=b).partial_fit(rows) for b in range(17)]
        assert found.components_.shape == (batch, k, 12)
        for b in range(batch):
            np.testing.assert_allclose(found.components_[b], alone[b].components_, atol=1e-11)
            np.testing.assert_allclose(found.explained_energy_[b], alone[b].explained_energy_, rtol=1e-10)


@by_method
def test_signs_and_powers_of_two_change_no_bit(name):
    """P1 and P2."""
    rows, signs = matrix(61, 12), np.random.default_rng(1).choice([-1.0, 1.0], (61, 1))
    found = METHODS[name]().fit(rows)
    for factor in (1.0, 2.0**-20, 2.0**60):
        other = METHODS[name]().fit(factor * signs * rows)
        assert np.array_equal(other.components_, found.components_)
        assert np.array_equal(other.explained_energy_, factor**2 * found.explained_energy_)


@by_method
@given(seed=seeds(), q=orthogonal_matrices(6))
def test_rotated_rows_give_the_rotated_result(name, seed, q):
    """P3."""
    rows, start = matrix(40, 6, seed), np.random.default_rng(seed + 1).standard_normal((2, 6))
    found = METHODS[name](n_components=2, start=start).fit(rows).components_
    other = METHODS[name](n_components=2, start=start @ q).fit(rows @ q).components_
    np.testing.assert_allclose(np.abs(np.sum(other * (found @ q), -1)), 1.0, atol=1e-10)


@by_method
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("size", [1e-120, 1e120])
def test_squares_of_squares_out_of_range(name, k, size):
    rows = matrix(61, 5)
    plain, found = (METHODS[name](n_components=k).fit(scale * rows) for scale in (1.0, size))
    np.testing.assert_allclose(found.components_, plain.components_, atol=1e-10)
    np.testing.assert_allclose(found.explained_energy_ / size / size, plain.explained_energy_, rtol=1e-10)


@by_method
def test_a_block_without_energy_keeps_the_direction(name):
    start = np.array([3.0, 4.0, 0.0])
    rows = np.zeros((28, 3))
    rows[:, 2] = 1.0  # orthogonal to the start
    found = METHODS[name](start=start).partial_fit(rows)
    np.testing.assert_allclose(found.components_, [[0.6, 0.8, 0.0]], atol=1e-15)
    assert found.explained_energy_ == 0.0


@by_method
def test_components_that_no_row_reaches_stay_orthonormal(name):
    v = np.array([2.0, 1.0, 2.0, 0.0, 0.0]) / 3
    found = METHODS[name](n_components=3).partial_fit(np.random.default_rng(0).standard_normal((40, 1)) * v)
    w = found.components_
    np.testing.assert_allclose(w @ w.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(w[0], v, atol=1e-14)
    assert np.all(found.explained_energy_[1:] < 1e-25)


@by_method
def test_a_bad_chunk_is_named_and_leaves_the_state(name):
    rows = matrix(50, 4)
    found = METHODS[name]().partial_fit(rows[:30])
    before = found.components_
    bad = rows[30:].copy()
    bad[11, 2] = np.nan
    with pytest.raises(ValueError, match="row 41 of the stream"):
        found.partial_fit(bad)
    assert np.array_equal(found.components_, before)
    assert found.n_seen_ == 30
    found.partial_fit(rows[30:])
    assert np.array_equal(found.components_, METHODS[name]().partial_fit(rows).components_)
    assert not np.shares_memory(found.components_, found._w)


@by_method
@pytest.mark.parametrize("k", [1, 2])
def test_single_precision_is_kept_and_close(name, k):
    rows = matrix(200, 12)
    found = METHODS[name](n_components=k).fit(rows.astype(np.float32))
    assert found.components_.dtype == np.float32
    np.testing.assert_allclose(found.components_, METHODS[name](n_components=k).fit(rows).components_, atol=3e-6)


@by_method
def test_centering_is_that_of_the_rows_themselves(name):
    rows = matrix(80, 5) + 3.0
    t = np.arange(1, 81)[:, None]
    before = np.concatenate([np.zeros((1, 5)), np.cumsum(rows, axis=0)[:-1] / t[:-1]])
    centered = np.sqrt((t - 1) / t) * (rows - before)
    found = METHODS[name](center=True).partial_fit(rows)
    np.testing.assert_allclose(found.components_, METHODS[name]().partial_fit(centered).components_, atol=1e-11)
    np.testing.assert_allclose(found.mean_, rows.mean(0), rtol=1e-13)


@by_method
def test_parameters_are_those_of_scikit_learn(name):
    from sklearn.base import clone

    found = METHODS[name](n_components=2, stream=4).fit(matrix(60, 5))
    again = clone(found)
    assert again.get_params() == found.get_params()
    assert np.array_equal(again.fit(matrix(60, 5)).components_, found.components_)
    assert again.state_floats_ >= 2 * 2 * 5


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (HistoryPCA(0), "block_size must be an integer >= 1, got 0"),
        (HistoryPCA(2.5), "block_size must be an integer >= 1, got 2.5"),
        (HistoryPCA(inner=0), "inner must be"),
        (HistoryPCA(n_components=5), "n_components must be an integer from 1 to the 4 columns, got 5"),
        (BlockPower(0), "n_blocks must be an integer >= 1, got 0"),
        (BlockPower(21), "n_blocks must be at most the number of rows, 20, got 21"),
        (BlockPower(3, block_size=5), "give n_blocks or block_size, got 3 and 5"),
        (BlockPower(block_size=0), "block_size must be"),
        (BlockPower(n_rows=0), "n_rows must be"),
        (BlockPower(gap_guess=1.0), "gap_guess must be above 1, got 1.0"),
    ],
)
def test_bad_parameters_are_refused(estimator, message):
    with pytest.raises(ValueError, match=message.replace("(", "\\(")):
        estimator.fit(matrix(20, 4))


def test_a_number_of_blocks_needs_the_number_of_rows():
    with pytest.raises(ValueError, match="n_blocks=3 needs the number of rows"):
        BlockPower(3).partial_fit(matrix(20, 4))
    with pytest.raises(ValueError, match="n_blocks=3 needs the number of rows"):
        BlockPower(3).fit(list(matrix(20, 4)))


def test_files_tell_their_number_of_rows(tmp_path):
    import pandas as pd

    rows = matrix(30, 4)
    np.save(tmp_path / "rows.npy", rows)
    pd.DataFrame(rows, columns=list("abcd")).to_parquet(tmp_path / "rows.parquet")
    expected = BlockPower(3).fit(rows).components_
    for name in ("rows.npy", "rows.parquet"):
        assert np.array_equal(BlockPower(3).fit(tmp_path / name).components_, expected)
    half = BlockPower(3).fit(rows, order=np.arange(15))
    assert np.array_equal(half.components_, BlockPower(3).fit(rows[:15]).components_)


def test_errors_on_independent_rows_are_those_of_theory():
    """T4. Each error is close to a chi-square variable of 99 degrees, of relative deviation 0.14: 0.05 for the mean of
    8; the laws are of the first order, and off by the mean itself, some percent."""
    eigenvalues, n, seeds = np.array([4.0] + [1.0] * 99), 16000, range(8)
    errors = {"history": [], "power": []}
    for seed in seeds:
        rows = spiked(n, eigenvalues, seed)
        for key, method in (("history", HistoryPCA(stream=seed)), ("power", BlockPower(6, stream=seed))):
            errors[key].append(sin2(method.fit(rows.rows).components_[0], rows.direction))
    law = history_pca_sin2(n, eigenvalues)
    assert 0.8 * law < np.mean(errors["history"]) < 1.2 * law
    assert law < 1.2 * offline_sin2(n, eigenvalues)
    law = block_power_sin2(n, eigenvalues, 6)
    assert 0.8 * law < np.mean(errors["power"]) < 1.2 * law


def test_random_order_of_one_matrix():
    """T10: History PCA beats the power method by more, the larger the gap is; and their laws. Five seeds of 100 to 200
    degrees of freedom each: 0.06 relative deviation, of which four are allowed."""
    n, d = 20000, 200
    for gap, blocks in ((4.0, 6), (8.0, 5)):
        eigenvalues = np.array([1.0] + [1 / gap] * (d - 1))
        errors = {"history": [], "power": []}
        for seed in range(5):
            instance = generic(n, d, gap, seed)
            for key, method in (("history", HistoryPCA(stream=seed)), ("power", BlockPower(blocks, stream=seed))):
                errors[key].append(sin2(method.fit(instance.rows).components_[0], instance.direction))
        law = block_power_sin2(n, eigenvalues, blocks, order="random")
        assert 0.75 * law < np.mean(errors["power"]) < 1.25 * law
        assert np.mean(errors["history"]) < 0.15 * np.mean(errors["power"])


def test_hard_instance_defeats_both():
    """T7: corr2 of 0 where R = k = 3, though the order is random."""
    for seed in range(3):
        instance = hard(1000, 3, 3.0).ordered("random", seed)
        for method in (HistoryPCA(100, stream=seed), BlockPower(6, stream=seed)):
            assert corr2(method.fit(instance.rows).components_[0], instance.direction) < 0.05


def test_order_decides():
    """T11: the same rows in random order, and with those along v_1 last."""
    instance = carried(8000, 80, 8.0, 1)
    for method in (HistoryPCA(), BlockPower()):
        found = [
            corr2(method.fit(instance.ordered(order, 2).rows).components_[0], instance.direction)
            for order in ("random", "v1_last")
        ]
        assert found[0] > 0.98
        assert found[1] < 0.05


def test_several_components_against_the_whole_matrix():
    eigenvalues = np.array([16.0, 8.0, 4.0] + [0.2] * 27)
    instance = spiked(20000, eigenvalues, 1)
    _, values, vectors = np.linalg.svd(instance.rows, full_matrices=False)
    for method, factor in ((HistoryPCA(n_components=3), 2e-3), (BlockPower(n_components=3), 2e-2)):
        found = method.fit(instance.rows)
        assert subspace_sin2(found.components_, vectors[:3]) < factor
        np.testing.assert_allclose(found.explained_energy_, values[:3] ** 2, rtol=0.1)
