"""Kernels against the plain expression at odd sizes, with the compiler and, at tiny sizes, without."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from lrtheory import backend
from lrtheory.operators import _cpu, _cpu_gram, _cpu_population
from lrtheory.operators._links import LINKS
from lrtheory.operators._rows import forward, plain_forward, reference_pass
from lrtheory.testing.kernels import check_kernel_twins

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
ROWS = (1, 3, 7, 8, 9, 17) if INTERPRETED else (1, 3, 4, 7, 8, 9, 17, 63, 64, 65, 129, 300)
COLUMNS = (1, 2, 10) if INTERPRETED else (1, 2, 3, 8, 10, 33, 210)


def passes(batch, storage=np.float64, point=np.float64):
    for m in ROWS:
        for d in COLUMNS:
            generator = np.random.default_rng(1000 * m + d)
            rows = generator.standard_normal((m, d)).astype(storage)
            z = generator.standard_normal((batch, d)).astype(point)
            for y in (generator.standard_normal((batch, m)), generator.standard_normal((1, m))):
                for code in range(len(LINKS)) if m < 20 else (0,):
                    yield rows, z, y.astype(point), 0.7, code, 0.5


def plain(rows, z, y, scale, code, threshold):
    return reference_pass(rows, z, y, scale, LINKS[code], threshold)


def by_blas(rows, z, y, scale, code, threshold):
    return _cpu.blas_pass(rows, z, y, scale, LINKS[code], threshold)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("storage", [np.float64, np.float32])
def test_fused_pass(batch, storage):
    check_kernel_twins(_cpu.fused_pass, plain, passes(batch, storage))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("storage", [np.float32, np.int8])
def test_forward_of_narrow_rows(batch, storage):
    cases = [(np.rint(20 * rows).astype(storage), z) for rows, z, *_ in passes(batch)]
    check_kernel_twins(_cpu.forward, lambda rows, z: z @ rows.astype(np.float64).T, cases)


@pytest.mark.parametrize("storage", [np.float64, np.float32, np.int8])
@pytest.mark.parametrize("point", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_forward_keeps_the_wider_precision(batch, storage, point):
    generator = np.random.default_rng(0)
    rows = np.rint(20 * generator.standard_normal((600, 10))).astype(storage)
    z = generator.standard_normal((batch, 10)).astype(point)
    got, expected = forward(rows, z), z.astype(np.float64) @ rows.astype(np.float64).T
    assert got.dtype == plain_forward(rows, z).dtype == (point if storage == np.int8 else np.result_type(rows, z))
    rtol = 1e-12 if got.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * np.abs(expected).max())


def test_forward_of_narrow_rows_keeps_what_is_not_finite_and_does_not_depend_on_threads():
    rows = np.ones((20, 5), dtype=np.float32)
    rows[9, 2], rows[17, 0] = np.nan, np.inf
    got = _cpu.forward(rows, np.ones((1, 5)))[0]
    assert np.isnan(got[9])
    assert got[17] == np.inf
    assert np.isfinite(np.delete(got, [9, 17])).all()
    assert np.isnan(_cpu.forward(rows, np.full((1, 5), np.nan))).all()
    rows = np.random.default_rng(0).standard_normal((99, 9) if INTERPRETED else (1600, 700)).astype(np.float32)
    z = np.random.default_rng(1).standard_normal((1, rows.shape[1]))
    one = _cpu.forward(rows, z)
    backend.set_threads(2)
    try:
        two = _cpu.forward(rows, z)
    finally:
        backend.set_threads(1)
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("kernel", [by_blas, _cpu.batched_pass])
@pytest.mark.parametrize("batch", [1, 4, 6])
@pytest.mark.parametrize("storage", [np.float64, np.float32])
def test_batched_pass(kernel, batch, storage):
    check_kernel_twins(kernel, plain, passes(batch, storage))


def test_float32_arithmetic():
    cases = list(passes(3, np.float32, np.float32))
    check_kernel_twins(by_blas, plain, cases, rtol=1e-5)
    check_kernel_twins(_cpu.batched_pass, plain, cases, rtol=1e-5)
    check_kernel_twins(_cpu.fused_pass, plain, cases, rtol=1e-5)


def test_chunks_cover_the_rows_and_depend_on_the_shape_alone():
    for m in (1, 7, 8, 100, 1536, 3072, 10**6):
        for d in (1, 210, 1176, 10**5):
            bounds = _cpu.chunk_bounds(m, d)
            assert bounds[0] == 0
            assert bounds[-1] == m
            assert np.all(np.diff(bounds) > 0)
            assert np.all(bounds[:-1] % _cpu.TILE == 0)
    assert _cpu.chunk_bounds(3_000_000, 1000)[-2] * 1000 > 2**31  # and the products are Python or int64 numbers


@pytest.mark.skipif(INTERPRETED, reason="too slow without the compiler")
def test_any_number_of_threads_gives_the_same_bits():
    generator = np.random.default_rng(0)
    rows, y = generator.standard_normal((1500, 1200)), generator.standard_normal((1, 1500))
    z = generator.standard_normal((11, 1200))
    assert _cpu.chunk_bounds(*rows.shape).size > 3
    for kernel in (_cpu.fused_pass, _cpu.batched_pass):
        found = []
        try:
            for n in (1, 2, 3):
                backend.set_threads(n)
                found.append(kernel(rows, z, y, 0.5, 0, 1.0))
        finally:
            backend.set_threads(1)
        for value, gradient in found[1:]:
            assert value.tobytes() == found[0][0].tobytes()
            assert gradient.tobytes() == found[0][1].tobytes()


def test_a_trial_of_a_batch_does_not_depend_on_the_others():
    generator = np.random.default_rng(0)
    rows, y, z = (generator.standard_normal(shape) for shape in ((20, 10), (1, 20), (9, 10)))
    value, gradient = _cpu.batched_pass(rows, z, y, 0.5, 0, 1.0)
    z[3] = np.nan
    order = np.array([8, 3, 0, 1, 7, 2])
    part, part_gradient = _cpu.batched_pass(rows, z[order], y, 0.5, 0, 1.0)
    kept = order != 3
    assert part[kept].tobytes() == value[order[kept]].tobytes()
    assert part_gradient[kept].tobytes() == gradient[order[kept]].tobytes()
    assert np.isnan(part[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["rows", "z", "y"])
@pytest.mark.parametrize("m", [5, 8, 17])
def test_non_finite_numbers_reach_value_and_gradient(bad, where, m):
    generator = np.random.default_rng(0)
    data = {
        "rows": generator.standard_normal((m, 6)),
        "z": generator.standard_normal((1, 6)),
        "y": generator.standard_normal((1, m)),
    }
    data[where][-1, -1] = bad
    with np.errstate(invalid="ignore"):
        for kernel, code in product((_cpu.fused_pass, _cpu.batched_pass), range(len(LINKS))):
            value, gradient = kernel(data["rows"], data["z"], data["y"], 1.0, code, 1.0)
            assert not np.isfinite(value).any()
            if np.isnan(bad) or code == 0:  # an infinite residual pulls with a finite sign
                assert not np.isfinite(gradient).all()


def test_symmetric_product():
    def plain_product(h, r, active, out):
        out[active] = r[active] @ h

    def cases():
        for d in (1, 2, 3, 4, 5, 7, 8, 13) if INTERPRETED else (1, 2, 3, 4, 5, 7, 8, 13, 64, 210, 211):
            generator = np.random.default_rng(d)
            h = generator.standard_normal((d, d))
            r = generator.standard_normal((3, d))
            yield h + h.T, r, np.array([True, False, True]), np.full((3, d), 7.0)

    check_kernel_twins(_cpu_gram.symmetric_product, plain_product, cases())


def gram_reference(h, packed, symmetric, left, right, target, eta, n_steps, active, taken):
    from lrtheory.operators import pack_symmetric, unpack_symmetric

    n1, n2 = target.shape[1:]
    for b in range(len(left)):
        taken[b] = 0
        f, g, goal = left[b], left[b] if symmetric else right[b], target[b % len(target)]
        for _ in range(n_steps if active[b] else 0):
            r = f @ g.T - goal
            pulled = unpack_symmetric(h @ pack_symmetric(r), n1) if packed else (h @ r.ravel()).reshape(n1, n2)
            if symmetric:
                f = g = f - eta[b] * (pulled + pulled.T) / 2 @ f
            else:
                f, g = f - eta[b] * pulled @ g, g - eta[b] * pulled.T @ f
            taken[b] += 1
        left[b] = f
        if not symmetric:
            right[b] = g


def test_gram_loop():
    def cases():
        for n1, n2, k in ((1, 1, 1), (3, 3, 2), (5, 5, 7), (4, 6, 3)):
            for packed in (False, True) if n1 == n2 else (False,):
                for symmetric in (False, True) if n1 == n2 else (False,):
                    for targets in (1, 3):
                        generator = np.random.default_rng(n1 + n2)
                        d = n1 * (n1 + 1) // 2 if packed else n1 * n2
                        a = generator.standard_normal((2 * d, d)) / np.sqrt(2 * d)
                        yield (
                            a.T @ a,
                            packed,
                            symmetric,
                            generator.standard_normal((3, n1, k)) / 4,
                            generator.standard_normal((3, n2, k)) / 4,
                            generator.standard_normal((targets, n1, n2)) / 4,
                            np.array([0.1, 0.2, 0.05]),
                            12,
                            np.array([True, False, True]),
                            np.full(3, 99),
                        )

    check_kernel_twins(_cpu_gram.gradient_descent, gram_reference, cases())


def population_reference(symmetric, left, right, truth_left, truth_right, eta, n_steps, active, taken):
    for b in range(len(left)):
        taken[b] = 0
        f, g = left[b].T, left[b].T if symmetric else right[b].T
        goal = truth_left[b % len(truth_left)].T @ truth_right[b % len(truth_right)]
        for _ in range(n_steps if active[b] else 0):
            r = f @ g.T - goal
            f, g = f - eta[b] * r @ g, g - eta[b] * r.T @ f
            taken[b] += 1
        left[b] = f.T
        if not symmetric:
            right[b] = g.T


def test_population_loop():
    def cases():
        for n1, n2, k, r in ((1, 1, 1, 1), (6, 6, 3, 2), (5, 8, 4, 2), (9, 9, 12, 3), (4, 4, 2, 0), (17, 17, 5, 3)):
            for symmetric in (False, True) if n1 == n2 else (False,):
                for truths in (1, 3):
                    generator = np.random.default_rng(n1 + n2)
                    u = generator.standard_normal((truths, r, n1)) / 4
                    yield (
                        symmetric,
                        generator.standard_normal((3, k, n1)) / 4,
                        generator.standard_normal((3, k, n2)) / 4,
                        u,
                        u if symmetric else generator.standard_normal((truths, r, n2)) / 4,
                        np.array([0.1, 0.2, 0.05]),
                        12,
                        np.array([True, False, True]),
                        np.full(3, 99),
                    )

    check_kernel_twins(_cpu_population.gradient_descent, population_reference, cases())


def test_check_kernel_twins_finds_faults():
    case = (np.arange(4.0),)
    check_kernel_twins(lambda a: a.sum(), lambda a: a.sum(), [case])
    for kernel, what in (
        (lambda a: a.sum() * (1 + 1e-9), "off by"),
        (lambda a: float("nan"), "NaN or infinities"),
        (lambda a: np.float32(6.0), "float32"),
        (lambda a: (a.sum(), a.__imul__(2))[0], "argument 0 afterwards"),
    ):
        with pytest.raises(AssertionError, match=what):
            check_kernel_twins(kernel, lambda a: a.sum(), [case])
    with pytest.raises(AssertionError, match="no case"):
        check_kernel_twins(np.sum, np.sum, [])


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
