"""Streams in parts: each part is read where it lies, and the summaries give what one machine would."""

import os

import numpy as np
import pytest

from lrtheory.streaming import CountSketch, HeavyRows, Oja, partitions
from lrtheory.streaming.sources import chunks

da = pytest.importorskip("dask.array", reason="dask (extra cluster) is not installed")


@pytest.fixture(scope="module")
def rows():
    made = np.random.default_rng(0).standard_normal((530, 7))
    made[[3, 200, 400, 511]] *= 10
    return made


def blocks(rows):
    return da.from_array(rows, chunks=((100, 0, 250, 180), (4, 3)))


def files(rows, folder):
    paths = []
    for i, part in enumerate(np.array_split(rows, 5)):
        paths.append(folder / f"part{i}.npy")
        np.save(paths[-1], part)
    return paths


@pytest.mark.parametrize("source", [blocks, files])
def test_heavy_rows_of_parts_are_those_of_the_whole(source, rows, tmp_path):
    given = source(rows) if source is blocks else files(rows, tmp_path)
    whole, parts = HeavyRows(6).fit(rows), HeavyRows(6).fit(given)
    np.testing.assert_array_equal(parts.kept_rows_, whole.kept_rows_)
    np.testing.assert_array_equal(parts.kept_numbers_, whole.kept_numbers_)
    assert parts.n_seen_ == 530
    assert parts.frobenius2_ == pytest.approx(whole.frobenius2_, rel=1e-14)


def test_each_part_has_random_numbers_of_its_own(rows):
    source = blocks(rows)
    found = CountSketch(16, stream=3).fit(source)
    parts = [
        CountSketch(16, stream=3, partition=(0, i)).fit(rows[first:last])
        for i, first, last in ((0, 0, 100), (2, 100, 350), (3, 350, 530))
    ]
    np.testing.assert_allclose(found.sketch_, sum(part.sketch_ for part in parts), rtol=0, atol=1e-12)
    assert found.get_params()["partition"] == 0
    for one, other in ((parts[0], parts[1]), (parts[1], parts[2])):  # the same rows would be hashed otherwise
        same = CountSketch(16, stream=3, partition=one.partition).fit(rows[:50]).sketch_
        assert not np.allclose(same, CountSketch(16, stream=3, partition=other.partition).fit(rows[:50]).sketch_)


def test_centred_parts_are_centred_about_their_common_mean(rows):
    shifted = rows + 5
    found = HeavyRows(530 + 3, n_components=2, center=True).fit(blocks(shifted))
    expected = np.linalg.svd(shifted - shifted.mean(0), compute_uv=False)[:2] ** 2
    np.testing.assert_allclose(found.explained_energy_, expected, rtol=1e-12)
    np.testing.assert_allclose(found.mean_, shifted.mean(0), rtol=1e-13)


@pytest.mark.parametrize("source", [blocks, files])
def test_methods_without_a_summary_read_part_after_part(source, rows, tmp_path):
    given = source(rows) if source is blocks else files(rows, tmp_path)
    np.testing.assert_array_equal(Oja(0.01).fit(given).components_, Oja(0.01).fit(rows).components_)


def test_a_random_order_shuffles_parts_and_rows_within(rows):
    found = np.concatenate(list(chunks(blocks(rows), order="random", stream=1)))
    assert not np.array_equal(found, rows)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], rows[np.lexsort(rows.T)])


def test_a_row_that_is_not_finite_is_named_by_its_number_in_the_whole_stream(rows):
    bad = rows.copy()
    bad[411, 2] = np.nan
    with pytest.raises(ValueError, match="row 411 of the stream is not finite"):
        HeavyRows(6).fit(blocks(bad))
    with pytest.raises(ValueError, match="row 411 of the stream is not finite"):
        Oja(0.01).fit(blocks(bad))


class Watched(HeavyRows):
    """Remembers the longest chunk that it took."""

    longest_: int = 0

    def _absorb(self, rows):
        self.longest_ = max(self.longest_, rows.shape[0])
        return super()._absorb(rows)

    def _join(self, other):
        super()._join(other)
        self.longest_ = max(self.longest_, other.longest_)


def test_parts_are_read_in_chunks(rows, tmp_path):
    for given in (blocks(rows), files(rows, tmp_path)):
        assert Watched(6).fit(given, chunk_rows=30).longest_ == 30
        assert Watched(6).fit(given).longest_ > 100


def test_a_merging_that_runs_twice_counts_once(rows):
    """As where a scheduler has lost a worker: inputs of a task stay as they are."""
    first, second = HeavyRows(6).fit(rows[:100]), HeavyRows(6).fit(rows[100:])
    found = [partitions._join(first, second) for _ in range(2)]
    assert [merged.n_seen_ for merged in found] == [530, 530]
    assert first.n_seen_ == 100
    np.testing.assert_array_equal(found[1].kept_rows_, HeavyRows(6).fit(rows).kept_rows_)


def test_what_parts_cannot_do_is_said(rows, tmp_path):
    with pytest.raises(ValueError, match="order must be 'stored', got 'random'"):
        HeavyRows(6).fit(blocks(rows), order="random")
    unknown = blocks(rows)[da.from_array(rows[:, 0] > 0, chunks=((100, 0, 250, 180),))]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        HeavyRows(6).fit(unknown)
    with pytest.raises(ValueError, match=r"shape \(530,\)"):
        HeavyRows(6).fit(blocks(rows)[:, 0])
    with pytest.raises(ValueError, match="no file"):
        HeavyRows(6).fit([*files(rows, tmp_path), tmp_path / "none.npy"])
    with pytest.raises(ValueError, match="seen no rows"):
        HeavyRows(6).fit(blocks(rows)[:0])


def test_processes_of_a_cluster_find_what_threads_find(rows, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask.distributed (extra cluster) is not installed")
    paths = files(rows, tmp_path)
    expected = CountSketch(16).fit(paths).sketch_, HeavyRows(6).fit(paths).kept_rows_
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster, timeout="60s") as client,
    ):
        assert len(set(client.run(os.getpid).values()) - {os.getpid()}) == 2
        found = CountSketch(16).fit(paths).sketch_, HeavyRows(6).fit(blocks(rows)).kept_rows_
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
