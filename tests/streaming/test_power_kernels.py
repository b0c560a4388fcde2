"""Kernels of the block methods against plain expressions; run once more without the compiler."""

import heapq
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lrtheory.streaming import _cpu_power as kernels
from lrtheory.testing.strategies import seeds

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
by_form = pytest.mark.parametrize("form", ["dense", "float32", "read-only", "csr", "csr, long", "csr, read-only"])


def chunk(form, m=11, d=6, seed=0):
    """Rows in a form, and the same numbers as a plain array."""
    rows = np.random.default_rng(seed).standard_normal((m, d))
    if form == "float32":
        rows = rows.astype(np.float32)
    if not form.startswith("csr"):
        rows.flags.writeable = form != "read-only"
        return rows, rows.astype(np.float64)
    rows = csr_array(rows * (np.random.default_rng(1).random((m, d)) < 0.5))
    if form == "csr, long":
        rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    if form == "csr, read-only":
        for part in (rows.data, rows.indices, rows.indptr):
            part.flags.writeable = False
    return rows, rows.toarray()


@by_form
def test_power(form):
    rows, a = chunk(form)
    w, y = np.random.default_rng(2).standard_normal((2, 6))
    found = y.copy()
    assert np.isclose(kernels.power(rows, w, found), np.sum(a**2), rtol=1e-14)
    np.testing.assert_allclose(found, y + a.T @ (a @ w), rtol=1e-13)


@by_form
def test_history(form):
    rows, a = chunk(form)
    w = np.array([1.0, 2.0, 2.0, 0, 0, 0]) / 3
    found, y, eigenvalue, counts = w.copy(), np.zeros(6), np.zeros(1), np.zeros(2, dtype=np.int64)
    total = kernels.history(rows, 4, found, y, eigenvalue, counts)
    assert np.isclose(total, np.sum(a**2), rtol=1e-14)
    lam = 0.0
    for t, block in ((1, a[:4]), (2, a[4:8])):
        s = (t - 1) / t * lam * w + block.T @ (block @ w) / (t * 4)
        lam = np.linalg.norm(s)
        w = s / lam
    np.testing.assert_allclose(found, w, atol=1e-14)
    np.testing.assert_allclose(y, a[8:].T @ (a[8:] @ w), atol=1e-13)
    assert np.isclose(eigenvalue[0], lam, rtol=1e-13)
    assert list(counts) == [2, 3]


@by_form
def test_row_energies(form):
    rows, a = chunk(form)
    np.testing.assert_allclose(kernels.row_energies(rows), np.sum(a**2, axis=1), rtol=1e-14)


def test_empty_chunks():
    y = np.zeros(3)
    for rows in (np.zeros((0, 3)), csr_array((0, 3), dtype=np.float64)):
        assert kernels.power(rows, np.ones(3), y) == 0.0
        assert kernels.row_energies(rows).size == 0
    assert not y.any()


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_normalize(size):
    y = np.array([3.0, 0.0, -4.0])
    scaled = size * y
    assert np.isclose(kernels.normalize(scaled), 5 * size, rtol=1e-15)
    np.testing.assert_allclose(scaled, y / 5, rtol=1e-15)


def test_normalize_leaves_zero():
    y = np.zeros(3)
    assert kernels.normalize(y) == 0.0
    assert not y.any()


@given(k=st.integers(1, 4), d=st.integers(4, 8), rank=st.integers(0, 4), seed=seeds())
def test_orthonormalize(k, d, rank, seed):
    """Independent rows as by QR; the others of length 0, within the span of those and of w."""
    generator = np.random.default_rng(seed)
    rank = min(rank, k)
    basis, w = (np.linalg.qr(generator.standard_normal((d, k)))[0].T.copy() for _ in range(2))
    rows = np.concatenate([basis[:rank], generator.standard_normal((k - rank, rank)) @ basis[:rank]])
    rows = 10.0 ** generator.uniform(-3, 3, (k, 1)) * rows
    found, lengths = rows.copy(), np.empty(k)
    kernels.orthonormalize(found, w, lengths)
    np.testing.assert_allclose(found @ found.T, np.eye(k), atol=1e-14)
    q, r = np.linalg.qr(rows[:rank].T)
    np.testing.assert_allclose(found[:rank], (q * np.sign(np.diag(r))).T, atol=1e-12)
    np.testing.assert_allclose(lengths, [*np.abs(np.diag(r)), *[0.0] * (k - rank)], rtol=1e-12)
    span = np.linalg.svd(np.concatenate([basis[:rank], w]), full_matrices=False)
    inside = span[2][span[1] > 1e-9]
    np.testing.assert_allclose(found @ inside.T @ inside, found, atol=1e-8)


@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_orthonormalize_rows_that_are_nearly_parallel(gap):
    """One projection would leave some eps / gap of the first row in the second; the third is combined of both."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 4)))[0].T.copy()
    rows = np.stack([basis[0], basis[0] + gap * basis[1], basis[0] - basis[1] + gap * basis[2]])
    lengths = np.empty(3)
    kernels.orthonormalize(rows, basis[:3].copy(), lengths)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(lengths[:2], [1, gap], rtol=1e-15 / gap)  # the third's is rounding's, for small gaps


@given(h=st.integers(0, 6), m=st.integers(0, 30), tied=st.booleans(), cut=st.integers(0, 30), seed=seeds())
def test_offer_is_a_heap(h, m, tied, cut, seed):
    generator = np.random.default_rng(seed)
    energies = generator.integers(0, 5, m).astype(float) if tied else generator.random(m)
    heap, expected = [], []
    for number, energy in enumerate(energies):  # the entry that is smallest, of equal ones the newest, leaves
        heapq.heappush(heap, (energy, -number))
        if len(heap) > h:
            expected.append(-heapq.heappop(heap)[1])
    kept, numbers, sources = np.empty(h), np.empty(h, dtype=np.int64), np.empty(h, dtype=np.int64)
    count, gone, largest, storage = 0, [], 0.0, {}
    for first, last in ((0, min(cut, m)), (min(cut, m), m)):
        left = np.empty(last - first, dtype=np.int64)
        count, departures, most = kernels.offer(
            energies[first:last], np.arange(first, last), kept, numbers, sources, count, left
        )
        largest = max(largest, most)
        gone += [first + s if s >= 0 else storage[-1 - s] for s in left[:departures]]
        stored = {p: (first + s if s >= 0 else storage[-1 - s]) for p, s in enumerate(sources[:count])}
        assert list(stored.values()) == list(numbers[:count])
        storage = stored
        sources[:count] = -1 - np.arange(count)
    assert gone == expected
    assert sorted(zip(kept[:count], -numbers[:count], strict=True)) == sorted(heap)
    assert largest == max([energies[i] for i in expected], default=0.0)


@pytest.mark.skipif(INTERPRETED, reason="this is the test that runs the others without the compiler")
def test_without_the_compiler():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", __file__],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
