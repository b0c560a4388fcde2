"""Kernels that make rows from bits against the plain expression, with the compiler and, at tiny sizes, without."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lrtheory.operators import _cpu_generated, counter_based, rademacher

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
SIZES = ((1, 1), (3, 5), (5, 9)) if INTERPRETED else ((1, 1), (3, 5), (4, 8), (5, 9), (65, 8), (130, 23), (9, 70))


@pytest.mark.parametrize("kind", ["bits", "bits, symmetric", "sign", "quantised"])
@pytest.mark.parametrize("trials", [1, 2, 3, 4, 6])
def test_products(kind, trials):
    for m, n in SIZES:
        if kind.startswith("bits"):
            operator = rademacher(m, n, symmetric="symmetric" in kind)
        else:
            operator = counter_based(m, n, law=kind)
        rows = operator.block(0, m)
        generator = np.random.default_rng(m + n)
        z, v = generator.standard_normal((trials, operator.columns)), generator.standard_normal((trials, m))
        for got, expected in (
            (_cpu_generated.forward(operator.source, m, z), z @ rows.T),
            (_cpu_generated.adjoint(operator.source, operator.columns, v), v @ rows),
        ):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * rows.size**0.5)


@pytest.mark.parametrize("trials", [1, 5])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_are_never_lost(bad, trials):
    for operator in (rademacher(5, 3), counter_based(5, 3), counter_based(5, 3, law="quantised")):
        z, v = np.ones((trials, 9)), np.ones((trials, 5))
        z[-1, -1] = v[-1, -1] = bad
        with np.errstate(invalid="ignore"):
            seen = _cpu_generated.forward(operator.source, 5, z)
            back = _cpu_generated.adjoint(operator.source, 9, v)
        assert not np.isfinite(seen[-1]).any()
        assert not np.isfinite(back[-1]).any()
        assert np.isfinite(seen[:-1]).all()
        assert np.isfinite(back[:-1]).all()


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
