"""Files summarised apart and merged by a tree of tasks: what one pass over all of them guarantees."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from dask import delayed
from scipy.stats import chi2

from lrtheory.random import Stream
from lrtheory.streaming import CountSketch, FrequentDirections, GaussianSketch, RowSampler

LENGTHS = (50, 1, 0, 33, 120, 7, 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seven files, one of them without rows, and all rows."""
    folder, parts = tmp_path_factory.mktemp("rows"), []
    for i, n in enumerate(LENGTHS):
        parts.append(Stream(20, i).normal((n, 8)) * np.linspace(1, 2 + i, 8))
        np.save(folder / f"{i}.npy", parts[-1])
    return [folder / f"{i}.npy" for i in range(len(LENGTHS))], np.concatenate(parts)


def summarise(make, partition, path):
    return make(partition).partial_fit(path)


def merged(a, b):
    return copy.deepcopy(a).merge(b)


def tree(make, paths):
    """Return the summary of all files: leaves in threads, merged in pairs."""
    found = [delayed(summarise)(make, p, path) for p, path in enumerate(paths)]
    while len(found) > 1:
        pairs = [found[i : i + 2] for i in range(0, len(found), 2)]
        found = [delayed(merged)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return found[0].compute(scheduler="threads", num_workers=2)


def test_frequent_directions(files):
    paths, rows = files
    for size in (3, 6, 9):
        fitted = tree(lambda _, size=size: FrequentDirections(size), paths)
        lost = np.linalg.eigvalsh(rows.T @ rows - fitted.sketch_.T @ fitted.sketch_)
        frobenius2 = np.sum(rows**2)
        tails = np.append(np.cumsum(np.linalg.svd(rows, compute_uv=False)[::-1] ** 2)[::-1], 0.0)
        assert lost[0] >= -1e-13 * frobenius2
        assert lost[-1] <= fitted.error_ + 1e-13 * frobenius2
        assert fitted.error_ <= min(tails[k] / (size - k) for k in range(size)) + 1e-13 * frobenius2
        assert np.sum(fitted.sketch_**2) <= frobenius2 * (1 + 1e-13) - size * fitted.error_
        assert fitted.n_seen_ == len(rows)


@pytest.mark.parametrize("kind", [CountSketch, GaussianSketch])
def test_sketches(files, kind):
    """The sum of the sketches of the files, each with numbers of its own."""
    paths, rows = files
    fitted = tree(lambda p: kind(12, partition=p), paths)
    ends = np.cumsum([0, *LENGTHS])
    apart = [kind(12, partition=p).partial_fit(rows[a:b]) for p, (a, b) in enumerate(pairwise(ends))]
    total = sum(part.sketch_ for part in apart if part.__sklearn_is_fitted__())
    np.testing.assert_allclose(fitted.sketch_, total, rtol=1e-12, atol=1e-12)
    assert fitted.frobenius2_ == pytest.approx(np.sum(rows**2), rel=1e-13)
    assert sorted(fitted.partitions_) == list(range(len(LENGTHS)))


def test_row_samples(files):
    """How often each file's rows are held, against the file's share of F^2."""
    paths, rows = files
    fitted = tree(lambda p: RowSampler(20000, partition=p), paths)
    norms2 = np.sum(rows**2, axis=1)
    position = np.searchsorted(np.sort(norms2), np.sum(fitted.rows_**2, axis=1) * (1 - 1e-12))
    counts = np.bincount(np.argsort(norms2)[position], minlength=len(rows))
    expected = 20000 * norms2 / norms2.sum()
    often = expected > 5
    deviation = np.sum((counts[often] - expected[often]) ** 2 / expected[often])
    assert deviation < chi2.isf(1e-6, often.sum() - 1)
    assert often.sum() > 200
