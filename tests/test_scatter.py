"""Signed sums by bucket and their transpose, against the matrix that they never form."""

import os
import subprocess
import sys

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream
from lrtheory.scatter import gather, scatter

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"


@st.composite
def cases(draw):
    m, d, r = draw(st.integers(0, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    generator = Stream(draw(st.integers(0, 10**6)), "scatter").generator()
    buckets, signs = generator.integers(r, size=m), 2.0 * generator.integers(2, size=m) - 1.0
    return generator.standard_normal((m, d)), buckets, signs, r, generator.standard_normal((r, d))


def dense(buckets, signs, r):
    matrix = np.zeros((r, buckets.size))
    for i, (b, s) in enumerate(zip(buckets, signs, strict=True)):
        matrix[b, i] = s
    return matrix


@given(cases())
def test_is_the_product_with_the_matrix(case):
    rows, buckets, signs, r, kept = case
    matrix = dense(buckets, signs, r)
    np.testing.assert_allclose(scatter(rows, buckets, signs, r), matrix @ rows, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(gather(kept, buckets, signs), matrix.T @ kept)


@given(cases())
def test_other_libraries_give_the_same(case):
    rows, buckets, signs, r, kept = case
    xp = array_api_strict
    there = [xp.asarray(a) for a in (rows, buckets, signs, kept)]
    summed = scatter(there[0], there[1], there[2], r)
    np.testing.assert_allclose(np.asarray(summed), scatter(rows, buckets, signs, r), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(np.asarray(gather(there[3], there[1], there[2])), gather(kept, buckets, signs))


def test_float32_is_summed_in_double_precision():
    """One large row and its negative in a bucket with a small one: single precision would lose the small one."""
    rows = np.array([[1e8], [1.0], [-1e8]], np.float32)
    summed = scatter(rows, np.zeros(3, np.int64), np.ones(3), 1)
    assert summed.dtype == np.float32
    assert summed[0, 0] == 1.0


def test_takes_read_only_rows_in_any_layout():
    rows = np.asfortranarray(Stream(0, "rows").normal((5, 3)))
    rows.flags.writeable = False
    buckets, signs = np.array([1, 0, 1, 1, 2]), np.array([1.0, -1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(scatter(rows, buckets, signs, 3), dense(buckets, signs, 3) @ rows, rtol=1e-14)
    np.testing.assert_array_equal(gather(rows, buckets, signs), dense(buckets, signs, 5).T @ rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.zeros(3)}, "rows must have shape"),
        ({"buckets": np.zeros(2, np.int64)}, "buckets must have shape"),
        ({"signs": np.ones(4)}, "signs must have shape"),
        ({"buckets": np.array([0, 1, 2])}, "buckets must lie from 0 to 1, got 0 to 2"),
        ({"buckets": np.array([0, -1, 1])}, "buckets must lie from 0 to 1, got -1 to 1"),
    ],
)
def test_refuses(change, message):
    arguments = {"rows": np.zeros((3, 2)), "buckets": np.zeros(3, np.int64), "signs": np.ones(3)} | change
    with pytest.raises(ValueError, match=message):
        scatter(arguments["rows"], arguments["buckets"], arguments["signs"], 2)


def test_buckets_are_integers():
    with pytest.raises(TypeError, match="buckets must be integers, got float64"):
        scatter(np.zeros((3, 2)), np.zeros(3), np.ones(3), 2)


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
